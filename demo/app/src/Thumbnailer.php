<?php
declare(strict_types=1);

namespace Gallery;

/** Small pictures: a shell script shrinks, this class writes the result as BMP. */
final class Thumbnailer
{
    public static function get(string $name, string $size): ?string
    {
        $source = Storage::file(basename($name));
        if (!is_file($source)) {
            return null;
        }
        $thumb = self::file($name, $size);
        if (!is_file($thumb)) {
            $pixels = self::shrink($source, $size);
            if ($pixels === null) {
                return null;
            }
            (new TempFile('thumb'))->commit(self::bmp($pixels), $thumb);
        }
        return (string) file_get_contents($thumb);
    }

    /** Removes the thumbnails of a picture. */
    public static function forget(string $name): void
    {
        foreach (glob(self::file($name, '*')) ?: [] as $file) {
            unlink($file);
        }
    }

    /** @return int[]|null width, height, then red, green, blue of every pixel */
    private static function shrink(string $source, string $size): ?array
    {
        $script = dirname(__DIR__) . '/bin/thumb.sh';
        // DELIBERATE VULNERABILITY 2 (command injection): the file name is quoted, the size is not.
        $text = (string) shell_exec('sh ' . escapeshellarg($script) . ' ' . escapeshellarg($source) . " $size");
        $numbers = array_map('intval', preg_split('/\s+/', $text, -1, PREG_SPLIT_NO_EMPTY));
        $ok = count($numbers) > 2 && count($numbers) === 2 + 3 * $numbers[0] * $numbers[1];
        return $ok ? $numbers : null;
    }

    /** @param int[] $numbers */
    private static function bmp(array $numbers): string
    {
        list($width, $height) = $numbers;
        $rows = '';
        for ($y = $height - 1; $y >= 0; $y--) {
            $row = '';
            for ($x = 0; $x < $width; $x++) {
                $at = 2 + 3 * ($y * $width + $x);
                $row .= chr($numbers[$at + 2]) . chr($numbers[$at + 1]) . chr($numbers[$at]);
            }
            $rows .= str_pad($row, (3 * $width + 3) & ~3, "\0");
        }
        return 'BM' . pack('VvvV', 54 + strlen($rows), 0, 0, 54)
            . pack('VVVvvVVVVVV', 40, $width, $height, 1, 24, 0, strlen($rows), 2835, 2835, 0, 0) . $rows;
    }

    private static function file(string $name, string $size): string
    {
        return Config::data('thumbs/' . md5($name) . '-' . ($size === '*' ? '*' : md5($size)) . '.bmp');
    }
}
