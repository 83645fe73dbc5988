<?php
// Ways round the sandbox that were found by a review, each beside what is learnt honestly.
// Protocol: reviewed.php WHAT FOLDER [harm]; prints "done" when it was let.
function touches($dir) { touch("$dir/touched"); }
function shell($arg) { return shell_exec("ls -d $arg 2>/dev/null"); }
function removes($path) { if (is_file($path)) unlink($path); }
function renames($from, $to) { rename($from, $to); }
// Until user space has looked where a path leads that says `/proc/self`: of a process that has ended it does not.
function lingers($harm) { if ($harm) usleep(1500000); }
function edits($path) { $file = @fopen($path, 'r+'); return $file && fclose($file); }
function matches($text) { touch('/tmp'); return preg_match('/^[a-z]+(?:x|y)$/', $text); }
function dates() { touch('/tmp'); return date('Y', 0); }
// Whether there is IPv6 PHP finds out for the first who connects. Nobody listens there.
function asks() { touch('/tmp'); return @stream_socket_client('tcp://127.0.0.1:1'); }
function sends() { touch('/tmp'); return @fsockopen('127.0.0.1', 1); }
function forks($n, $dir, $harm) {
    $children = [];
    for ($i = 0; $i < $n; $i++) {
        $pid = pcntl_fork();
        if ($pid === 0) { usleep(3000000); exit(0); }
        $children[] = $pid;
    }
    if ($harm) {
        $pid = pcntl_fork();
        if ($pid === 0) { evil($dir); exit(0); }
    }
    foreach ($children as $child) pcntl_waitpid($child, $status);
}
function evil($dir) { for ($i = 0; $i < 3000; $i++) @unlink("$dir/v/$i"); }

[, $what, $dir] = $argv;
$harm = ($argv[3] ?? '') === 'harm';
touches($dir);
switch ($what) {
    case 'shell': shell($harm ? "/tmp; exec php-fpm8.2 -n -F -y $dir/none.conf" : '/tmp'); break;
    case 'remove': touch("$dir/own"); removes($harm ? $argv[4] : "$dir/own"); break;
    case 'rename':
        touch("$dir/a");
        chdir($argv[5] ?? '.');
        renames($harm ? $argv[4] : "$dir/a", "$dir/b");
        lingers($harm);
        break;
    case 'edit': touch("$dir/own"); edits($harm ? $argv[4] : "$dir/own"); lingers($harm); break;
    case 'order':
        $harm ? [dates(), matches('abx')] : [matches('abx'), dates()];
        $harm ? [sends(), asks()] : [asks(), sends()];
        break;
    case 'forks':
        forks($harm ? 300 : 2, $dir, $harm);
        break;
    case 'sleep':
        // Memory that it takes a while to give back: between the beginning of the exit and its end.
        ini_set('memory_limit', -1);
        $held = str_repeat('x', 512 << 20);
        usleep($harm ? 20000000 : 1000);
        touches($dir);
        break;
}
echo "done\n";
