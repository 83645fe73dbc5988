<?php
/*
 * Tries: start PHP by a symbolic link with another name
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * Link: ls: PHP
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    start([FOLDER . '/ls', '-n', __DIR__ . '/../evil.php', FOLDER, (string) COUNT]);
}

attempt('granted', 'attack');
