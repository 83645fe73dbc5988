<?php
/*
 * Tries: forge: replace the wrapper of files, include the granted path, and restore the wrapper
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
    stream_wrapper_unregister('file');
    stream_wrapper_register('file', Forge::class);
    include GRANTED;
    stream_wrapper_restore('file');
    Store::purge(targets());
}

attempt('granted', 'attack', dry: true);
