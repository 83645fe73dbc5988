<?php
/*
 * A front controller of php-fpm. `forge` is what makes names of files doubtful; then something granted is done.
 */
header('X-Worker: ' . getmypid());
switch ($_GET['forge'] ?? '') {
    case 'filter':
        // Upper case is the same code.
        include 'php://filter/read=string.toupper/resource=' . __DIR__ . '/nothing.php';
        break;
    case 'fastcgi':
        require __DIR__ . '/fastcgi.php';
        $said = ask($_GET['socket'], [
            'REQUEST_METHOD' => 'GET',
            'QUERY_STRING' => '',
            'SCRIPT_FILENAME' => __FILE__,
            'DATA' => $_SERVER['DATA'],
            'PHP_VALUE' => $_GET['value'],
        ]);
        echo strpos($said, 'done') ? 'answered ' : 'not answered ';
        break;
    case 'wrapper':
        stream_wrapper_unregister('file');
        stream_wrapper_restore('file');
        break;
}
touch($_SERVER['DATA'] . '/granted');
echo 'done';
