<?php
/*
 * Tries: delete while nobody reads events, and the pipe that they go to is full
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * Session: slow reader
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    foreach (targets() as $file) {
        @unlink($file);
    }
}

attempt('granted', 'attack');
