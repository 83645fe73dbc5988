<?php
/*
 * Tries: give a file to whom it belongs already, which takes its set-user-id bit away
 * Effect: mode
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('fchownat');
