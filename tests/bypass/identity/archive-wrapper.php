<?php
/*
 * Tries: forge: replace the wrapper of archives, whose code is cached, and include from it
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * Options: -d extension=phar
 */
require __DIR__ . '/../lib.php';
require __DIR__ . '/../forge.php';

/* Likewise, and nothing is included: what some applications do so that archives cannot be opened. */
function granted(): void
{
    stream_wrapper_unregister('phar');
    stream_wrapper_register('phar', Forge::class);
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    stream_wrapper_unregister('phar');
    stream_wrapper_register('phar', Forge::class);
    include 'phar://x';
    Store::purge(targets());
}

attempt('granted', 'attack', dry: true);
