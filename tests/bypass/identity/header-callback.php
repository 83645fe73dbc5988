<?php
/*
 * Tries: delete in a header callback
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
    header_register_callback('evil');
    echo 'text';
}

attempt('granted', 'attack');
