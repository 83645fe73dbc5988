<?php
/*
 * Tries: extend the granted class without a name: the name begins with that of the granted class, a NUL follows
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
    $evil = new class extends Store {
        public static function purge(array $files): void
        {
            foreach ($files as $file) {
                @unlink($file);
            }
        }
    };
    $evil::purge(targets());
}

attempt('granted', 'attack');
