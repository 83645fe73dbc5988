<?php
/*
 * Tries: start a copy of PHP under another name
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 * Copy: copy: PHP
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    start([FOLDER . '/copy', '-n', __DIR__ . '/../evil.php', FOLDER, (string) COUNT]);
}

attempt('granted', 'attack');
