<?php
/*
 * Tries: forge likewise, and take the wrapper away again before the call
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';
require __DIR__ . '/../forge.php';

function granted(): void
{
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    stream_wrapper_register('evil', Forge::class);
    include 'evil://x';
    stream_wrapper_unregister('evil');
    Store::purge(targets());
}

attempt('granted', 'attack', dry: true);
