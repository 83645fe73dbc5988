<?php
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
