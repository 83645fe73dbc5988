<?php
/*
 * Tries: kill the tracer by a child that may signal, as root; then delete, where enforcement outlives it (--persist)
 * Effect: gone
 * Class: in scope: one call for each process
 * Expect: phase1 open; phase2 1; rewriting 1; lsm 0
 * User: root
 * Session: persistent
 */
require __DIR__ . '/../lib.php';

function signal(int $pid): void
{
    if ($pid > 1) {
        posix_kill($pid, SIGKILL);
    }
}

/* A child that signals; the other one's, of the twin's own. */
function by_child(callable $whom): void
{
    $child = pcntl_fork();
    if (!$child) {
        signal($whom());
        exit;
    }
    pcntl_waitpid($child, $status);
}

function granted(): void
{
    $other = pcntl_fork();
    if (!$other) {
        sleep(20);
        exit;
    }
    by_child(fn (): int => $other);
    pcntl_waitpid($other, $status);
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    by_child(fn (): int => (int) EXTRA);
    usleep(300000);
    foreach (targets() as $file) {
        @unlink($file);
    }
}

attempt('granted', 'attack', dry: true);
