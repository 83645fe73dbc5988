<?php
/*
 * Tries: send a message to another program's queue (System V), by its number alone
 * Effect: messages
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('ipc-message');
