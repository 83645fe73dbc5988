<?php
/*
 * Tries: delete in an exception handler, when all code of PHP is left
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

function evil(): void
{
    foreach (targets() as $file) {
        @unlink($file);
    }
}

function attack(): void
{
    set_exception_handler('evil');
    throw new Exception('nobody catches it');
}

attempt('granted', 'attack');
