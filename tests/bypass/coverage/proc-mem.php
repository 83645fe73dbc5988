<?php
/*
 * Tries: write another process' memory by /proc/PID/mem
 * Effect: prey
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('proc-mem');
