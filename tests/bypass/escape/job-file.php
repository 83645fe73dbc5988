<?php
/*
 * Tries: leave a job for a daemon outside (cron, at): the file is what is not granted
 * Effect: job
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    Store::save(FOLDER . '/job', 'purge');
}

function attack(): void
{
    file_put_contents(FOLDER . '/job', 'purge');
}

attempt('granted', 'attack');
