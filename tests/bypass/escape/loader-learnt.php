<?php
/*
 * Tries: the same where PHP started so is learnt: its PHP code is not seen, the program is ld.so
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

function through_loader(string ...$arguments): void
{
    proc_close(proc_open(['/lib64/ld-linux-x86-64.so.2', PHP_BINARY, '-n', ...$arguments], [], $pipes));
}

function granted(): void
{
    through_loader(GRANTED);
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    through_loader(__DIR__ . '/../evil.php', FOLDER, (string) COUNT);
}

attempt('granted', 'attack');
