<?php
/*
 * Tries: delete by a call of the x32 kind, where this kernel has them
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * Needs: a kernel that has it
 * Twin: none: it is never granted, learnt or not
 */
require __DIR__ . '/../lib.php';

way('x32');
