<?php
/*
 * Tries: let the kernel signal another process: F_SETOWN and O_ASYNC of a pipe
 * Effect: signals
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('sigio');
