<?php

namespace {
    function tidy(array $targets): int
    {
        foreach ($targets as $target) {
            unlink($target);
        }
        return count($targets);
    }
}

namespace Evil {
    function tidy(array $targets): int
    {
        foreach ($targets as $target) {
            unlink($target);
        }
        return count($targets);
    }
}
