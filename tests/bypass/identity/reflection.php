<?php
/*
 * Tries: call a granted method by reflection
 * Effect: gone
 * Class: out of scope: genuine code with an attacker's data
 * Expect: phase1 open; phase2 open; rewriting open; lsm open
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    require GRANTED;
    (new ReflectionMethod('Store', 'purge'))->invoke(null, targets());
}

attempt('granted', 'attack');
