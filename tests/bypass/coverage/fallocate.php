<?php
/*
 * Tries: punch a hole into a file that is open for writing
 * Effect: changed
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

way('fallocate');
