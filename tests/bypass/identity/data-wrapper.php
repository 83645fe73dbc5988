<?php
/*
 * Tries: forge: replace the wrapper of `data:`, which needs no slashes and is cached as if it were a file
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
    stream_wrapper_unregister('data');
    stream_wrapper_register('data', Forge::class);
    include 'data:x';
    Store::purge(targets());
}

attempt('granted', 'attack', dry: true);
