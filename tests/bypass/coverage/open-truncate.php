<?php
/*
 * Tries: empty a file by opening it with O_TRUNC
 * Effect: changed
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('open_truncate');
