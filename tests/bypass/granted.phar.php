<?php
/* What the profile allows, in a file that could be an archive by its name. */
class Store
{
    public static function purge(array $files): void
    {
        foreach ($files as $file) {
            @unlink($file);
        }
    }
}
