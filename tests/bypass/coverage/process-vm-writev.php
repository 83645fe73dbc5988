<?php
/*
 * Tries: write another process' memory by process_vm_writev
 * Effect: prey
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

way('vm-write');
