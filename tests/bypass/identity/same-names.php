<?php
/*
 * Tries: declare a class and method of the granted names in a file of its own, before the autoloader would
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * File: store.php: <?php class Store { static function purge($files) { foreach ($files as $file) {
 *     @unlink($file); } } }
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    include FOLDER . '/store.php';
    Store::purge(targets());
}

attempt('granted', 'attack', dry: true);
