<?php
/*
 * Tries: make many sites, so that there is no room for another one: 300 children, each with a function of its
 *     own
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

function each(callable $one): void
{
    for ($n = 0; $n < 100; $n++) {
        if (!pcntl_fork()) {
            $one($n);
            exit;
        }
        pcntl_wait($status);
    }
}

function one(int $n): void
{
    eval("function site$n(string \$file): void { @unlink(\$file); }");
    ("site$n")('/nowhere');
}

function evil(): void
{
    foreach (targets() as $file) {
        @unlink($file);
    }
}

function granted(): void
{
    require GRANTED;
    each(fn (int $n) => Store::purge(['/nowhere']));
    Store::purge(targets());
}

function attack(): void
{
    each('one');
    evil();
}

attempt('granted', 'attack');
