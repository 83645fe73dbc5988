<?php
/*
 * Tries: forge: include the granted file through php://filter, which makes other code of it
 * Effect: gone
 * Class: in scope, known: forged file names
 * Expect: phase1 open; phase2 open; rewriting open; lsm open
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
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
