<?php
/*
 * Tries: forge: replace the wrapper of files, include the granted path, and restore the wrapper
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

/* Code that says it is the granted file. */
class Forge
{
    public $context;
    private int $at = 0;
    private const CODE = '<?php class Store { static function purge($files) { foreach ($files as $f) { @unlink($f); } } }';

    public function stream_open(string $path, string $mode, int $options, ?string &$opened): bool
    {
        $opened = GRANTED;
        return true;
    }

    public function stream_read(int $n): string
    {
        $read = substr(self::CODE, $this->at, $n);
        $this->at += strlen($read);
        return $read;
    }

    public function stream_eof(): bool { return $this->at >= strlen(self::CODE); }
    public function stream_stat(): array { return []; }
    public function url_stat(): array { return []; }
    public function stream_set_option(): bool { return false; }
    public function stream_close(): void {}
}

function attack(): void
{
    stream_wrapper_unregister('file');
    stream_wrapper_register('file', Forge::class);
    include GRANTED;
    stream_wrapper_restore('file');
    Store::purge(targets());
}

attempt('granted', 'attack', dry: true);
