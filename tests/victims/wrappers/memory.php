<?php
/*
 * `php memory.php SHAPE DATA`: code from a stream wrapper that keeps files in memory, as vfsStream does. Its function
 * `purge` deletes DATA/v/…; so may, in another profile, that of `plain.php`, a file on disk.
 */
[, $shape, $data] = $argv;

class Memory
{
    public $context;
    public static array $files = [];
    /* What it says that it has opened; nothing: what was asked for. */
    public static ?string $claims = null;
    /* What it does before it has opened anything. */
    public static ?Closure $before = null;
    private string $code = '';
    private int $at = 0;

    public function stream_open(string $path, string $mode, int $options, ?string &$opened): bool
    {
        if ($before = self::$before) {
            self::$before = null;
            $before();
        }
        $this->code = self::$files[preg_replace('~^.*://~', '', $path)] ?? '';
        if (self::$claims !== null) {
            $opened = self::$claims;
        }
        return $this->code !== '';
    }

    public function stream_read(int $n): string
    {
        $read = substr($this->code, $this->at, $n);
        $this->at += strlen($read);
        return $read;
    }

    public function stream_eof(): bool { return $this->at >= strlen($this->code); }
    public function stream_stat(): array { return []; }
    public function url_stat(): array { return []; }
    public function stream_set_option(): bool { return false; }
    public function stream_close(): void {}
}

const OWN = 'function own(string $data): void { touch("$data/own"); unlink("$data/own"); }';
const PURGE = '<?php function purge(string $data): void { foreach (glob("$data/v/*") as $f) { unlink($f); } }';
Memory::$files = [
    'root/purge.php' => PURGE,
    /* It deletes what it made. */
    'root/own.php' => '<?php ' . OWN,
    'root/eval.php' => '<?php eval("function made() {}"); ' . OWN,
    'root/broken.php' => PURGE . ' function broken() { break; }',
];
stream_wrapper_register('vfs', Memory::class);

switch ($shape) {
    case 'plain':
        require __DIR__ . '/plain.php';
        purge($data);
        break;
    case 'honest':
        require 'vfs://root/purge.php';
        purge($data);
        break;
    case 'named':
        /* As wrappers do that say what they have opened. */
        Memory::$claims = 'vfs://root/purge.php';
        require_once 'vfs://root/purge.php';
        purge($data);
        break;
    case 'own':
        /* What wrappers do on the way: load their own classes, make code, run it. */
        Memory::$before = function () use ($data): void {
            require __DIR__ . '/helper.php';
            helper($data);
            eval('function evaluated() {}');
        };
        require 'vfs://root/own.php';
        own($data);
        eval('function evaluated_too() {}');
        helper($data);
        break;
    case 'evaluating':
        require 'vfs://root/eval.php';
        own($data);
        break;
    case 'missing':
        @include 'vfs://root/none.php';
        require 'vfs://root/own.php';
        own($data);
        break;
    case 'forged':
        Memory::$claims = __DIR__ . '/plain.php';
        require 'vfs://root/purge.php';
        purge($data);
        break;
    case 'forged-once':
        Memory::$claims = __DIR__ . '/plain.php';
        require_once 'vfs://root/purge.php';
        purge($data);
        break;
    case 'searched':
        /* What is asked for has no scheme. */
        set_include_path('vfs://root');
        Memory::$claims = __DIR__ . '/plain.php';
        require 'purge.php';
        purge($data);
        break;
    case 'own-searched':
        set_include_path('vfs://root');
        require 'own.php';
        own($data);
        break;
    case 'forged-other':
        /* Of another wrapper that is listed. */
        Memory::$claims = 'mem://root/purge.php';
        require 'vfs://root/purge.php';
        purge($data);
        break;
    case 'forged-nested':
        /* An honest include while the forged one is being opened. */
        Memory::$before = function () use ($data): void {
            require 'vfs://root/own.php';
            own($data);
            Memory::$claims = __DIR__ . '/plain.php';
        };
        require 'vfs://root/purge.php';
        purge($data);
        break;
    case 'forged-broken':
        /* Code that is not compiled to its end, called by who is told of that. */
        Memory::$claims = __DIR__ . '/plain.php';
        register_shutdown_function(fn () => purge($data));
        require 'vfs://root/broken.php';
        break;
    case 'filtered':
        require 'php://filter/read=string.rot13|string.rot13/resource=vfs://root/purge.php';
        purge($data);
        break;
    case 'spelt':
        require 'VFS://root/purge.php';
        purge($data);
        break;
    case 'unlisted':
        stream_wrapper_register('other', Memory::class);
        require 'other://root/purge.php';
        purge($data);
        break;
    case 'file':
        Memory::$claims = __DIR__ . '/plain.php';
        Memory::$files['/purge.php'] = PURGE;
        stream_wrapper_unregister('file');
        stream_wrapper_register('file', Memory::class);
        require '/purge.php';
        stream_wrapper_restore('file');
        purge($data);
        break;
    default:
        exit(2);
}
echo "survived\n";
