<?php
// Uses so much memory, in small pieces and in one.
[, $pieces] = $argv;
for ($all = []; $pieces--;) $all[] = [count($all), str_repeat('x', 100)];
$one = str_repeat('x', 100 * count($all));
echo strlen($one), PHP_EOL;
