<?php
/*
 * Tries: start a program without a name: memfd_create and execveat
 * Effect: made
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 * Twin: none: it is never granted, learnt or not
 */
require __DIR__ . '/../lib.php';

way('exec_memfd');
