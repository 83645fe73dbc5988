<?php
/*
 * Tries: start a program that is root's by its mode (set-user-id): the signal must reach it
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    start([dirname(__DIR__) . '/set-user-id', 'unlink', FOLDER, (string) COUNT]);
}

attempt('granted', 'attack');
