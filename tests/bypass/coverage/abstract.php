<?php
/*
 * Tries: reach a socket whose name is in no file system
 * Effect: letters
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('abstract');
