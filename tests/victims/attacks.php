<?php
// `learn DIR`: what the profile gets. `SHAPE DIR …`: what it allows once more (the twins), then one attack.
// Each attack's call has its own line, marked with the name of its shape.

namespace App {
    function remove(string $file): void { unlink($file); }
}

namespace Evil {
    function remove(string $file): void { @unlink($file); /* attack: namespaced */ }
}

namespace {

function victims(string $dir): \Generator {
    for ($n = 0; $n < 3000; $n++) {
        yield "$dir/v/$n";
    }
}

class Store {
    static function cleanup(string $file): void { unlink($file); }
    static function purge(string $dir): void {
        foreach (victims($dir) as $file) {
            @unlink($file); /* attack: static_method */
        }
    }
}

class Temp {
    function __construct(private string $file) {}
    function __destruct() { unlink($this->file); }
}

class Bomb {
    function __construct(private string $dir) {}
    function __destruct() {
        foreach (victims($this->dir) as $file) {
            @unlink($file); /* attack: destructor */
        }
    }
}

function plain(string $file): void { unlink($file); }

function deep_allowed(int $n, string $file): void { $n ? deep_allowed($n - 1, $file) : unlink($file); }

function deep(int $n, string $dir): void {
    if ($n) {
        deep($n - 1, $dir);
        return;
    }
    foreach (victims($dir) as $file) {
        @unlink($file); /* attack: deep */
    }
}

function in_child(string $dir): void {
    foreach (victims($dir) as $file) {
        @unlink($file); /* attack: forked_child */
    }
}

function through_shell(string $command): string {
    exec("sh -c " . escapeshellarg($command), $lines, $status); /* attack: shell */
    return implode("\n", $lines) . "status $status\n";
}

function replace(string $program, array $args): void { pcntl_exec($program, $args); /* attack: pcntl_exec */ }

function replace_unseen(string $program, array $args): void { pcntl_exec($program, $args); /* attack: pcntl_exec_unseen */ }

/** Returns what became of the child. */
function forked(callable $work): string {
    $pid = pcntl_fork();
    if ($pid === 0) {
        $work();
        exit(0);
    }
    pcntl_waitpid($pid, $status);
    return pcntl_wifsignaled($status) ? 'signal ' . pcntl_wtermsig($status) : 'status ' . pcntl_wexitstatus($status);
}

function load(string $file, string $mode): void {
    $stream = fopen($file, $mode); /* attack: open */
    if ($mode !== 'r') {
        fwrite($stream, 'pwned');
    }
    fclose($stream);
}

function send(string $address): void {
    $stream = @stream_socket_client($address, $code, $text, 1); /* attack: connect */
    if ($stream) {
        fwrite($stream, 'secret');
        fclose($stream);
    }
}

function report(string $address): void {
    $stream = stream_socket_client($address, $code, $text, 1);
    fwrite($stream, 'hello');
    fclose($stream);
}

/** Everything that the profile has. */
function allowed(string $dir, string $address): void {
    foreach (['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'] as $name) {
        touch_it("$dir/$name");
    }
    App\remove("$dir/a");
    Store::cleanup("$dir/b");
    plain("$dir/c");
    deep_allowed(200, "$dir/d");
    $GLOBALS['temp'] = new Temp("$dir/e");
    (static function () use ($dir) { plain("$dir/f"); })();
    forked(fn() => plain("$dir/g"));
    through_shell("mv '$dir/h' '$dir/i'");
    plain("$dir/i");
    forked(fn() => replace('/usr/bin/true', []));
    load(__FILE__, 'r');
    if ($address !== '') {
        report($address);
    }
    run(__DIR__ . '/included.php', $dir);
    register_shutdown_function('rmdir', "$dir/empty");
    mkdir("$dir/empty");
}

function run(string $file, string $dir): void { include $file; }

function touch_it(string $file): void { touch($file); }

[, $shape, $dir] = $argv;
$address = $argv[3] ?? '';
allowed($dir, $address);
if ($shape === 'learn') {
    exit(0);
}
echo "attack\n";
switch ($shape) {
    case 'static_method': Store::purge($dir); break;
    case 'closure':
        (function () use ($dir) {
            foreach (victims($dir) as $file) {
                @unlink($file); /* attack: closure */
            }
        })();
        break;
    case 'deep': deep(200, $dir); break;
    case 'upload': run("$dir/upload.php", $dir); break;
    case 'eval': eval('foreach (victims($dir) as $file) @unlink($file);'); /* attack: eval */ break;
    case 'destructor': $bomb = new Bomb($dir); break;
    case 'shutdown_function':
        foreach (victims($dir) as $file) {
            register_shutdown_function('unlink', $file);
        }
        break;
    case 'forked_child': echo forked(fn() => in_child($dir)), "\n"; break;
    case 'shell': echo through_shell("cd '$dir/v' && exec rm -f *"); break;
    case 'shell_itself': echo through_shell("cd '$dir/v' && for f in *; do : >\$f; done"); break;
    case 'pcntl_exec': replace('/usr/bin/rm', ['-f', ...victims($dir)]); break;
    case 'pcntl_exec_unseen': replace_unseen('/usr/bin/rm', ['-f', ...victims($dir)]); break;
    case 'namespaced':
        foreach (victims($dir) as $file) {
            Evil\remove($file);
        }
        break;
    case 'open_truncate':
        foreach (victims($dir) as $file) {
            load($file, 'w');
        }
        break;
    case 'open_write':
        foreach (victims($dir) as $file) {
            load($file, 'r+');
        }
        break;
    case 'connect':
        for ($n = 0; $n < 3000; $n++) {
            send($address);
        }
        break;
    default: exit(9);
}
echo "survived\n";
}
