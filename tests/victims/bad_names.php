<?php
// Names that no person would give, and that a line of output must survive: `bad_names.php DIR`.
[, $dir] = $argv;
$bad = [
    "new\nline", "carriage\rreturn", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\xff\xfe\xfd", "tab\tbell\x07",
    "\u{202e}gpj.exe", "\u{9b}31m", "quote\"back\\slash", "'; rm -rf /", str_repeat('long', 50), "nul\\0", "{\"v\":1}",
    "\u{2028}separator", "%s%n%d", "\x00",
];
foreach ($bad as $name) {
    if ($name !== "\x00") {
        @unlink("$dir/none/$name");
        @rename("$dir/none/$name", "$dir/none/$name.$name");
        @mkdir("$dir/$name");
        @rmdir("$dir/$name");
    }
}
@unlink(str_repeat('/long', 1000));

// Functions and classes: PHP takes any byte above 0x7f in a name, and eval and class_alias take more.
eval("function f\xff\xfe(\$f) { @unlink(\$f); } class C\x80 { static function m\xc3\xa9\xc3(\$f) { @unlink(\$f); } }");
("f\xff\xfe")("$dir/none/by-function");
call_user_func("C\x80::m\xc3\xa9\xc3", "$dir/none/by-class");
$long = str_repeat('n', 5000);
eval("function $long(\$f) { @unlink(\$f); }");
$long("$dir/none/by-long-name");
(new class { function __call($name, $args) { @unlink($args[0]); } })->{"any\nname\x1b[2J\x00"}("$dir/none/by-call");

// Files.
foreach (["in\nclude.php", "\x1b[2J.php", "\xff.php", str_repeat('x', 200) . '.php', "a\u{202e}b.php", '"q".php'] as $n => $file) {
    file_put_contents("$dir/$file", "<?php\nfunction from_$n(\$f) { @unlink(\$f); }\nfrom_$n('$dir/none/by-file');\n@unlink('$dir/none/main');\n");
    include "$dir/$file";
    unlink("$dir/$file");
}
cli_set_process_title("evil\ntitle \x1b[31m");
$program = "$dir/pro\n\x1b[31mgram\xff";
copy('/usr/bin/true', $program);
chmod($program, 0755);
exec(escapeshellarg($program) . ' 2>&1');
$pid = pcntl_fork();
if ($pid === 0) {
    pcntl_exec($program, ["arg\n\x1b[31m\xff"]);
    exit(1);
}
pcntl_waitpid($pid, $status);
unlink($program);
$socket = @stream_socket_client("unix://$dir/\x1b[31m\n\xff.sock");
