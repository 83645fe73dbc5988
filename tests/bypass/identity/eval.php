<?php
/*
 * Tries: delete in eval, called by a granted function of that class
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
    require GRANTED;
    eval('foreach (targets() as $file) { @unlink($file); }');
}

attempt('granted', 'attack');
