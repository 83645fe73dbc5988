<?php
/*
 * Tries: a function whose first 255 bytes are those of another one: longer than names may be
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
    $name = str_repeat('a', 255);
    eval("function {$name}b(): void { foreach (targets() as \$file) { @unlink(\$file); } }");
    ($name . 'b')();
}

attempt('granted', 'attack', dry: true);
