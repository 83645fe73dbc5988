<?php
/*
 * Tries: include code from an archive
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * Options: -d extension=phar
 * File: evil.php: <?php foreach (targets() as $file) { @unlink($file); }
 * File: good.php: <?php
 * Archive: archive.tar: evil.php good.php
 */
require __DIR__ . '/../lib.php';

/* Including an archive's code is nothing that makes names doubtful. */
function granted(): void
{
    include 'phar://' . FOLDER . '/archive.tar/good.php';
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    include 'phar://' . FOLDER . '/archive.tar/evil.php';
}

attempt('granted', 'attack', dry: true);
