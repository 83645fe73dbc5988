<?php
/*
 * Tries: call a method that does not exist, under the granted name: an internal frame with any name
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

class Anything
{
    public function __call(string $name, array $arguments): void
    {
        foreach ($arguments[0] as $file) {
            @unlink($file);
        }
    }
}

function attack(): void
{
    Closure::fromCallable([new Anything(), 'purge'])(targets());
}

attempt('granted', 'attack');
