<?php
/*
 * Tries: the same by sendmsg, where the address lies behind a pointer in memory
 * Effect: datagrams
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('sendmsg');
