<?php
// Includes what is in plugins/: `plugins.php DIR`.
function load(string $file, string $dir): void { include $file; }

foreach (glob(__DIR__ . '/plugins/*.php') as $file) {
    load($file, $argv[1]);
}
