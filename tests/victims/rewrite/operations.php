<?php
// What the suite `rewrite` is about, once for each operation. This is what the profile is learnt from; the test
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

    static function mkdir(string $at): bool
    {
        return @mkdir($at);
    }

    static function rmdir(string $at): bool
    {
        return @rmdir($at);
    }

    static function symlink(string $at): bool
    {
        return @symlink('precious', $at);
    }

    static function link(string $at): bool
    {
        return @link(dirname($at) . '/file', $at);
    }

    static function chmod(string $at): bool
    {
        return @chmod($at, 0600);
    }

    static function create(string $at): bool
    {
        return @fopen($at, 'x') !== false;
    }

    static function open(string $at, string $mode)
    {
        return fopen($at, $mode);
    }

    static function connect(Socket $socket, string $to, int $port): bool
    {
        return @socket_connect($socket, $to, $port);
    }

    static function bind(Socket $socket, string $at): bool
    {
        return @socket_bind($socket, $at);
    }

    static function sendto(Socket $socket, int $port): int|false
    {
        return @socket_sendto($socket, 'x', 1, 0, '127.0.0.1', $port);
    }

    static function exec(string $at): void
    {
        pcntl_exec('/usr/bin/touch', [$at]);
    }

    static function system(string $at): void
    {
        system("exec /usr/bin/touch $at");
    }

    static function fork(): int
    {
        return pcntl_fork();
    }

    static function kill(int $pid): bool
    {
        return posix_kill($pid, 40);
    }

    static function write($stream): int|false
    {
        return fwrite($stream, 'x');
    }

    static function ftruncate($stream): bool
    {
        return ftruncate($stream, 0);
    }

    static function socket(int $family, int $type): Socket
    {
        return socket_create($family, $type, 0);
    }
}
