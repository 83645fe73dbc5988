<?php
/*
 * Tries: replace a file by renaming another one over it (renameat2)
 * Effect: changed
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('rename-over');
