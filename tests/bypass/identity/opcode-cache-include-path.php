<?php
/*
 * Tries: forge by the include path, and leave it in the opcode cache: another process finds it under the granted path
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * Options: -d zend_extension=opcache -d opcache.enable_cli=1 -d opcache.file_update_protection=0 -d
 *     opcache.validate_timestamps=0
 */
require __DIR__ . '/../lib.php';
require __DIR__ . '/../forge.php';

function granted(): void
{
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    if (!($child = pcntl_fork())) {
        stream_wrapper_register('evil', Forge::class);
        set_include_path('evil://d');
        opcache_invalidate(GRANTED, true);
        include 'x.php';
        exit;
    }
    pcntl_waitpid($child, $status);
    include GRANTED;
    Store::purge(targets());
}

attempt('granted', 'attack', dry: true);
