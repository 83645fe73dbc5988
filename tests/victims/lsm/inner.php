<?php
// OUTER creates a file and starts PHP again, whose `inner` does what it was, or was not, allowed to.

function inner(string $what, string $at): void
{
    $what === 'write' ? @file_put_contents($at, 'x') : @unlink($at);
}
function outer(string $what, string $at): void
{
    exec(PHP_BINARY . ' -n -d extension=posix ' . __FILE__ . " inner $what $at");
}
[, $role, $what, $at] = $argv;
$role($what, $at);
