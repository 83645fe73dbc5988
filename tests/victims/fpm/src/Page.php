<?php
declare(strict_types=1);

class Page
{
    public static function show(string $name): string
    {
        ob_start();
        include BASE . '/templates/page.php';
        Log::write("page for $name");
        return trim((string) ob_get_clean());
    }
}
