<?php
declare(strict_types=1);

namespace Gallery;

/** Lines are collected, and appended to the log when the request is over. */
final class Log
{
    /** @var string[] */
    private static $lines = [];

    public static function add(string $line): void
    {
        self::$lines[] = preg_replace('/[\x00-\x1f\x7f]/', '?', $line);
    }

    public static function flush(): void
    {
        self::add(http_response_code() . ' ' . ($_SERVER['REQUEST_METHOD'] ?? '-') . ' ' . ($_SERVER['REQUEST_URI'] ?? '-'));
        $text = '';
        foreach (self::$lines as $line) {
            $text .= gmdate('Y-m-d\TH:i:s\Z ') . $line . "\n";
        }
        self::$lines = [];
        file_put_contents(Config::data('log/gallery.log'), $text, FILE_APPEND | LOCK_EX);
    }
}
