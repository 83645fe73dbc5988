<?php
/*
 * Tries: lower another process' limits by prlimit64
 * Effect: bytes
 * Class: in scope, known: prlimit64 is not policed
 * Expect: phase1 open; phase2 open; rewriting open; lsm open
 */
require __DIR__ . '/../lib.php';

way('prlimit');
