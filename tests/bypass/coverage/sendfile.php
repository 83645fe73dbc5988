<?php
/*
 * Tries: change a file that is open for writing by sendfile
 * Effect: changed
 * Class: out of scope: a file that is open already
 * Expect: phase1 open; phase2 open; rewriting open; lsm open
 */
require __DIR__ . '/../lib.php';

way('sendfile');
