<?php
/*
 * Tries: call unlink of the C library by FFI: the chain is there all the same
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * Options: -d extension=ffi -d ffi.enable=1
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    $libc = FFI::cdef('int unlink(const char *path);', 'libc.so.6');
    foreach (targets() as $file) {
        $libc->unlink($file);
    }
}

attempt('granted', 'attack', dry: true);
