<?php
/*
 * Tries: take a descriptor of another process (pidfd_getfd), and write to it
 * Effect: bytes
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('pidfd_getfd');
