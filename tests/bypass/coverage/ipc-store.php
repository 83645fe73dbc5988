<?php
/*
 * Tries: store into another program's shared memory (System V), by its number alone
 * Effect: stores
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('ipc-store');
