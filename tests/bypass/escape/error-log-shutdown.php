<?php
/*
 * Tries: make the engine write when the request is over: error_log, as a shutdown function
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
    register_shutdown_function('error_log', '<?php evil();', 3, FOLDER . '/0');
}

attempt('granted', 'attack');
