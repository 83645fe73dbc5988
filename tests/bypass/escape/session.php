<?php
/*
 * Tries: a child with a session of its own deletes, without a terminal or an open file
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

function daemon(callable $then): void
{
    if (pcntl_fork()) {
        return;
    }
    posix_setsid();
    array_map('fclose', [STDIN, STDOUT, STDERR]);
    chdir('/');
    $then();
    exit;
}

function granted(): void
{
    require GRANTED;
    daemon(fn () => Store::purge(targets()));
}

function attack(): void
{
    daemon('evil');
}

attempt('granted', 'attack', dry: true);
