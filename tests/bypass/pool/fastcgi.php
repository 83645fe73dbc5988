<?php
/*
 * A request to the pool's own socket, by hand: the worker that answers it takes what PHP_VALUE says for its settings.
 */
function packet(int $type, string $content): string
{
    return pack('CCnnCx', 1, $type, 1, strlen($content), 0) . $content;
}

function length(string $text): string
{
    return strlen($text) < 128 ? chr(strlen($text)) : pack('N', strlen($text) | 0x80000000);
}

function ask(string $socket, array $parameters): string
{
    $all = '';
    foreach ($parameters as $name => $value) {
        $all .= length($name) . length($value) . $name . $value;
    }
    $pool = stream_socket_client("unix://$socket");
    stream_set_timeout($pool, 5);
    fwrite($pool, packet(1, pack('nCx5', 1, 0)) . packet(4, $all) . packet(4, '') . packet(5, ''));
    return (string) stream_get_contents($pool);
}
