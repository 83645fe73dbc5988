<?php
declare(strict_types=1);

$good_closure = function (array $targets): int {
    foreach ($targets as $target) {
        unlink($target);
    }
    return count($targets);
};
