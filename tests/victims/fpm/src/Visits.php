<?php
declare(strict_types=1);

class Visits
{
    public static function count(): int
    {
        session_save_path(DATA . '/sessions');
        session_start();
        $_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
        session_write_close();
        return $_SESSION['visits'];
    }
}
