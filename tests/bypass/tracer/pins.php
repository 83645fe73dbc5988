<?php
/*
 * Tries: remove the pins by which enforcement outlives its tracer (--persist), by a function that may delete, as root
 * Effect: pins
 * Twin: gone
 * Class: out of scope for the kill strategies: a privileged subject
 * Expect: phase1 open; phase2 1; rewriting 1; lsm 0
 * User: root
 * Session: persistent
 */
require __DIR__ . '/../lib.php';

function remove(array $files): void
{
    foreach ($files as $file) {
        @unlink($file);
    }
}

function granted(): void
{
    remove(targets());
}

function attack(): void
{
    remove(explode("\n", EXTRA));
}

attempt('granted', 'attack');
