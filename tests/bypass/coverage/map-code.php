<?php
/*
 * Tries: run machine code of a file that it wrote (mmap with PROT_EXEC)
 * Effect: bytes
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('map-code');
