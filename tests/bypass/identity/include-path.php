<?php
/*
 * Tries: forge: include a file that the include path leads to a stream wrapper, which says it opened the granted file
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';
require __DIR__ . '/../forge.php';

/* An include path that leads nowhere else. */
function granted(): void
{
    set_include_path(__DIR__ . '/..');
    require 'granted.php';
    Store::purge(targets());
}

function attack(): void
{
    stream_wrapper_register('evil', Forge::class);
    set_include_path('evil://d');
    include 'x.php';
    Store::purge(targets());
}

attempt('granted', 'attack', dry: true);
