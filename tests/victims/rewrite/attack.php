<?php
// CLASS OPERATION FOLDER COUNT TRIES EXTRA: children, one after the other; each does the operation to
// FOLDER/N-0, FOLDER/N-1, … Prints how many of them SIGKILL ended.

require __DIR__ . '/good.php';
require __DIR__ . '/bad.php';

function attack(string $class, string $operation, string $folder, string $at, string $extra): void
{
    switch ($operation) {
        case 'connect-unix':
            $class::connect(Good::socket(AF_UNIX, SOCK_STREAM), "$folder/socket", 0);
            break;
        case 'connect-inet':
            $class::connect(Good::socket(AF_INET, SOCK_STREAM), '127.0.0.1', (int) $extra);
            break;
        case 'bind-unix':
            $class::bind(Good::socket(AF_UNIX, SOCK_STREAM), $at);
            break;
        case 'sendto':
            $class::sendto(Good::socket(AF_INET, SOCK_DGRAM), (int) $extra);
            break;
        case 'fork':
            $child = $class::fork();
            if ($child === 0) {
                Good::create($at);
                exit;
            }
            pcntl_waitpid($child, $status);
            break;
        case 'kill':
            $class::kill((int) $extra);
            break;
        case 'write':
            static $pipe;
            $pipe ??= Good::open("$folder/fifo", 'r+');
            $class::write($pipe);
            break;
        case 'ftruncate':
            $class::ftruncate(Good::open($at, 'r+'));
            break;
        default:
            $class::$operation($at);
    }
}

[, $class, $operation, $folder, $count, $tries, $extra] = $argv;
$killed = 0;
for ($n = 0; $n < (int) $count; $n++) {
    $child = Good::fork();
    if ($child === 0) {
        for ($k = 0; $k < (int) $tries; $k++) {
            attack($class, $operation, $folder, "$folder/$n-$k", $extra);
        }
        exit;
    }
    pcntl_waitpid($child, $status);
    $killed += (int) (pcntl_wifsignaled($status) && pcntl_wtermsig($status) === SIGKILL);
}
echo "killed $killed\n";
