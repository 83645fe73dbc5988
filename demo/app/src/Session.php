<?php
declare(strict_types=1);

namespace Gallery;

final class Session
{
    public static function login(string $user, string $password): bool
    {
        if (!isset(Config::USERS[$user]) || !password_verify($password, Config::USERS[$user])) {
            return false;
        }
        self::start();
        $_SESSION['user'] = $user;
        return true;
    }

    /** Who is logged in; visitors without the cookie get no session. */
    public static function user(): ?string
    {
        if (isset($_COOKIE['gallery'])) {
            self::start();
        }
        return $_SESSION['user'] ?? null;
    }

    public static function logout(): void
    {
        if (self::user() !== null) {
            session_destroy();
            $_SESSION = [];
        }
    }

    private static function start(): void
    {
        if (session_status() !== PHP_SESSION_ACTIVE) {
            session_start([
                'name' => 'gallery',
                'save_handler' => 'files',
                'save_path' => Config::data('sessions'),
                'cookie_httponly' => 1,
                'gc_probability' => 0,
                // So that the requests of the demonstration can carry fixed session ids.
                'use_strict_mode' => 0,
            ]);
        }
    }
}
