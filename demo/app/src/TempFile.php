<?php
declare(strict_types=1);

namespace Gallery;

/** A file that is written beside, then moved to its place; one that never was is thrown away. */
final class TempFile
{
    /** @var string name below tmp/, empty once the file is in its place */
    public $name;

    public function __construct(string $purpose)
    {
        $this->name = $purpose . '-' . bin2hex(random_bytes(6));
    }

    public function commit(string $content, string $target): void
    {
        file_put_contents(Config::data('tmp/' . $this->name), $content);
        rename(Config::data('tmp/' . $this->name), $target);
        $this->name = '';
    }

    // Used by DELIBERATE VULNERABILITY 4 (object injection, see Preferences::load): honest files are
    // always committed, so honestly nothing is deleted here.
    public function __destruct()
    {
        if ($this->name !== '') {
            unlink(Config::data('tmp/' . $this->name));
        }
    }
}
