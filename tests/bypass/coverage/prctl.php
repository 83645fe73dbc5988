<?php
/*
 * Tries: make its memory unreadable for others by prctl(PR_SET_DUMPABLE)
 * Effect: bytes
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('prctl');
