<?php
/*
 * Tries: rename an upload over a script of the profile, by a function that may rename
 * Effect: script
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 0; lsm 0
 * Twin: made 0
 * File: upload.php: <?php evil();
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    require OPEN . '/page.php';
    page(FOLDER . '/page');
    touch(FOLDER . '/from');
    Store::move(FOLDER . '/from', FOLDER . '/0');
}

function attack(): void
{
    require GRANTED;
    Store::move(FOLDER . '/upload.php', OPEN . '/page.php');
}

attempt('granted', 'attack');
