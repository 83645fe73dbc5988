<?php
/*
 * Tries: start a program by posix_spawn, which is clone3 with CLONE_VFORK
 * Effect: made
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('spawn');
