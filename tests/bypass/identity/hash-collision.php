<?php
/*
 * Tries: a method whose name has the hash of a granted one (DJBX33A)
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * File: store.php: <?php class Store { static function purgeFY($files) { foreach ($files as $file) {
 *     @unlink($file); } } }
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    Store::purgeEz(targets());
}

function attack(): void
{
    include FOLDER . '/store.php';
    Store::purgeFY(targets());
}

attempt('granted', 'attack', dry: true);
