<?php
/*
 * Tries: change a file that is open for writing by copy_file_range
 * Effect: changed
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

way('copy_file_range');
