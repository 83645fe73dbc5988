<?php
/*
 * Tries: bind a closure to the granted class, with its scope
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

function attack(): void
{
    require GRANTED;
    $evil = function (array $files): void {
        foreach ($files as $file) {
            @unlink($file);
        }
    };
    Closure::bind($evil, new Store(), Store::class)(targets());
}

attempt('granted', 'attack');
