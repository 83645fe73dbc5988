<?php
/*
 * Tries: lower another process' limits by prlimit64
 * Effect: bytes
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('prlimit');
