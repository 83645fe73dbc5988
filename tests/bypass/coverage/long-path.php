<?php
/*
 * Tries: delete by a path of 4,095 bytes, longer than any record has room for
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

way('long-path');
