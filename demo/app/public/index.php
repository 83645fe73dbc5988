<?php
// Front controller: every request comes here, from php-fpm or from `php -S`.
declare(strict_types=1);

ini_set('display_errors', '0');
require __DIR__ . '/../src/autoload.php';

register_shutdown_function(['Gallery\Log', 'flush']);
$path = rawurldecode((string) parse_url($_SERVER['REQUEST_URI'] ?? '/', PHP_URL_PATH));

// DELIBERATE VULNERABILITY 1 (unrestricted upload, second half): like a web server that is set
// up to run whatever ends in .php below its document root. See Storage::store for the first half.
if (preg_match('~^/uploads/([^/]+\.php)$~', $path, $found) && is_file(Gallery\Storage::file($found[1]))) {
    include Gallery\Storage::file($found[1]);
    exit;
}

(new Gallery\Router())->dispatch($_SERVER['REQUEST_METHOD'] ?? 'GET', $path);
