<?php
/*
 * Tries: connect a datagram socket, and send
 * Effect: datagrams
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('connect-udp');
