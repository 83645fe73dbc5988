<?php
/*
 * Tries: delete in an output callback that runs when the request is over
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

function evil(string $text): string
{
    foreach (targets() as $file) {
        @unlink($file);
    }
    return $text;
}

function attack(): void
{
    ob_start('evil');
    echo 'text';
}

attempt('granted', 'attack');
