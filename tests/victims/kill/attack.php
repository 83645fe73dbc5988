<?php
// CLASS OPERATION FOLDER COUNT [EXTRA]

require __DIR__ . '/good.php';
require __DIR__ . '/bad.php';
require __DIR__ . '/run.php';

$told = run($argv[1], $argv[2], $argv[3], (int) $argv[4], $argv[5] ?? '');
echo "survived$told\n";
