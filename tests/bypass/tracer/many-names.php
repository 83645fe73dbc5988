<?php
/*
 * Tries: fill the table of names with functions of its own, so that honest processes are not told apart any more: a
 *     granted function is called through 70,000 of them
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * Session: crowded
 */
require __DIR__ . '/../lib.php';

const DEEP = 14;

/* Each calls the next one, and the last a granted function. */
function names(int $n): string
{
    $code = '';
    for ($at = 0; $at < DEEP; $at++) {
        $next = $at + 1 < DEEP ? "name{$n}_" . ($at + 1) . '()' : "Store::move('/nowhere', '/nowhere/0')";
        $code .= "function name{$n}_$at(): void { @$next; }";
    }
    return $code;
}

function crowd(int $names): void
{
    for ($n = 0; $n * DEEP < $names; $n++) {
        eval(names($n));
        ("name{$n}_0")();
    }
}

function granted(): void
{
    require GRANTED;
    @Store::move('/nowhere', '/nowhere/0');
    Store::purge(targets());
}

function attack(): void
{
    require GRANTED;
    crowd(70000);
    foreach (targets() as $file) {
        @unlink($file);
    }
}

attempt('granted', 'attack');
