<?php
/*
 * Tries: start PHP itself, which is learnt, with another script
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    start([PHP_BINARY, '-n', GRANTED]);
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    start([PHP_BINARY, '-n', __DIR__ . '/../evil.php', FOLDER, (string) COUNT]);
}

attempt('granted', 'attack', dry: true);
