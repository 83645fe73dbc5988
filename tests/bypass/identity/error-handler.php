<?php
/*
 * Tries: delete in an error handler while a granted function runs
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

function evil(): bool
{
    foreach (targets() as $file) {
        @unlink($file);
    }
    return true;
}

function attack(): void
{
    require GRANTED;
    set_error_handler('evil');
    (new Store())->map('trigger_error', ['an error']);
}

attempt('granted', 'attack');
