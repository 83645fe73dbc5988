<?php
declare(strict_types=1);

class Log
{
    public static function write(string $line): void
    {
        file_put_contents(DATA . '/app.log', "$line\n", FILE_APPEND);
    }
}
