<?php
/*
 * Tries: shorten a file by truncate(2), without opening it
 * Effect: changed
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('truncate');
