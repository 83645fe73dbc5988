<?php
declare(strict_types=1);

/** The same code, and never learnt. */
class Bad
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

    public static function evaluate(array $targets): int
    {
        return eval('foreach ($targets as $target) { unlink($target); } return 1;');
    }

    public static function shell(string $command, int $times): int
    {
        for ($done = 0; $done < $times; $done++) {
            shell_exec($command);
        }
        return $done;
    }

    public static function send(string $to, int $times): int
    {
        $sent = 0;
        for (; $sent < $times; $sent++) {
            $socket = stream_socket_client($to);
            fwrite($socket, "secret\n");
            fclose($socket);
        }
        return $sent;
    }
}
