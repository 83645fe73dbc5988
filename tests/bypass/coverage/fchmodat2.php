<?php
/*
 * Tries: change a mode by fchmodat2, a call of 2023
 * Effect: mode
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 0; lsm 0
 * Needs: a kernel that has it
 */
require __DIR__ . '/../lib.php';

way('fchmodat2');
