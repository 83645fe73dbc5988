<?php
// Writes to each file in turn, with time for the tracer between: `put.php FILE…`.
function put(string $file): void { file_put_contents($file, 'x'); }

foreach (array_slice($argv, 1) as $file) {
    put($file);
    usleep(300_000);
}
