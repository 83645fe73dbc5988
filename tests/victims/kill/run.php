<?php
// One operation on `$count` objects, by Good or by Bad. What only prepares it is Good's in any case.

function run(string $class, string $operation, string $folder, int $count, string $extra): string
{
    $told = '';
    for ($n = 0; $n < $count; $n++) {
        $at = "$folder/$n";
        switch ($operation) {
            case 'write':
                $stream ??= Good::open("$folder/fifo", 'r+');
                $class::write($stream);
                break;
            case 'connect':
                $class::connect(Good::socket(), (int) $extra);
                break;
            case 'fork':
                $child = $class::fork();
                if ($child === 0) {
                    Good::create($at);
                    exit;
                }
                pcntl_waitpid($child, $status);
                break;
            case 'kill':
                $class::kill((int) $extra, 34 + $n);
                break;
            case 'shell':
                $told .= ' ' . $class::shell("exec /usr/bin/touch $at");
                break;
            case 'program':
                // Good starts the shell; what the shell becomes was learnt, or it was not.
                $program = $class === 'Good' ? '/usr/bin/touch' : $extra;
                $told .= ' ' . Good::shell("exec $program $at");
                break;
            case 'mode':
                // The same function, and what it learnt to do or something else.
                Good::write(Good::open($at, $class === 'Good' ? 'r+' : 'w'));
                break;
            case 'supervise':
                $child = Good::fork();
                if ($child === 0) {
                    for ($k = 0; $k < (int) $extra; $k++) {
                        $class::unlink("$at-$k");
                    }
                    exit;
                }
                pcntl_waitpid($child, $status);
                $told .= ' ' . (pcntl_wifsignaled($status) ? pcntl_wtermsig($status) : 0);
                break;
            case 'beat':
                // A shell that goes on starting programs until it is told to stop, or its test is gone.
                Good::shell("while [ -d $folder ] && [ ! -e $folder/stop ]; do /usr/bin/touch $folder/beat; /usr/bin/sleep 0.02; done");
                break;
            default:
                $class::$operation($at);
        }
    }
    return $told;
}
