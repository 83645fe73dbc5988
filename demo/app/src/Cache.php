<?php
declare(strict_types=1);

namespace Gallery;

/** Pieces of pages on disk. The first line of a file is the time when it expires. */
final class Cache
{
    public static function remember(string $key, float $seconds, callable $make): string
    {
        list($text, $state) = self::get($key);
        if ($text === null) {
            $text = $make();
            self::put($key, $seconds, $text);
        }
        return $text . "<!-- $key: $state -->\n";
    }

    /** @return array{0: ?string, 1: string} the text, and hit, miss or expired */
    private static function get(string $key): array
    {
        $file = Config::data("cache/$key.html");
        $content = is_file($file) ? (string) @file_get_contents($file) : '';
        if ($content === '') {
            return [null, 'miss'];
        }
        list($expires, $text) = explode("\n", $content, 2);
        if ((float) $expires < microtime(true)) {
            @unlink($file);
            return [null, 'expired'];
        }
        return [$text, 'hit'];
    }

    private static function put(string $key, float $seconds, string $text): void
    {
        $temporary = Config::data("cache/$key." . getmypid() . '.new');
        file_put_contents($temporary, sprintf("%.3F\n", microtime(true) + $seconds) . $text);
        rename($temporary, Config::data("cache/$key.html"));
    }

    public static function drop(string $key): void
    {
        if (is_file(Config::data("cache/$key.html"))) {
            @unlink(Config::data("cache/$key.html"));
        }
    }
}
