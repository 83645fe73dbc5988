<?php
foreach ($targets as $target) {
    unlink($target);
}
return count($targets);
