<?php
/*
 * Tries: a child for each deletion: each child has one call that is under way when it is killed
 * Effect: gone
 * Class: in scope: one call for each process
 * Expect: phase1 open; phase2 open; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

function evil(string $file): void
{
    unlink($file);
}

function each(callable $then): void
{
    foreach (targets() as $file) {
        if (!pcntl_fork()) {
            $then($file);
            exit;
        }
    }
    while (pcntl_wait($status) > 0) {
    }
}

function granted(): void
{
    require GRANTED;
    each(fn (string $file) => Store::purge([$file]));
}

function attack(): void
{
    each('evil');
}

attempt('granted', 'attack', dry: true);
