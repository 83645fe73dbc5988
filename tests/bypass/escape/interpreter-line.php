<?php
/*
 * Tries: start an upload whose interpreter line is PHP
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * File: upload: #!PHP -n
 * Append: upload: evil.php
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
    start([FOLDER . '/upload', FOLDER, (string) COUNT]);
}

attempt('granted', 'attack', dry: true);
