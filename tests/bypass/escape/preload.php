<?php
/*
 * Tries: load a library into a program that is learnt: mail() starts sendmail, putenv(LD_PRELOAD)
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * Options: -d sendmail_path=/usr/bin/true
 */
require __DIR__ . '/../lib.php';

function send(): void
{
    mail('nobody', 'subject', 'text');
}

function granted(): void
{
    send();
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    if (COUNT) {
        putenv('VICTIMS=' . FOLDER);
    }
    putenv('LD_PRELOAD=' . dirname(__DIR__) . '/preload.so');
    send();
}

attempt('granted', 'attack', dry: true);
