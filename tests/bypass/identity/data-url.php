<?php
/*
 * Tries: include code from a data: address
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * Options: -d allow_url_include=1
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    include 'data:text/plain,' . urlencode('<?php foreach (targets() as $file) { @unlink($file); }');
}

attempt('granted', 'attack', dry: true);
