<?php
declare(strict_types=1);

namespace Gallery;

final class Router
{
    const ROUTES = [
        ['GET', '~^/$~', 'home'],
        ['GET', '~^/stats$~', 'stats'],
        ['GET', '~^/login$~', 'loginForm'],
        ['POST', '~^/login$~', 'login'],
        ['POST', '~^/logout$~', 'logout'],
        ['POST', '~^/upload$~', 'upload'],
        ['POST', '~^/delete$~', 'delete'],
        ['POST', '~^/postcard$~', 'postcard'],
        ['GET', '~^/picture/([^/]+)$~', 'picture'],
        ['GET', '~^/thumb/([^/]+)$~', 'thumb'],
        ['GET', '~^/uploads/([^/]+)$~', 'original'],
    ];

    public function dispatch(string $method, string $path): void
    {
        $pages = new Pages();
        foreach (self::ROUTES as list($verb, $pattern, $page)) {
            if ($verb === $method && preg_match($pattern, $path, $found)) {
                $pages->$page(...array_slice($found, 1));
                return;
            }
        }
        $pages->error(404, 'There is no such page.');
    }
}
