<?php
/*
 * Tries: move the folder of a script of the profile away
 * Effect: script
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 0; lsm 0
 * Twin: made 0
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
    Store::move(OPEN, FOLDER . '/moved');
}

attempt('granted', 'attack');
