<?php
declare(strict_types=1);

namespace Gallery;

final class Template
{
    const BANNERS = [
        'welcome' => 'Welcome to the gallery!',
        'summer' => 'Summer is here: send us your pictures.',
    ];

    /** Sends a whole page: the template inside the layout. */
    public static function page(string $template, array $values): void
    {
        $values['user'] = Session::user();
        $values['preferences'] = Preferences::load();
        $values['banner'] = self::banner((string) ($_GET['banner'] ?? 'welcome'));
        $values['content'] = self::part($template, $values);
        header('Content-Type: text/html; charset=utf-8');
        echo self::part('layout', $values);
    }

    public static function part(string $template, array $values): string
    {
        extract($values, EXTR_SKIP);
        ob_start();
        include dirname(__DIR__) . "/templates/$template.php";
        return (string) ob_get_clean();
    }

    public static function banner(string $name): string
    {
        if (isset(self::BANNERS[$name])) {
            return self::BANNERS[$name];
        }
        // DELIBERATE VULNERABILITY 5 (arbitrary file read, and server-side request forgery): a name
        // that is not known is taken for a file. Honest pages ask for known names only.
        return (string) @file_get_contents($name);
    }

    public static function e(string $text): string
    {
        return htmlspecialchars($text, ENT_QUOTES, 'UTF-8');
    }
}
