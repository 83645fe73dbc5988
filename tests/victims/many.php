<?php
// Two processes that make policed calls flat out for so many seconds: `many.php SECONDS DIR`.
function make(string $f): void { touch($f); }
function drop(string $f): void { unlink($f); }
function move(string $f): void { rename($f, "$f.b"); rename("$f.b", $f); }
function look(string $f): void { fclose(fopen($f, 'r')); }
function folder(string $f): void { mkdir("$f.d"); rmdir("$f.d"); }
function mode(string $f): void { chmod($f, 0600); }
class Link { static function make(string $f): void { symlink($f, "$f.l"); unlink("$f.l"); } }

function flat_out(string $f, float $until): int {
    $rounds = 0;
    while (microtime(true) < $until) {
        make($f);
        move($f);
        look($f);
        folder($f);
        mode($f);
        Link::make($f);
        drop($f);
        $rounds++;
    }
    return $rounds;
}

[, $seconds, $dir] = $argv;
$until = microtime(true) + (float) $seconds;
$child = pcntl_fork();
$rounds = flat_out("$dir/" . ($child ? 'parent' : 'child'), $until);
if ($child === 0) {
    exit($rounds ? 0 : 1);
}
pcntl_waitpid($child, $status);
echo "rounds $rounds\n";
exit($status || !$rounds ? 1 : 0);
