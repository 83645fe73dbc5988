<?php
/*
 * Tries: delete by int 0x80, the 32-bit way, where other numbers mean other calls
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * Twin: none: it is never granted, learnt or not
 */
require __DIR__ . '/../lib.php';

way('int80');
