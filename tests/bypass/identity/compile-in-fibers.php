<?php
/*
 * Tries: code that is compiled while another compilation is under way in a fiber, which named a granted file
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

const CODE = 'function first($a = 1, $b) {}
class Store
{
    public static function purge(array $files): void
    {
        foreach ($files as $file) {
            @unlink($file);
        }
    }
}
function second($a = 1, $b) {}';

function granted(): void
{
    require GRANTED;
    Store::purge(targets());
}

/* The compiler tells of what is deprecated while it compiles, and has one name for whatever is being compiled. */
function attack(): void
{
    set_error_handler(static function (): bool {
        Fiber::suspend();
        return true;
    });
    $compiling = new Fiber(static fn () => eval(CODE));
    $naming = new Fiber(static function (): void {
        $suspended = false;
        ob_start(static function () use (&$suspended): string {
            if (!$suspended) {
                $suspended = true;
                Fiber::suspend();
            }
            return '';
        }, 1);
        highlight_file(GRANTED);
        ob_end_clean();
    });
    $compiling->start();
    $naming->start();
    $compiling->resume();
    $naming->resume();
    $compiling->resume();
    restore_error_handler();
    Store::purge(targets());
}

attempt('granted', 'attack', dry: true);
