<?php
/*
 * Tries: a child of a child deletes, when both parents are gone
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

function evil(): void
{
    usleep(50_000);
    foreach (targets() as $file) {
        @unlink($file);
    }
}

function detached(callable $then): void
{
    if (pcntl_fork()) {
        return;
    }
    if (!pcntl_fork()) {
        $then();
    }
    exit;
}

function granted(): void
{
    require GRANTED;
    detached(fn () => Store::purge(targets()));
}

function attack(): void
{
    detached('evil');
}

attempt('granted', 'attack', dry: true);
