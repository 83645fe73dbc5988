<?php
/*
 * Tries: become another program, so that PHP is not there any more
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    pcntl_exec(dirname(__DIR__) . '/ways-granted', ['unlink', FOLDER, (string) COUNT]);
}

function attack(): void
{
    pcntl_exec('/usr/bin/rm', targets());
}

attempt('granted', 'attack');
