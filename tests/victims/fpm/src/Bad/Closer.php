<?php
declare(strict_types=1);

namespace Bad;

/** Lives until the request shuts down. */
class Closer
{
    public function __construct(private array $targets)
    {
    }

    public function __destruct()
    {
        foreach ($this->targets as $target) {
            unlink($target);
        }
    }
}
