<?php
// What PHP or the C library say instead.
const TELLS_NO_ERRNO = [
    'exec' => 'Unable to fork',
    'popen' => 'Cannot allocate memory',
    'stream' => 'Unable to connect',
    'ftruncate' => '',
];

function listener(): Socket
{
    $socket = Good::socket(AF_INET, SOCK_STREAM);
    Good::bind($socket, '127.0.0.1');
    Good::listen($socket);
    socket_set_nonblock($socket);
    return $socket;
}

// An operation on `$count` objects, by Good or by Bad. What only prepares it is Good's in any case.
// Returns how often it was done, how often it was told `Operation not permitted`, and the first of what else was told.
function run(string $class, string $operation, string $folder, int $count, string $extra): array
{
    $told = '';
    // Also what is silenced, and what is not the last word.
    set_error_handler(function (int $level, string $message) use (&$told): bool {
        $told .= "$message; ";
        return true;
    });
    $result = ['done' => 0, 'denied' => 0, 'other' => null, 'pid' => getmypid()];
    for ($n = 0; $n < $count; $n++) {
        $at = "$folder/$n";
        $told = '';
        posix_setpgid(-1, 0); // posix's last error is EINVAL or ESRCH now
        socket_clear_error();
        $errno = null;
        switch ($operation) {
            case 'ftruncate':
                $done = $class::ftruncate(Good::open($at));
                break;
            case 'fork':
                $child = @$class::fork();
                if ($child === 0) {
                    Good::create($at);
                    posix_kill(getmypid(), SIGKILL);
                }
                $done = $child > 0;
                $errno = $done ? null : pcntl_get_last_error();
                if ($done) {
                    pcntl_waitpid($child, $status);
                }
                break;
            case 'pcntl_exec':
                $done = @$class::pcntl_exec($at);
                $errno = pcntl_get_last_error();
                break;
            case 'unshare':
                $before = readlink('/proc/self/ns/user');
                $done = @$class::unshare() || readlink('/proc/self/ns/user') !== $before;
                $errno = pcntl_get_last_error();
                break;
            case 'kill':
            case 'kill_subject':
                $done = $class::kill((int) $extra, 34 + $n % 30);
                $errno = posix_get_last_error();
                break;
            case 'mkfifo':
            case 'mknod':
            case 'setuid':
            case 'setgid':
                $done = $class::$operation($at);
                $errno = posix_get_last_error();
                break;
            case 'socket_inet':
            case 'socket_unix':
                $done = @$class::socket($operation === 'socket_unix' ? AF_UNIX : AF_INET, SOCK_STREAM) !== false;
                $errno = socket_last_error();
                break;
            case 'stream':
                $done = @$class::stream((int) $extra);
                break;
            case 'bind_inet':
                $socket = Good::socket(AF_INET, SOCK_STREAM);
                $done = @$class::bind($socket, '127.0.0.1');
                $errno = socket_last_error($socket);
                socket_getsockname($socket, $address, $port);
                $done = $done || $port;
                break;
            case 'bind_unix':
                $socket = Good::socket(AF_UNIX, SOCK_STREAM);
                $done = @$class::bind($socket, $at);
                $errno = socket_last_error($socket);
                break;
            case 'connect_inet':
                $socket = Good::socket(AF_INET, SOCK_STREAM);
                $done = @$class::connect($socket, '127.0.0.1', (int) $extra);
                $errno = socket_last_error($socket);
                break;
            case 'connect_unix':
                $socket = Good::socket(AF_UNIX, SOCK_STREAM);
                $done = @$class::connect($socket, $extra, 0);
                $errno = socket_last_error($socket);
                break;
            case 'listen':
                $socket = Good::socket(AF_INET, SOCK_STREAM);
                Good::bind($socket, '127.0.0.1');
                $done = @$class::listen($socket);
                $errno = socket_last_error($socket);
                $done = socket_get_option($socket, SOL_SOCKET, 30) === 1 || $done; // SO_ACCEPTCONN
                break;
            case 'accept':
                $listener ??= listener();
                socket_getsockname($listener, $address, $port);
                $client = Good::socket(AF_INET, SOCK_STREAM);
                Good::connect($client, '127.0.0.1', $port);
                $taken = @$class::accept($listener);
                $errno = socket_last_error();
                // Who was not taken still waits.
                $done = $taken !== false || @Good::accept($listener) === false;
                break;
            case 'sendto':
                $socket ??= Good::socket(AF_INET, SOCK_DGRAM);
                $done = @$class::sendto($socket, (int) $extra);
                $errno = socket_last_error($socket);
                break;
            case 'write':
                $stream ??= Good::open("$folder/fifo");
                $done = @$class::write($stream);
                break;
            case 'write_file':
                $done = @$class::write(Good::open($at));
                break;
            case 'include':
                $done = @$class::include($at);
                break;
            default:
                $done = @$class::$operation($at);
        }
        $denied = $errno === 1 || preg_match('/Operation not permitted|errno=1 /', $told)
            || str_contains($told, TELLS_NO_ERRNO[$operation] ?? '-');
        if ($done) {
            $result['done']++;
        } elseif ($denied) {
            $result['denied']++;
        } else {
            $result['other'] ??= "$told ($errno)";
        }
    }
    return $result;
}
