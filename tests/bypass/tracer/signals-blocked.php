<?php
/*
 * Tries: block and ignore every signal, and delete
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

function block(): void
{
    pcntl_sigprocmask(SIG_BLOCK, range(1, 31));
    foreach (range(1, 31) as $signal) {
        if (!in_array($signal, [SIGKILL, SIGSTOP])) {
            pcntl_signal($signal, SIG_IGN);
        }
    }
}

function granted(): void
{
    require GRANTED;
    block();
    Store::purge(targets());
}

function attack(): void
{
    block();
    evil();
}

attempt('granted', 'attack');
