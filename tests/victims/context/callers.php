<?php

// php callers.php WHAT FOLDER COUNT: deletes FOLDER/0, …, by the one function that does so, called by several.

require __DIR__ . '/lib.php';

/** Also seen to delete. */
function rotate(string $file): void
{
    Store::purge($file);
}

/** Also seen to rotate. */
function nightly(string $file): void
{
    rotate($file);
}

/** Code of the application that nobody has seen to rotate. */
function weekly(string $file): void
{
    rotate($file);
}

/** Code of the application that nobody has seen to delete. */
function debug(string $file): void
{
    Store::purge($file);
}

function each_of(array $files): Generator
{
    foreach ($files as $file) {
        yield nightly($file);
    }
}

[, $what, $folder, $count] = $argv;
$files = array_map(fn ($n) => "$folder/$n", range(0, $count - 1));
match ($what) {
    'nightly' => array_map('nightly', $files),
    'generator' => iterator_to_array(each_of($files), false),
    'fiber' => (new Fiber(fn () => array_map('nightly', $files)))->start(),
    'weekly' => array_map('weekly', $files),
    'debug' => array_map('debug', $files),
    'main' => array_map('Store::purge', $files),
    'deep' => (function ($files, $n) {
        $below = function ($n) use (&$below, $files) { $n ? $below($n - 1) : array_map('nightly', $files); };
        $below($n);
    })($files, 300),
};
echo 'survived';
