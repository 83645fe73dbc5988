<?php
/*
 * Tries: in a mount namespace of its own, cover a program that is learnt by another one: the path is the same
 * Effect: gone
 * Class: out of scope: a site that is granted mounts in a user namespace
 * Expect: phase1 open; phase2 open; rewriting open; lsm open
 */
require __DIR__ . '/../lib.php';

function inside(string $program): void
{
    $script = 'mount --bind "$1" "$2" && exec "$2" unlink "$3" "$4" "" "$5"';
    $ways = dirname(__DIR__) . '/covered';
    start(['/usr/bin/unshare', '-Urm', 'sh', '-c', $script, 'sh', $program, $ways, FOLDER, (string) COUNT, ROLE]);
}

function granted(): void
{
    inside(dirname(__DIR__) . '/covered');
}

function attack(): void
{
    inside(dirname(__DIR__) . '/ways');
}

attempt('granted', 'attack');
