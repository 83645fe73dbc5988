<?php
declare(strict_types=1);

namespace Gallery;

/** Settings come from the environment, from env[...] of an fpm pool, or as FastCGI parameters. */
final class Config
{
    // name => password_hash(); "alice" / "wonderland" and "mallory" / "mallory"
    const USERS = [
        'alice' => '$2y$04$3q8XXhbW9ZySWkJce1sfFOIzSdZkBEHn/AGrQPfNwytibxskUrBR6',
        'mallory' => '$2y$04$jc4sY3fUsSCtGPxvNIyaL.kYxASnxKsOL.LXDza3iV.IZPqCbYepi',
    ];

    public static function get(string $name, string $default): string
    {
        $value = getenv($name);
        if ($value === false || $value === '') {
            $value = $_SERVER[$name] ?? $default;
        }
        return (string) $value;
    }

    /** A path below the data directory; nothing is ever written anywhere else. */
    public static function data(string $below): string
    {
        return rtrim(self::get('GALLERY_DATA', '/var/lib/gallery'), '/') . '/' . $below;
    }

    /** Where mail is handed in: tcp://127.0.0.1:25 or unix:///run/smtp.sock */
    public static function mail(): string
    {
        return self::get('GALLERY_MAIL', 'tcp://127.0.0.1:25');
    }
}
