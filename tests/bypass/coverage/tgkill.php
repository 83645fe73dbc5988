<?php
/*
 * Tries: signal another process by tgkill
 * Effect: signals
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

way('tgkill');
