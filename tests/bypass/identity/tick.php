<?php
/*
 * Tries: delete in a tick function, between two statements of other code
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
    declare(ticks=1) {
        register_tick_function('evil');
        $nothing = 1;
        $nothing = 2;
    }
}

attempt('granted', 'attack');
