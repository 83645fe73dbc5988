<?php
// The front controller: `class`, `op`, `in`, `n`, `extra` as the arguments of attack.php; without them a page.

require __DIR__ . '/good.php';
require __DIR__ . '/bad.php';
require __DIR__ . '/run.php';

header('Content-Type: text/plain');
header('X-Worker: ' . getmypid());
if (isset($_GET['op'])) {
    $folder = $_SERVER['DATA'] . '/' . $_GET['in'];
    echo 'survived', run($_GET['class'], $_GET['op'], $folder, (int) $_GET['n'], $_GET['extra'] ?? '');
} else {
    file_put_contents($_SERVER['DATA'] . '/app.log', "a page\n", FILE_APPEND);
    echo 'a page';
}
