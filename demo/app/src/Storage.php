<?php
declare(strict_types=1);

namespace Gallery;

/** The pictures, and for each a small file that names its owner. */
final class Storage
{
    public static function file(string $name): string
    {
        return Config::data('public/uploads/' . $name);
    }

    /** @return array<string,int> name => size */
    public static function all(): array
    {
        $pictures = [];
        foreach (scandir(Config::data('public/uploads')) ?: [] as $name) {
            if ($name[0] !== '.') {
                $pictures[$name] = (int) filesize(self::file($name));
            }
        }
        return $pictures;
    }

    public static function store(string $temporary, string $name, string $user): string
    {
        // DELIBERATE VULNERABILITY 1 (unrestricted upload): neither the ending nor the content is
        // looked at, so that "picture.php" is kept as it is, and index.php will run it.
        $name = ltrim(basename($name), '.') ?: 'unnamed';
        move_uploaded_file($temporary, self::file($name));
        file_put_contents(self::ownerFile($name), $user);
        return $name;
    }

    public static function owner(string $name): ?string
    {
        return is_file(self::ownerFile($name)) ? (string) file_get_contents(self::ownerFile($name)) : null;
    }

    public static function delete(string $name, string $user): bool
    {
        // DELIBERATE VULNERABILITY 3 (path traversal): "../../anything" is not refused, and what
        // has no owner may be deleted by everybody. This function deletes files honestly too.
        $owner = self::owner($name);
        if (!is_file(self::file($name)) || ($owner !== null && $owner !== $user)) {
            return false;
        }
        unlink(self::file($name));
        if ($owner !== null) {
            unlink(self::ownerFile($name));
        }
        return true;
    }

    public static function send(string $name): bool
    {
        $file = self::file($name);
        if (!is_file($file)) {
            return false;
        }
        header('Content-Type: image/x-portable-pixmap');
        header('Content-Length: ' . filesize($file));
        readfile($file);
        return true;
    }

    private static function ownerFile(string $name): string
    {
        return Config::data('owners/' . md5($name));
    }
}
