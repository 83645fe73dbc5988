<?php
/*
 * Tries: start a program as an argument of ld.so
 * Effect: made
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('loader');
