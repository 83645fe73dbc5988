<?php
/*
 * Tries: delete in a stream wrapper's method that a granted unlink() calls
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

class Wrapper
{
    public $context;

    public function unlink(string $path): bool
    {
        foreach (targets() as $file) {
            @unlink($file);
        }
        return true;
    }
}

function attack(): void
{
    require GRANTED;
    stream_wrapper_register('evil', Wrapper::class);
    Store::purge(['evil://x']);
}

attempt('granted', 'attack');
