<?php

/** Granted to: whoever calls it deletes a file. */
class Store
{
    public static function purge(string $file): void
    {
        unlink($file);
    }
}
