<?php
/*
 * Tries: make a process by clone3, whose flags lie in memory
 * Effect: bytes
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('clone3');
