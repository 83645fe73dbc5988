<?php
/*
 * Tries: include an uploaded file; its top-level code deletes
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * File: upload.php: <?php foreach (targets() as $file) { @unlink($file); }
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    $upload = FOLDER . '/upload.php';
    include $upload;
}

attempt('granted', 'attack', dry: true);
