<?php
/*
 * Tries: forge: give an archive the granted file's path as its alias, and include that path
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * Options: -d extension=phar -d phar.require_hash=0
 * File: nothing.php: <?php
 * File: stub.php: <?php class Store { static function purge($f) { array_map(unlink(...), $f); } } __HALT_COMPILER();
 * Archive: evil.tar: --transform=s,stub,.phar/stub, nothing.php stub.php
 */
require __DIR__ . '/../lib.php';
/* Archives are looked for where a path has this in it. */
const ARCHIVE = __DIR__ . '/../granted.phar.php';

function granted(): void
{
    require realpath(ARCHIVE);
    Store::purge(targets());
}

function attack(): void
{
    include 'phar://' . FOLDER . '/evil.tar/nothing.php';
    Phar::loadPhar(FOLDER . '/evil.tar', realpath(ARCHIVE));
    require realpath(ARCHIVE);
    Store::purge(targets());
}

attempt('granted', 'attack', dry: true);
