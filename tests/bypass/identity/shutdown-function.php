<?php
/*
 * Tries: let `unlink` itself be the shutdown function: no code of PHP is on the chain
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    foreach (targets() as $file) {
        register_shutdown_function('unlink', $file);
    }
}

attempt('granted', 'attack');
