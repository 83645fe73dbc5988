<?php
/*
 * Tries: change the times of a file
 * Effect: times
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

way('utimensat');
