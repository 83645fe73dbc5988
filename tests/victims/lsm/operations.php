<?php
// What the suite `lsm` is about, once for each operation. The profile is learnt from this; the test makes `bad.php`
// of it: the same code, in a class that was never learnt. Each returns whether it was done.

class Good
{
    static function read(string $at): bool
    {
        return str_contains((string) file_get_contents($at), 'precious');
    }

    static function include(string $at): bool
    {
        return (include $at) !== false;
    }

    static function change(string $at): bool
    {
        $file = fopen($at, 'r+');
        return $file && fwrite($file, 'x');
    }

    static function truncate_open(string $at): bool
    {
        return fopen($at, 'w') !== false;
    }

    static function append(string $at): bool
    {
        $file = fopen($at, 'a');
        return $file && fwrite($file, 'x');
    }

    static function create(string $at): bool
    {
        return fopen($at, 'x') !== false;
    }

    static function put(string $at): bool
    {
        return file_put_contents($at, 'x') !== false;
    }

    static function open(string $at)
    {
        return fopen($at, 'r+');
    }

    static function ftruncate($file): bool
    {
        return ftruncate($file, 1);
    }

    static function unlink(string $at): bool
    {
        return unlink($at);
    }

    static function mkdir(string $at): bool
    {
        return mkdir($at);
    }

    static function rmdir(string $at): bool
    {
        return rmdir($at);
    }

    static function rename(string $at): bool
    {
        return rename($at, "$at.moved");
    }

    static function link(string $at): bool
    {
        return link($at, "$at.link");
    }

    static function symlink(string $at): bool
    {
        return symlink('/etc/passwd', $at);
    }

    static function mkfifo(string $at): bool
    {
        return posix_mkfifo($at, 0600);
    }

    static function mknod(string $at): bool
    {
        return posix_mknod($at, POSIX_S_IFREG | 0600);
    }

    static function chmod(string $at): bool
    {
        return chmod($at, 0600);
    }

    static function chown(string $at): bool
    {
        return chgrp($at, posix_getegid());
    }

    static function touch(string $at): bool
    {
        return touch($at, 12345);
    }

    static function exec(string $at): bool
    {
        return exec("exec /usr/bin/touch $at", $lines, $status) !== false && $status === 0;
    }

    static function popen(string $at): bool
    {
        $pipe = popen("exec /usr/bin/touch $at", 'r');
        return $pipe && pclose($pipe) === 0;
    }

    static function proc_open(string $at): bool
    {
        $process = proc_open(['/usr/bin/touch', $at], [], $pipes);
        return $process && proc_close($process) === 0;
    }

    static function pcntl_exec(string $at): bool
    {
        return pcntl_exec('/usr/bin/touch', [$at]);
    }

    static function fork(): int
    {
        return pcntl_fork();
    }

    static function kill(int $pid, int $signal): bool
    {
        return posix_kill($pid, $signal);
    }

    static function socket(int $family, int $type): Socket|false
    {
        return socket_create($family, $type, 0);
    }

    static function stream(int $port): bool
    {
        return stream_socket_client("tcp://127.0.0.1:$port") !== false;
    }

    static function bind(Socket $socket, string $address): bool
    {
        return socket_bind($socket, $address);
    }

    static function connect(Socket $socket, string $address, int $port): bool
    {
        return socket_connect($socket, $address, $port);
    }

    static function listen(Socket $socket): bool
    {
        return socket_listen($socket);
    }

    static function accept(Socket $socket): Socket|false
    {
        return socket_accept($socket);
    }

    static function sendto(Socket $socket, int $port): bool
    {
        return socket_sendto($socket, 'x', 1, 0, '127.0.0.1', $port) === 1;
    }

    static function unshare(): bool
    {
        return pcntl_unshare(CLONE_NEWUSER);
    }

    static function setuid(): bool
    {
        return posix_setuid(posix_getuid());
    }

    static function setgid(): bool
    {
        return posix_setgid(posix_getgid());
    }

    static function write($stream): bool
    {
        return fwrite($stream, 'x') === 1;
    }

    static function shell(string $command): int
    {
        exec($command, $lines, $status);
        echo implode("\n", $lines), "\n";
        return $status;
    }
}
