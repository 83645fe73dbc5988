<?php
/*
 * Tries: forge: include from a stream wrapper that says it opened the granted file
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';
require __DIR__ . '/../forge.php';

/* Reading by such a wrapper is nothing but reading. */
function granted(): void
{
    stream_wrapper_register('evil', Forge::class);
    file_get_contents('evil://x');
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    stream_wrapper_register('evil', Forge::class);
    include 'evil://x';
    Store::purge(targets());
}

attempt('granted', 'attack', dry: true);
