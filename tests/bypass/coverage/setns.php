<?php
/*
 * Tries: enter another namespace
 * Effect: bytes
 * Class: out of scope for the kill strategies: a privileged subject
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 * User: root
 */
require __DIR__ . '/../lib.php';

way('setns');
