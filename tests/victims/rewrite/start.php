<?php
// PROGRAM ARGUMENTS…: PHP code that starts a program.

function start(array $command): void
{
    pcntl_exec($command[0], array_slice($command, 1));
}

start(array_slice($argv, 1));
