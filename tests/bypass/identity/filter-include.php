<?php
/*
 * Tries: forge: include the granted file through php://filter, which makes other code of it
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

/* Reading by a filter is nothing but reading. */
function granted(): void
{
    file_get_contents('php://filter/read=string.rot13/resource=' . GRANTED);
    require GRANTED;
    Store::purge(targets());
}

class Other extends php_user_filter
{
    private bool $done = false;

    public function filter($in, $out, &$consumed, bool $closing): int
    {
        while ($bucket = stream_bucket_make_writeable($in)) {
            $consumed += $bucket->datalen;
            $bucket->data = $this->done ? '' : '<?php class Store { static function purge($files) {'
                . ' foreach ($files as $f) { @unlink($f); } } }';
            $this->done = true;
            stream_bucket_append($out, $bucket);
        }
        return PSFS_PASS_ON;
    }
}

function attack(): void
{
    stream_filter_register('other', Other::class);
    include 'php://filter/read=other/resource=' . GRANTED;
    Store::purge(targets());
}

attempt('granted', 'attack', dry: true);
