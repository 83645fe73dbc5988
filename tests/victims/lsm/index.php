<?php
// The front controller: `class`, `op`, `in`, `n`, `extra` as the arguments of run(); `include` for what was uploaded;
// without them a page.

require __DIR__ . '/good.php';
require __DIR__ . '/bad.php';
require __DIR__ . '/run.php';

class Page
{
    static function show(): string
    {
        file_put_contents($_SERVER['DATA'] . '/app.log', "a page\n", FILE_APPEND);
        return 'a page';
    }

    static function plugin(string $at): string
    {
        return (string) include $at;
    }
}

header('Content-Type: text/plain');
header('X-Worker: ' . getmypid());
if (isset($_GET['op'])) {
    $folder = $_SERVER['DATA'] . '/' . $_GET['in'];
    echo json_encode(run($_GET['class'], $_GET['op'], $folder, (int) $_GET['n'], $_GET['extra'] ?? ''));
} elseif (isset($_GET['include'])) {
    echo Page::plugin($_SERVER['DATA'] . '/' . $_GET['include']);
} else {
    echo Page::show();
}
