<?php
/*
 * Tries: hand `unlink` to a granted function that calls what it is given, and may delete
 * Effect: gone
 * Class: out of scope: genuine code with an attacker's data
 * Expect: phase1 open; phase2 open; rewriting open; lsm open
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    (new Store())->map('unlink', targets());
}

function attack(): void
{
    require GRANTED;
    (new Store())->map('unlink', targets());
}

attempt('granted', 'attack');
