<?php
/*
 * Tries: change the mode of a file that was opened for reading
 * Effect: mode
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

way('fchmod');
