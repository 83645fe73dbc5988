<?php
/*
 * Tries: rename over a script of the profile, by way of a descriptor of its folder in /proc that is closed at once
 * Effect: script
 * Class: in scope: where a link leads is looked up after the call
 * Expect: phase1 open; phase2 open; rewriting open; lsm 0
 * Twin: made 0
 */
require __DIR__ . '/../lib.php';

/* PHP resolves no link on the way of a rename; where it opens a file, it does. */
function through(string $folder, string $name, string $text): void
{
    Store::save(FOLDER . '/new', $text);
    $open = opendir($folder);
    foreach (scandir('/proc/self/fd') as $fd) {
        if (@readlink("/proc/self/fd/$fd") === $folder) {
            Store::move(FOLDER . '/new', "/proc/self/fd/$fd/$name");
            break;
        }
    }
    closedir($open);
}

function granted(): void
{
    require GRANTED;
    require OPEN . '/page.php';
    page(FOLDER . '/page');
    through(FOLDER, '0', 'text');
}

function attack(): void
{
    require GRANTED;
    through(realpath(OPEN), 'page.php', '<?php evil();');
}

attempt('granted', 'attack');
