<?php
/* What an attacker wants to be run: deletes FOLDER/0 … */
for ($n = 0; $n < (int) $argv[2]; $n++) {
    @unlink("{$argv[1]}/$n");
}
