<?php
/*
 * Tries: start PHP, which is learnt, with $PHP_INI_SCAN_DIR: an ini file prepends an upload
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * File: evil.ini: auto_prepend_file=ROOT/evil.php
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    start([PHP_BINARY, GRANTED], []);
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    start([PHP_BINARY, GRANTED, FOLDER, (string) COUNT], ['PHP_INI_SCAN_DIR' => FOLDER]);
}

attempt('granted', 'attack', dry: true);
