<?php
// SHM-KEY OWN FILE [lives|dies]: deletes its own file, which is allowed, and with the last one FILE, which is not; and
// when PHP code last ran.
// Shared memory is written without a system call: what it says last is when the process could last do anything.

const BEFORE = 0;  // the call
const AFTER = 8;   // it came back
const LAST = 16;   // the last sign of life
const ALIVE = 500_000_000;

function allowed($file) { @unlink($file); }

function attack($shm, $file)
{
    shmop_write($shm, pack('q', hrtime(true)), BEFORE);
    @unlink($file);
    shmop_write($shm, pack('q', $after = hrtime(true)), AFTER);
    do {
        shmop_write($shm, pack('q', $now = hrtime(true)), LAST);
    } while ($now < $after + ALIVE && $GLOBALS['dies']);
}

$shm = shmop_open((int) $argv[1], 'w', 0, 0);
$dies = ($argv[4] ?? '') === 'dies';
allowed($argv[2]);
if (isset($argv[4])) attack($shm, $argv[3]);
