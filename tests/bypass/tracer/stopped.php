<?php
/*
 * Tries: stop the tracer with SIGSTOP, by a function that may signal, as root
 * Effect: stopped
 * Class: out of scope for the kill strategies: a privileged subject
 * Expect: phase1 open; phase2 1; rewriting 1; lsm 0
 * User: root
 */
require __DIR__ . '/../lib.php';

function stop(): void
{
    posix_kill((int) EXTRA, SIGSTOP);
}

function granted(): void
{
    stop();
}

function attack(): void
{
    stop();
}

attempt('granted', 'attack');
