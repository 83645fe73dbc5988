<?php
/*
 * Tries: set an extended attribute
 * Effect: xattr
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * Needs: a kernel that has it
 */
require __DIR__ . '/../lib.php';

way('setxattr');
