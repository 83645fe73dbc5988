<?php
/*
 * Tries: delete by an io_uring that a thread of the kernel empties: no call is made
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 * Twin: none: it is never granted, learnt or not
 */
require __DIR__ . '/../lib.php';

way('uring-poll');
