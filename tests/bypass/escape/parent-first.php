<?php
/*
 * Tries: the parent ends first, and deletes as it goes: the child is there, killed or not
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
    foreach (targets() as $file) {
        @unlink($file);
    }
}

function attack(): void
{
    if (pcntl_fork()) {
        // What is left of this one when it is killed is an orphan.
        evil();
    }
    usleep(20_000);
}

attempt('granted', 'attack', dry: true);
