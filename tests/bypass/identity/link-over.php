<?php
/*
 * Tries: delete a script of the profile and link another file to its name
 * Effect: script
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
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
    Store::link(FOLDER . '/from', FOLDER . '/0');
}

function attack(): void
{
    require GRANTED;
    Store::link(FOLDER . '/upload.php', OPEN . '/page.php');
}

attempt('granted', 'attack');
