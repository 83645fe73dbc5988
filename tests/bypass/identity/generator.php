<?php
/*
 * Tries: delete in a generator that granted code runs through
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

function evil(): iterable
{
    foreach (targets() as $file) {
        @unlink($file);
        yield '/nowhere';
    }
}

function attack(): void
{
    require GRANTED;
    (new Store())->each(evil());
}

attempt('granted', 'attack');
