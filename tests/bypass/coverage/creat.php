<?php
/*
 * Tries: create a file by creat(2), not open(2)
 * Effect: made
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('creat');
