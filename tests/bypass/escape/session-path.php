<?php
/*
 * Tries: make the engine write: a session whose folder is set by ini_set
 * Effect: made sess_0
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * Twin: made 0
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    Store::save(FOLDER . '/0', 'text');
}

function attack(): void
{
    ini_set('session.save_path', FOLDER);
    session_id('0');
    @session_start(['use_cookies' => 0, 'cache_limiter' => '', 'use_strict_mode' => 0]);
    $_SESSION['evil'] = '<?php evil();';
    session_write_close();
}

attempt('granted', 'attack');
