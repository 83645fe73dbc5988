<?php
/*
 * Tries: write over a script of the profile by another name of the same file, which was there before
 * Effect: script
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * Twin: made 0
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    require OPEN . '/page.php';
    page(FOLDER . '/page');
    Store::save(FOLDER . '/0', 'text');
}

function attack(): void
{
    require GRANTED;
    Store::save(OPEN . '/other-name', '<?php evil();');
}

attempt('granted', 'attack');
