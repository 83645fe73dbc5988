<?php
/*
 * Tries: run machine code of System V shared memory, attached with SHM_EXEC
 * Effect: bytes
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('shmat');
