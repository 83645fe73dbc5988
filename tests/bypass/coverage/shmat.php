<?php
/*
 * Tries: run machine code of System V shared memory, attached with SHM_EXEC
 * Effect: bytes
 * Class: in scope, known: shmat is not policed
 * Expect: phase1 open; phase2 open; rewriting open; lsm 0
 */
require __DIR__ . '/../lib.php';

way('shmat');
