<?php
// CLASS FOLDER learn|hammer [PAUSE in microseconds]: what this class may do, and what only the other one may, until FOLDER/stop is there.
// Makes FOLDER/PID.works. Prints how often what is allowed was done or refused, and what is forbidden leaked or was denied.

class Left
{
    static function symlink(string $at): bool
    {
        return @symlink('/nowhere', $at) && @unlink($at);
    }

    static function mkdir(string $at): bool
    {
        return @mkdir($at) && @rmdir($at);
    }
}

class Right
{
    static function symlink(string $at): bool
    {
        return @symlink('/nowhere', $at) && @unlink($at);
    }

    static function mkdir(string $at): bool
    {
        return @mkdir($at) && @rmdir($at);
    }
}

[, $class, $folder, $what] = $argv;
$pause = (int) ($argv[4] ?? 0);
$at = "$folder/" . getmypid();
[$may, $may_not] = $class === 'Left' ? ['symlink', 'mkdir'] : ['mkdir', 'symlink'];
$told = ['allowed' => 0, 'refused' => 0, 'leaked' => 0, 'denied' => 0];
do {
    for ($n = 0; $n < 20; $n++) {
        $told[$class::$may($at) ? 'allowed' : 'refused']++;
        if ($what === 'hammer') {
            $done = $class::$may_not("$at.not") || is_dir("$at.not") || is_link("$at.not");
            $told[$done ? 'leaked' : 'denied']++;
        }
    }
    clearstatcache();
    if ($what === 'hammer') {
        touch("$at.works");
        usleep($pause);
    }
} while ($what === 'hammer' && !file_exists("$folder/stop"));
echo json_encode($told), "\n";
