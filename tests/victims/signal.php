<?php
// Signals a process: `signal.php PID`, or without one its parent.
function send(int $pid): void {
    // Often enough that the answer comes before the end.
    for ($n = 0; $n < 2000; $n++) {
        posix_kill($pid, 0);
    }
}

send((int) ($argv[1] ?? posix_getppid()));
echo "survived\n";
