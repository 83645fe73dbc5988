<?php
/*
 * Tries: write over a script of the profile by a path of 2,000 bytes, relative and full of `/./`
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
    chdir(OPEN);
    Store::save(str_repeat('./', 1000) . 'page.php', '<?php evil();');
}

attempt('granted', 'attack');
