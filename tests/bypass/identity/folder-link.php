<?php
/*
 * Tries: empty the folder of a script of the profile, and put a link to another folder in its place
 * Effect: linked
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * Twin: made 0
 * File: page.php: <?php evil();
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    require OPEN . '/page.php';
    page(FOLDER . '/page');
    mkdir(FOLDER . '/0');
    touch(FOLDER . '/0/x');
    Store::place(FOLDER . '/0', FOLDER);
}

function attack(): void
{
    require GRANTED;
    Store::place(OPEN, FOLDER);
}

attempt('granted', 'attack');
