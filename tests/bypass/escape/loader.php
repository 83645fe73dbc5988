<?php
/*
 * Tries: start PHP as an argument of ld.so: the program is not PHP
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    start(['/lib64/ld-linux-x86-64.so.2', PHP_BINARY, '-n', __DIR__ . '/../evil.php', FOLDER, (string) COUNT]);
}

attempt('granted', 'attack');
