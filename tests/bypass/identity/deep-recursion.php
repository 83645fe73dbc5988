<?php
/*
 * Tries: delete below 50,000 frames of a granted function: more than a walk may follow
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * Options: -d memory_limit=512M
 */
require __DIR__ . '/../lib.php';

function deep(int $n, callable $at_last): void
{
    $n ? deep($n - 1, $at_last) : $at_last();
}

function evil(): void
{
    foreach (targets() as $file) {
        @unlink($file);
    }
}

function granted(): void
{
    require GRANTED;
    deep(50000, fn () => Store::purge(targets()));
}

function attack(): void
{
    deep(50000, 'evil');
}

attempt('granted', 'attack');
