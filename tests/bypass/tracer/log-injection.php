<?php
/*
 * Tries: delete files whose names are lines of an event file and sequences for a terminal
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
    foreach (targets() as $file) {
        @unlink("$file\n{\"v\":1,\"kind\":\"forged\"}\n\e[2J");
        @unlink($file);
    }
}

attempt('granted', 'attack');
