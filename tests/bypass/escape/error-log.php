<?php
/*
 * Tries: make the engine write: error_log by ini_set, and an uncaught exception
 * Effect: made 0
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    Store::save(FOLDER . '/0', 'text');
}

function attack(): void
{
    ini_set('log_errors', '1');
    ini_set('error_log', FOLDER . '/0');
    throw new Exception('<?php evil();');
}

attempt('granted', 'attack');
