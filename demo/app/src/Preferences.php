<?php
declare(strict_types=1);

namespace Gallery;

/** How a visitor likes the pages, kept in a cookie. */
final class Preferences
{
    /** @return array{theme: string, columns: int} */
    public static function load(): array
    {
        $preferences = ['theme' => 'light', 'columns' => 3];
        // DELIBERATE VULNERABILITY 4 (object injection): a cookie is unserialized, so a stranger
        // chooses classes and properties; destructors (TempFile) run on what he chose.
        $wanted = @unserialize((string) ($_COOKIE['prefs'] ?? ''));
        if (is_array($wanted)) {
            if (in_array($wanted['theme'] ?? null, ['light', 'dark'], true)) {
                $preferences['theme'] = $wanted['theme'];
            }
            $preferences['columns'] = min(6, max(1, (int) ($wanted['columns'] ?? 3)));
        }
        return $preferences;
    }
}
