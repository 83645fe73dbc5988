<?php
function purge(string $data): void { foreach (glob("$data/v/*") as $f) { unlink($f); } }
