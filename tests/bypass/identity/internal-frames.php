<?php
/*
 * Tries: delete below 200 frames of internal functions, so that the walk ends before any code of PHP
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
    // array_map('array_map', ['array_map'], [['array_map']], …, [[['unlink']]], [[[files]]])
    $arguments = ['unlink', targets()];
    for ($n = 0; $n < 200; $n++) {
        $arguments = array_merge(['array_map'], array_map(fn ($argument) => [$argument], $arguments));
    }
    @array_map(...$arguments);
}

attempt('granted', 'attack', dry: true);
