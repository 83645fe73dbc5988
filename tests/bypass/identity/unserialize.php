<?php
/*
 * Tries: delete in __wakeup of an object that a granted function makes of text
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

class Gadget
{
    public function __wakeup(): void
    {
        foreach (targets() as $file) {
            @unlink($file);
        }
    }
}

function attack(): void
{
    require GRANTED;
    (new Store())->map('unserialize', ['O:6:"Gadget":0:{}']);
}

attempt('granted', 'attack');
