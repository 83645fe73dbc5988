<?php

// php index.php WHAT FOLDER COUNT [FILE]: deletes FOLDER/0, … in one of many ways, or includes FILE, which does.

require __DIR__ . '/lib.php';
require __DIR__ . '/magic.php';
require __DIR__ . '/shapes.php';

[, $what, $folder, $count] = $argv;
$count = (int) $count;
if ($what === 'all') {
    foreach (array_values(shapes()) as $n => $shape) {
        $shape("$folder/$n");
    }
} elseif ($what === 'count') {
    echo count(shapes()), ' ';
} elseif ($what === 'deep') {
    below($count, "$folder/0");
} elseif ($what === 'eval') {
    eval('for ($n = 0; $n < $count; $n++) { Store::purge("$folder/$n"); }');
} elseif ($what === 'include') {
    include $argv[4];
} else {
    for ($n = 0; $n < $count; $n++) {
        shapes()[$what]("$folder/$n");
    }
}
echo 'survived';
