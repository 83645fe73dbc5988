<?php
// CLASS FOLDER COUNT OPERATION[=EXTRA]…: each on FOLDER/OPERATION; a line of JSON for each.

require __DIR__ . '/good.php';
require __DIR__ . '/bad.php';
require __DIR__ . '/run.php';

[, $class, $folder, $count] = $argv;
foreach (array_slice($argv, 4) as $operation) {
    [$operation, $extra] = explode('=', $operation) + [1 => ''];
    echo $operation, ' ', json_encode(run($class, $operation, "$folder/$operation", (int) $count, $extra)), "\n";
}
echo "goes on\n";
