<?php
/*
 * What attempts have in common: `php ATTEMPT.php ROLE FOLDER COUNT [EXTRA]`. ROLE is `twin`, `attack`, or `dry`:
 * what an attack does before it reaches for anything.
 */
[, $role, $folder, $count] = $argv;
define('ROLE', $role);
define('FOLDER', $folder);
define('ALL', $count);
define('COUNT', ROLE === 'dry' ? 0 : (int) $count);
define('EXTRA', $argv[4] ?? '');
const GRANTED = __DIR__ . '/granted.php';
const OPEN = __DIR__ . '/area/open';
unset($role, $folder, $count);

/* What is there to be reached for. */
function targets(): array
{
    return COUNT ? array_map(fn (int $n): string => FOLDER . "/$n", range(0, COUNT - 1)) : [];
}

/* A program without a shell; its status. */
function start(array $command, ?array $environment = null): int
{
    return proc_close(proc_open($command, [], $pipes, null, $environment));
}

/* A way of `ways.c`: by a program that has learnt it, or by its copy that has not. Each way has programs of its own. */
function way(string $name): void
{
    $program = __DIR__ . "/programs/$name" . (ROLE === 'twin' ? '-granted' : '');
    start([$program, $name, FOLDER, ALL, EXTRA, ROLE]);
}

/*
 * By name: closures of one file are one site. With `dry` an attack is learnt as far as it goes where there is nothing
 * to be reached for.
 */
function attempt(string $twin, string $attack, bool $dry = false): void
{
    if (ROLE === 'twin') {
        $twin();
    } elseif (ROLE === 'attack' || $dry) {
        $attack();
    }
}
