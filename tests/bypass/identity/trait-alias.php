<?php
/*
 * Tries: give a method of a trait the granted class and name
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

trait Evil
{
    public static function anything(array $files): void
    {
        foreach ($files as $file) {
            @unlink($file);
        }
    }
}

function attack(): void
{
    eval('class Store { use Evil { anything as purge; } }');
    Store::purge(targets());
}

attempt('granted', 'attack');
