<?php
/*
 * Tries: remove shared memory (System V) that is another program's
 * Effect: segments
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

way('ipc-remove');
