<?php
function helper(string $data): void { touch("$data/helped"); unlink("$data/helped"); }
