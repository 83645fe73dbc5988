<?php
/*
 * Tries: let a function of the attacker's be the shutdown function: its caller is not on the chain
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

function evil(): void
{
    foreach (targets() as $file) {
        @unlink($file);
    }
}

function attack(): void
{
    register_shutdown_function('evil');
}

attempt('granted', 'attack');
