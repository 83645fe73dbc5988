<?php
// FOLDER OPERATION PAUSE: calls that are allowed, a hundred at a time, until FOLDER/stop is there.
// Prints how many, and how many did not do what they should. `attack` as PAUSE: on files that are there, once.

class Honest
{
    static function unlink(string $at): bool
    {
        return @unlink($at);
    }

    static function rename(string $at): bool
    {
        return @rename($at, "$at.moved");
    }
}

[, $folder, $operation, $pause] = $argv;
$operation = ['Honest', $operation];
if ($pause === 'attack') {
    for ($n = 0; $n < 50; $n++) {
        $operation("$folder/$n");
    }
    echo "survived\n";
    exit;
}
$calls = $odd = 0;
do {
    for ($n = 0; $n < 100; $n++) {
        $odd += (int) $operation("$folder/none");
    }
    $calls += $n;
    usleep((int) $pause);
    clearstatcache();
} while (!file_exists("$folder/stop"));
echo "$calls $odd\n";
