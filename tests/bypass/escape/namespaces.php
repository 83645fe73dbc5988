<?php
/*
 * Tries: delete in user, pid and mount namespaces of its own, where it is process 1 and root
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

function inside(string $program): void
{
    start(['/usr/bin/unshare', '-Urpf', '--mount-proc', $program, 'unlink', FOLDER, (string) COUNT, '', ROLE]);
}

function granted(): void
{
    inside(dirname(__DIR__) . '/ways-granted');
}

function attack(): void
{
    inside(dirname(__DIR__) . '/ways');
}

attempt('granted', 'attack', dry: true);
