<?php
// COMMAND: by a function that has learnt to start a shell. What that does is judged by its own profile.

require __DIR__ . '/good.php';

exit(Good::shell($argv[1]));
