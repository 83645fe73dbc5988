<?php
// FOLDER COUNT learn|attack: COUNT children, one after the other, each with one file of its own, which it deletes if
// this is an attack. Prints how many of them went on after that as if nothing had been said.

class Good
{
    static function fork(): int
    {
        return pcntl_fork();
    }
}

class Bad
{
    static function unlink(string $file): bool
    {
        return @unlink($file);
    }
}

[, $folder, $count, $what] = $argv;
$unharmed = 0;
for ($n = 0; $n < $count; $n++) {
    $child = Good::fork();
    if ($child === 0) {
        // 1: it was refused. Who is killed for it has no status.
        exit($what === 'attack' && !Bad::unlink("$folder/$n") ? 1 : 0);
    }
    pcntl_waitpid($child, $status);
    $unharmed += pcntl_wifexited($status) && pcntl_wexitstatus($status) === 0;
}
echo $unharmed, "\n";
