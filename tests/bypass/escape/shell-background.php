<?php
/*
 * Tries: leave a program in the background by a shell, with nohup and setsid
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    $ways = dirname(__DIR__) . '/ways-granted';
    exec("$ways unlink " . FOLDER . ' ' . COUNT . ' > /dev/null 2>&1 &');
}

function attack(): void
{
    // The shell is learnt, with another program.
    exec('setsid nohup rm ' . implode(' ', targets()) . ' > /dev/null 2>&1 &');
}

attempt('granted', 'attack');
