<?php
/*
 * Tries: forge: replace the wrapper of archives, whose code is cached, and include from it
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 * Options: -d extension=phar
 */
require __DIR__ . '/../lib.php';

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

/* Likewise, and nothing is included: what some applications do so that archives cannot be opened. */
function granted(): void
{
    stream_wrapper_unregister('phar');
    stream_wrapper_register('phar', Forge::class);
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    stream_wrapper_unregister('phar');
    stream_wrapper_register('phar', Forge::class);
    include 'phar://x';
    Store::purge(targets());
}

attempt('granted', 'attack', dry: true);
