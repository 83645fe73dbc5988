<?php
/*
 * Tries: extend the granted class, and call what is inherited
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
    (new class extends Store {
    })::purge(targets());
}

attempt('granted', 'attack');
