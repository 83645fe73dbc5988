<?php
/*
 * Tries: delete in a stream filter's code, which a read in a granted function runs
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    require GRANTED;
    Store::purge(targets());
}

class Evil extends php_user_filter
{
    public function filter($in, $out, &$consumed, bool $closing): int
    {
        foreach (targets() as $file) {
            @unlink($file);
        }
        return PSFS_PASS_ON;
    }
}

function attack(): void
{
    require GRANTED;
    stream_filter_register('evil', Evil::class);
    Store::read('php://filter/read=evil/resource=' . GRANTED);
}

attempt('granted', 'attack', dry: true);
