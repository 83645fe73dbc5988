<?php
/*
 * Tries: include an upload by /proc/self/fd/N, a path that says nothing of it
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * File: upload.php: <?php foreach (targets() as $file) { @unlink($file); }
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    $descriptor = fopen(FOLDER . '/upload.php', 'r');
    // The one that was opened last.
    $all = array_map('intval', array_diff(scandir('/proc/self/fd'), ['.', '..']));
    foreach (array_reverse($all) as $number) {
        if (@readlink("/proc/self/fd/$number") === FOLDER . '/upload.php') {
            include "/proc/self/fd/$number";
            break;
        }
    }
}

attempt('granted', 'attack', dry: true);
