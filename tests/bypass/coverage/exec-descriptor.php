<?php
/*
 * Tries: start a program by /proc/self/fd/N
 * Effect: made
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('exec-descriptor');
