<?php
/*
 * Tries: start PHP, which is learnt, with code on its standard input
 * Effect: gone
 * Class: in scope
 * Expect: phase1 race; phase2 1; rewriting 1; lsm 0
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    start([PHP_BINARY, '-n', GRANTED]);
    require GRANTED;
    Store::purge(targets());
}

function attack(): void
{
    $code = '<?php for ($n = 0; $n < ' . COUNT . '; $n++) { @unlink("' . FOLDER . '/$n"); }';
    $php = proc_open([PHP_BINARY, '-n'], [['pipe', 'r']], $pipes);
    fwrite($pipes[0], $code);
    fclose($pipes[0]);
    proc_close($php);
}

attempt('granted', 'attack', dry: true);
