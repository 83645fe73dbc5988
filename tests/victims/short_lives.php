<?php
// Children that make one call and are gone: `short_lives.php DIR [HARM]`.
function quick(string $file): void { @unlink($file); }
function work(string $dir): void { touch("$dir/ok"); }

[, $dir] = $argv;
for ($n = 0; $n < 100; $n++) {
    if (pcntl_fork() === 0) {
        if (isset($argv[2])) {
            quick('/nowhere');
        }
        posix_kill(posix_getpid(), SIGKILL);
    }
}
while (pcntl_wait($status) > 0);
work($dir);
echo 'done';
