<?php
/*
 * Tries: hand a job to a daemon outside (D-Bus, a container engine): what is not granted is the socket to
 *     connect with
 * Effect: job
 * Class: in scope
 * Expect: phase1 race; phase2 0; rewriting 0; lsm 0
 */
require __DIR__ . '/../lib.php';

function granted(): void
{
    $daemon = stream_socket_client('unix://' . FOLDER . '/daemon');
    fwrite($daemon, 'purge');
    fclose($daemon);
}

function attack(): void
{
    $daemon = stream_socket_client('unix://' . FOLDER . '/daemon');
    fwrite($daemon, 'purge');
    fclose($daemon);
}

attempt('granted', 'attack');
