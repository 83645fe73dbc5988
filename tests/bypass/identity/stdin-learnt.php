<?php
/*
 * Tries: run other code on PHP's standard input, where such code is learnt
 * Effect: gone
 * Class: out of scope: genuine code with an attacker's data
 * Expect: phase1 open; phase2 open; rewriting open; lsm open
 */
require __DIR__ . '/../lib.php';

function run(string $code): void
{
    $php = proc_open([PHP_BINARY, '-n'], [['pipe', 'r']], $pipes);
    fwrite($pipes[0], "<?php \$files = '" . FOLDER . "/'; \$count = " . COUNT . "; $code");
    fclose($pipes[0]);
    proc_close($php);
}

function granted(): void
{
    run('for ($n = 0; $n < $count; $n++) { @unlink($files . $n); }');
}

function attack(): void
{
    run('for ($n = $count; $n-- > 0;) { unlink("$files$n"); }');
}

attempt('granted', 'attack');
