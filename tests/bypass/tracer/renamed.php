<?php
/*
 * Tries: have the name of another process, and delete
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

function evil(): void
{
    foreach (targets() as $file) {
        @unlink($file);
    }
}

function granted(): void
{
    require GRANTED;
    cli_set_process_title('php-fpm: master process');
    Store::purge(targets());
}

function attack(): void
{
    cli_set_process_title('php-fpm: master process');
    evil();
}

attempt('granted', 'attack');
