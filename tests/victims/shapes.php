<?php
// All the ways in which PHP gets to a call, each doing what it should: `shapes.php DIR`.
namespace Lib {
    function drop(string $f): void { \touch($f); \unlink($f); }
}

namespace {

trait Drops { function drop(string $f): void { touch($f); unlink($f); } }
class Base { use Drops { drop as alias; } public function __call($name, $args) { touch($args[0]); unlink($args[0]); } }
class Child extends Base { public static function st(string $f): void { touch($f); unlink($f); } }
class AtEnd { function __construct(private string $f) { touch($f); } function __destruct() { unlink($this->f); } }

function gen(string $f) { touch("$f.1"); unlink("$f.1"); yield 1; touch("$f.2"); unlink("$f.2"); }
function deep(int $n, string $f): void { $n ? deep($n - 1, $f) : Lib\drop($f); }

[, $dir] = $argv;
Lib\drop("$dir/ns");
(new Child)->drop("$dir/trait");
(new Child)->alias("$dir/alias");
(new Child)->anything("$dir/call");
Child::st("$dir/static");
array_map(function ($f) { touch($f); unlink($f); }, ["$dir/map"]);
(fn($f) => [touch($f), unlink($f)])("$dir/arrow");
$first = unlink(...);
touch("$dir/fcc");
$first("$dir/fcc");
foreach (gen("$dir/gen") as $x);
$fiber = new Fiber(function () use ($dir) { touch("$dir/fiber"); Fiber::suspend(); unlink("$dir/fiber"); });
$fiber->start();
$fiber->resume();
deep(90, "$dir/deep");
(new class { function go(string $f): void { touch($f); unlink($f); } })->go("$dir/anonymous");
$keep = new AtEnd("$dir/atend");
register_shutdown_function('unlink', "$dir/shutdown");
touch("$dir/shutdown");
ob_start(function ($text) use ($dir) { touch("$dir/ob"); unlink("$dir/ob"); return $text; });
echo shell_exec('echo through a shell; true | cat');
ob_end_flush();
$pid = pcntl_fork();
if ($pid === 0) {
    Lib\drop("$dir/child");
    exit(0);
}
pcntl_waitpid($pid, $status);
passthru('/bin/sh -c "sleep 0; ls /" >/dev/null');
$process = proc_open(['/bin/cat'], [['pipe', 'r'], ['pipe', 'w']], $pipes);
fwrite($pipes[0], 'x');
array_map('fclose', $pipes);
proc_close($process);
file_put_contents("$dir/log", 'x', FILE_APPEND);
rename("$dir/log", "$dir/log.1");
copy("$dir/log.1", "$dir/log.2");
unlink("$dir/log.1");
unlink("$dir/log.2");
$pair = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
}
