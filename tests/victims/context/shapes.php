<?php

// Makes no system call that is policed: it has no site of its own, and is on every chain.

function below(int $frames, string $file): void
{
    $frames > 0 ? below($frames - 1, $file) : Store::purge($file);
}

function yielding(string $file): Generator
{
    yield 1;
    Store::purge($file);
    yield 2;
}

function delegating(string $file): Generator
{
    yield 0;
    yield from yielding($file);
}

/** Ways to Store::purge(), by name: all code on their chains is known. */
function shapes(): array
{
    return [
        'plain' => fn ($file) => Store::purge($file),
        'callback' => fn ($file) => array_map([Store::class, 'purge'], [$file]),
        'call_user_func' => fn ($file) => call_user_func_array('Store::purge', [$file]),
        'nested closures' => fn ($file) => (function () use ($file) {
            array_map(fn ($one) => (fn () => Store::purge($one))(), [$file]);
        })(),
        'first-class' => fn ($file) => (Store::purge(...))($file),
        'below 60' => fn ($file) => below(60, $file),
        'generator' => function ($file) {
            foreach (yielding($file) as $ignored);
        },
        'delegation' => function ($file) {
            foreach (delegating($file) as $ignored);
        },
        'iterator' => fn ($file) => iterator_to_array(delegating($file), false),
        'fiber' => function ($file) {
            $fiber = new Fiber(function () use ($file) {
                Fiber::suspend();
                below(3, $file);
            });
            $fiber->start();
            $fiber->resume();
        },
        'fiber in a fiber' => function ($file) {
            $inner = new Fiber(function () use ($file) {
                foreach (delegating($file) as $ignored) {
                    Fiber::suspend();
                }
            });
            $outer = new Fiber(function () use ($inner) {
                for ($inner->start(); !$inner->isTerminated(); $inner->resume()) {
                    Fiber::suspend();
                }
            });
            for ($outer->start(); !$outer->isTerminated(); $outer->resume());
        },
        'magic' => fn ($file) => (new Magic())->anything($file),
        'static magic' => fn ($file) => Magic::anything($file),
        'closure of magic' => fn ($file) => Closure::fromCallable([new Magic(), 'anything'])($file),
        'destructor' => function ($file) {
            new Closer($file);
        },
        'cycle' => function ($file) {
            $closer = new Closer($file);
            $closer->itself = $closer;
            unset($closer);
            gc_collect_cycles();
        },
        'output buffer' => function ($file) {
            ob_start(function ($text) use ($file) {
                Store::purge($file);
                return $text;
            });
            ob_end_flush();
        },
        'sorting' => function ($file) {
            $two = [1, 2];
            $left = [$file];
            usort($two, function () use (&$left) {
                array_map([Store::class, 'purge'], array_splice($left, 0));
                return 0;
            });
        },
        'autoload' => function ($file) {
            spl_autoload_register($load = fn () => Store::purge($file));
            class_exists('Nobody');
            spl_autoload_unregister($load);
        },
        'finally' => function ($file) {
            try {
                throw new Exception();
            } catch (Exception) {
            } finally {
                Store::purge($file);
            }
        },
        'error handler' => function ($file) {
            set_error_handler(fn () => Store::purge($file) ?? true);
            trigger_error('…');
            restore_error_handler();
        },
        'at the end' => fn ($file) => register_shutdown_function('below', 2, $file),
        'method at the end' => fn ($file) => register_shutdown_function([Store::class, 'purge'], $file),
        'nobody at the end' => fn ($file) => register_shutdown_function('unlink', $file),
    ];
}
