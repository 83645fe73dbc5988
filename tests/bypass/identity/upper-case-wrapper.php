<?php
/*
 * Tries: forge: register `FILE` beside `file`: PHP looks for what is spelt so first
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
    stream_wrapper_register('FILE', Forge::class);
    include 'FILE:///x';
    Store::purge(targets());
}

attempt('granted', 'attack', dry: true);
