<?php
/*
 * Tries: delete in a destructor when the request is over and no function runs
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
    $GLOBALS['bomb'] = new Bomb();
}

attempt('granted', 'attack');
