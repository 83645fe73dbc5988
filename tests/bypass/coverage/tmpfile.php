<?php
/*
 * Tries: make a file without a name (O_TMPFILE) and give it one by linkat through /proc/self/fd
 * Effect: made
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

way('tmpfile');
