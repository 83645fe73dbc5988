<?php
/*
 * Tries: raise another program's semaphore (System V), by its number alone
 * Effect: semaphores
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('ipc-semaphore');
