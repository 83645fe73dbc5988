<?php
/*
 * Tries: the same where only the second of two messages has an address
 * Effect: letters
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

way('sendmmsg-second');
