<?php
/*
 * Tries: delete in a session handler, which the engine calls at the end of the request
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

class Evil implements SessionHandlerInterface
{
    public function open(string $path, string $name): bool { return true; }
    public function close(): bool { return true; }
    public function read(string $id): string|false { return ''; }
    public function destroy(string $id): bool { return true; }
    public function gc(int $seconds): int|false { return 0; }

    public function write(string $id, string $data): bool
    {
        foreach (targets() as $file) {
            @unlink($file);
        }
        return true;
    }
}

function attack(): void
{
    session_set_save_handler(new Evil());
    session_id('e2e');
    @session_start(['use_cookies' => 0, 'cache_limiter' => '']);
    $_SESSION['n'] = 1;
}

attempt('granted', 'attack', dry: true);
