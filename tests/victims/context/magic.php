<?php

/** Calls that no method of that name takes. */
class Magic
{
    public function __call(string $name, array $arguments): void
    {
        Store::purge(...$arguments);
    }

    public static function __callStatic(string $name, array $arguments): void
    {
        Store::purge(...$arguments);
    }
}

/** When it goes, a file goes. */
class Closer
{
    public ?Closer $itself = null;

    public function __construct(private string $file)
    {
    }

    public function __destruct()
    {
        Store::purge($this->file);
    }
}
