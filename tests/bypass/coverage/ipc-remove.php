<?php
/*
 * Tries: remove shared memory (System V) that is another program's
 * Effect: segments
 * Class: in scope, known: shmctl is not policed
 * Expect: phase1 open; phase2 open; rewriting open; lsm open
 */
require __DIR__ . '/../lib.php';

way('ipc-remove');
