<?php
/*
 * Tries: delete in a signal handler that interrupts granted code
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
    require GRANTED;
    pcntl_async_signals(true);
    pcntl_signal(SIGALRM, 'evil');
    pcntl_alarm(1);
    for ($until = microtime(true) + 1.3; microtime(true) < $until;) {
        (new Store())->map('strlen', ['x']);
    }
}

attempt('granted', 'attack', dry: true);
