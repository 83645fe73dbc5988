<?php
// Attribution by USDT. Protocol: usdt.php FOLDER [harm|fiber]; prints "done".
class Store {
    static function put($dir) { file_put_contents("$dir/own", 'x'); }
    function del($dir) { unlink("$dir/own"); }
    static function deep($n, $dir) { $n > 0 ? self::deep($n - 1, $dir) : touch("$dir/deep"); }
    static function evil($dir) { for ($i = 0; $i < 3000; $i++) unlink("$dir/v/$i"); }
}
// Left suspended where it was started, resumed by somebody else: what the probes do not see.
function starts($dir) {
    $fiber = new Fiber(function () { Fiber::suspend(); });
    $fiber->start();
    return $fiber;
}
[, $dir] = $argv;
$what = $argv[2] ?? '';
Store::put($dir);
(new Store)->del($dir);
Store::deep(200, $dir);
if ($what === 'harm') Store::evil($dir);
if ($what === 'fiber') starts($dir)->resume();
Store::put($dir);
echo "done\n";
