<?php
/*
 * Tries: delete in a fiber that granted code resumes
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

function evil(): void
{
    Fiber::suspend();
    foreach (targets() as $file) {
        @unlink($file);
    }
}

function attack(): void
{
    require GRANTED;
    $fiber = new Fiber('evil');
    $fiber->start();
    (new Store())->map([$fiber, 'resume'], [null]);
}

attempt('granted', 'attack', dry: true);
