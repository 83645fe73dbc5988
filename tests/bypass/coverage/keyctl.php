<?php
/*
 * Tries: keep bytes in a keyring of the kernel
 * Effect: bytes
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

way('keyctl');
