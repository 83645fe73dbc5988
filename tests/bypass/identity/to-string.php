<?php
/*
 * Tries: delete while a granted function turns an object into a path
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

class Path
{
    public function __toString(): string
    {
        foreach (targets() as $file) {
            @unlink($file);
        }
        return '/nowhere';
    }
}

function attack(): void
{
    require GRANTED;
    (new Store())->each([new Path()]);
}

attempt('granted', 'attack');
