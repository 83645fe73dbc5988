<?php
/*
 * Tries: the same by the ioctl FIOSETOWN of a socket
 * Effect: signals
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('sigio-socket');
