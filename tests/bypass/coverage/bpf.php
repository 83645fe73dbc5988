<?php
/*
 * Tries: use bpf(2), which the sandbox itself is made of; never granted
 * Effect: bytes
 * Class: out of scope for the kill strategies: a privileged subject
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 * User: root
 * Twin: none: it is never granted, learnt or not
 */
require __DIR__ . '/../lib.php';

way('bpf-byte');
