<?php
/* What the profile allows, and what attackers want to pass for. */
class Store
{
    public static function purge(array $files): void
    {
        foreach ($files as $file) {
            @unlink($file);
        }
    }

    /* Two names of one hash (DJBX33A): 33 * ord('E') + ord('z') is 33 * ord('F') + ord('Y'). */
    public static function purgeEz(array $files): void
    {
        foreach ($files as $file) {
            @unlink($file);
        }
    }

    public function each(iterable $files): void
    {
        foreach ($files as $file) {
            @unlink((string) $file);
        }
    }

    public function map(callable $change, array $files): array
    {
        return array_map($change, $files);
    }

    public static function save(string $file, string $text): void
    {
        file_put_contents($file, $text);
    }

    public static function move(string $from, string $to): void
    {
        rename($from, $to);
    }

    public static function link(string $from, string $to): void
    {
        @unlink($to);
        link($from, $to);
    }

    public static function place(string $link, string $target): void
    {
        array_map(unlink(...), glob("$link/*"));
        @rmdir($link);
        symlink($target, $link);
    }

    public static function read(string $file): string
    {
        return (string) @file_get_contents($file);
    }
}

function purge_all(array $files): void
{
    Store::purge($files);
}
