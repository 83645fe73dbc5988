<?php
/*
 * Tries: include an upload by a link that has the name of a granted script
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * File: upload.php: <?php foreach (targets() as $file) { @unlink($file); }
 * Link: granted.php: upload.php
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    include FOLDER . '/granted.php';
}

attempt('granted', 'attack', dry: true);
