<?php
/*
 * Tries: read another process' memory by process_vm_readv
 * Effect: bytes
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('vm-read');
