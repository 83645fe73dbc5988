<?php
/*
 * Tries: create a regular file by mknodat
 * Effect: made
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('mknod');
