<?php
/*
 * Tries: delete behind a root of its own, in a user namespace
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

function inside(string $program): void
{
    start(['/usr/bin/unshare', '-Ur', '--root=' . dirname(__DIR__), "/$program", 'unlink', '/traps', (string) COUNT, '', ROLE]);
}

function granted(): void
{
    inside('ways-static-granted');
}

function attack(): void
{
    inside('ways-static');
}

attempt('granted', 'attack', dry: true);
