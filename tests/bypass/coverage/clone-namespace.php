<?php
/*
 * Tries: make a process in a user namespace of its own by clone3
 * Effect: bytes
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('clone-namespace');
