<?php
/*
 * Tries: swap two files by renameat2 with RENAME_EXCHANGE
 * Effect: changed
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('exchange');
