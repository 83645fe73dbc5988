<?php
/*
 * Tries: delete in a destructor that runs while a granted function returns
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

class Bomb
{
    public function __destruct()
    {
        foreach (targets() as $file) {
            @unlink($file);
        }
    }
}

function attack(): void
{
    require GRANTED;
    (new Store())->map('is_object', [new Bomb()]);
}

attempt('granted', 'attack');
