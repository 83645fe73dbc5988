<?php
// An `unlink` that comes to nothing: a system call that no hook sees.

function tidy(string $at): void
{
    @unlink("$at/missing");
    @mkdir("$at/made");
}
tidy($argv[1]);
