<?php
/*
 * Tries: signal another process by pidfd_send_signal
 * Effect: signals
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

way('pidfd-signal');
