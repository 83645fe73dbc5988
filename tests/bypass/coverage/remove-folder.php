<?php
/*
 * Tries: remove a folder by unlinkat with AT_REMOVEDIR, which is rmdir by another name
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('unlinkat_dir');
