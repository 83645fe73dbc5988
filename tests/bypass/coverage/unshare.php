<?php
/*
 * Tries: become privileged in a user namespace of its own
 * Effect: bytes
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('unshare');
