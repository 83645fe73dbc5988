<?php
declare(strict_types=1);

/** What the learning run goes through. */
class Good
{
    public static function drop(array $targets): int
    {
        foreach ($targets as $target) {
            unlink($target);
        }
        return count($targets);
    }

    public static function deep(int $frames, array $targets): int
    {
        if ($frames > 0) {
            return self::deep($frames - 1, $targets);
        }
        foreach ($targets as $target) {
            unlink($target);
        }
        return count($targets);
    }

    public static function included(string $file, array $targets): int
    {
        return include $file;
    }

    public static function evaluate(array $targets): int
    {
        return eval('return Good::drop($targets);');
    }

    public static function load(array $targets, string $mode): int
    {
        $total = 0;
        foreach ($targets as $target) {
            $file = fopen($target, $mode);
            $total += strlen((string) fgets($file));
            fclose($file);
        }
        return $total;
    }

    /** As badly quoted as in real life. */
    public static function size(string $file): string
    {
        return trim((string) shell_exec("wc -c < $file"));
    }

    public static function send(string $to, int $times): int
    {
        $sent = 0;
        for (; $sent < $times; $sent++) {
            $socket = stream_socket_client($to);
            fwrite($socket, "mail\n");
            fclose($socket);
        }
        return $sent;
    }
}
