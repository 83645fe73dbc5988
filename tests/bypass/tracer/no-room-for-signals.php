<?php
/*
 * Tries: leave no room for pending signals (RLIMIT_SIGPENDING), and delete
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

function granted(): void
{
    require GRANTED;
    posix_setrlimit(POSIX_RLIMIT_SIGPENDING, 0, 0);
    Store::purge(targets());
}

function attack(): void
{
    posix_setrlimit(POSIX_RLIMIT_SIGPENDING, 0, 0);
    evil();
}

attempt('granted', 'attack');
