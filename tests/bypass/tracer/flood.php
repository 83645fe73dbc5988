<?php
/*
 * Tries: make many allowed calls, so that what is told does not fit, and delete
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

function evil(): void
{
    foreach (targets() as $file) {
        @unlink($file);
    }
}

function flood(callable $then): void
{
    for ($n = 0; $n < 3000; $n++) {
        Store::save(FOLDER . '/../flood', 'text');
    }
    $then();
}

function granted(): void
{
    require GRANTED;
    flood(fn () => Store::purge(targets()));
}

function attack(): void
{
    require GRANTED;
    flood('evil');
}

attempt('granted', 'attack');
