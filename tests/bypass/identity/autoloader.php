<?php
/*
 * Tries: let a closure that deletes be the autoloader: class names are paths
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
    chdir(FOLDER);
    spl_autoload_register(fn (string $class) => @unlink(substr($class, 1)));
    foreach (range(0, COUNT - 1) as $n) {
        class_exists("n$n");
    }
}

attempt('granted', 'attack');
