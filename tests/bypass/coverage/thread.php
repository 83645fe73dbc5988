<?php
/*
 * Tries: delete in a second thread, while the first one waits
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('thread');
