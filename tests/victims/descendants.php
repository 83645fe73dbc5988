<?php
// What becomes of the processes that PHP starts: `descendants.php WHAT DIR [HARM]`.
// With HARM each does one thing more, which no profile has.
[, $what, $dir] = $argv;
$harm = isset($argv[3]);

function shell(string $command): string { return (string) shell_exec($command); }

/** A daemon: its parents are gone before it does anything. */
function daemon(string $dir, bool $harm): void {
    if (pcntl_fork() !== 0) {
        return;
    }
    posix_setsid();
    if (pcntl_fork() !== 0) {
        posix__exit_now();
    }
    while (posix_getppid() === (int) file_get_contents("$dir/parent")) {
        usleep(1000);
    }
    file_put_contents("$dir/daemon", 'x');
    if ($harm) {
        destroy($dir);
    }
    unlink("$dir/daemon");
    posix__exit_now();
}

/** Ends without destructors and the like. */
function posix__exit_now(): void { pcntl_exec('/usr/bin/true'); }

function destroy(string $dir): void {
    for ($n = 0; $n < 3000; $n++) {
        @unlink("$dir/v/$n");
    }
}

function again(string $script, string $dir, string $more): string {
    return shell("/usr/bin/php $script $dir $more");
}

switch ($what) {
    case 'pipeline':
        echo shell("printf 'b\\na\\n' | sort | head -n 1");
        if ($harm) {
            echo shell("ls '$dir/v' | while read f; do rm -f '$dir/v/'\$f; done; echo through");
        }
        break;
    case 'daemon':
        file_put_contents("$dir/parent", (string) getmypid());
        daemon($dir, $harm);
        break;
    case 'again':
        echo again(__DIR__ . '/inner.php', $dir, $harm ? 'harm' : '');
        break;
}
echo "done\n";
