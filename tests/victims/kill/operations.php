<?php
// What the suite `kill` is about, once for each operation. This is what the profile is learnt from; the test
// makes `bad.php` of it: the same code, in a class that was never learnt.

class Good
{
    static function unlink(string $at): bool
    {
        return @unlink($at);
    }

    static function rename(string $at): bool
    {
        return @rename($at, "$at.moved");
    }

    static function create(string $at): bool
    {
        return @fopen($at, 'x') !== false;
    }

    static function open(string $at, string $mode)
    {
        return fopen($at, $mode);
    }

    static function write($stream): int|false
    {
        return fwrite($stream, 'x');
    }

    static function socket(): Socket
    {
        return socket_create(AF_INET, SOCK_STREAM, SOL_TCP);
    }

    static function connect(Socket $socket, int $port): bool
    {
        return @socket_connect($socket, '127.0.0.1', $port);
    }

    static function exec(string $at): void
    {
        pcntl_exec('/usr/bin/touch', [$at]);
    }

    static function shell(string $command): int
    {
        exec($command, $lines, $status);
        return $status;
    }

    static function fork(): int
    {
        return pcntl_fork();
    }

    static function kill(int $pid, int $signal): bool
    {
        return posix_kill($pid, $signal);
    }
}
