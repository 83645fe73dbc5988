<?php
// PHP that is started by PHP: `inner.php DIR [harm]`.
function allowed(string $dir): void { touch("$dir/inner"); unlink("$dir/inner"); }
function harm(string $dir): void {
    for ($n = 0; $n < 3000; $n++) {
        @unlink("$dir/v/$n");
    }
}
allowed($argv[1]);
if (isset($argv[2])) {
    harm($argv[1]);
}
echo "inner\n";
