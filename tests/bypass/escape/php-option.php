<?php
/*
 * Tries: start PHP, which is learnt, with the granted script and a file to be prepended
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
    $evil = __DIR__ . '/../evil.php';
    start([PHP_BINARY, '-n', '-d', "auto_prepend_file=$evil", GRANTED, FOLDER, (string) COUNT]);
}

attempt('granted', 'attack', dry: true);
