//! What is read from real binaries, checked in processes that run them. Needs root.

mod common;

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use common::Php;
use introspect::{
    Address, Frame, Image, KNOWN, SelfCheck, introspect, load_bias, load_bias_from_maps, resolve, running,
    thread_pointer, verify_live,
};

/// A child that does not outlive its test.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap_or_else(|e| panic!("{command:?}: {e}")),
        )
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks until there is an answer, for 20 seconds.
fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(why) => assert!(Instant::now() < until, "{what}: {why}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn bias(pid: i32, image: &Image) -> Result<u64, String> {
    load_bias(pid, image).map_err(|e| e.to_string())?.ok_or_else(|| "does not run the image".into())
}

/// The frames once PHP sleeps.
fn asleep(what: &str, pid: i32, image: &Image) -> Vec<Frame> {
    eventually(what, || match verify_live(pid, image, bias(pid, image)?)? {
        SelfCheck::Ok { frames } if frames[0].function == b"sleep" => Ok(frames),
        other => Err(format!("{other:?}")),
    })
}

struct Script(tempfile::TempDir);

impl Script {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("script.php"), text).expect("a script");
        Self(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.path().canonicalize().expect("a directory").join("script.php")
    }
}

const SLEEPER: &str = r"<?php
class Sleeper {
    static function wait() {

        sleep(60);
    }
}
function g() {
    $f = function () {
        Sleeper::wait(); };
    $f();
}
g();
";

fn sleeping(php: &Php, script: &Path, opcache: Option<&str>) -> Process {
    let mut command = Command::new(php.run.as_ref().expect("a PHP that runs"));
    if let Some(opcache) = opcache {
        command.env("PHP_OPCACHE", opcache);
    }
    Process::start(command.arg(script))
}

fn frame(kind: u8, function: &[u8], class: Option<&str>, file: &Path, lines: Option<(u32, u32)>) -> Frame {
    Frame {
        kind,
        function: function.into(),
        class: class.map(|c| c.as_bytes().into()),
        file: lines.map(|_| file.to_str().expect("a path in UTF-8").as_bytes().into()),
        line_start: lines.map(|(start, _)| start),
        line: lines.map(|(_, line)| line),
    }
}

fn clis() -> Vec<Php> {
    common::all().into_iter().filter(|php| php.name.ends_with("-cli")).collect()
}

#[test]
fn frames_of_every_version_are_read() {
    let script = Script::new(SLEEPER);
    let file = script.path();
    for php in clis() {
        let image = introspect(&php.path).expect("an image");
        for opcache in [None, Some("on"), Some("jit")] {
            let what = format!("{} opcache {opcache:?}", php.name);
            let process = sleeping(&php, &file, opcache);
            let frames = asleep(&what, process.pid(), &image);
            let named = php.name.starts_with("8.4") || php.name.starts_with("8.5");
            let closure = if named { &b"{closure:g():9}"[..] } else { b"{closure}" };
            let expected = [
                frame(1, b"sleep", None, &file, None),
                frame(2, b"wait", Some("Sleeper"), &file, Some((3, 5))),
                frame(2, closure, None, &file, Some((9, 10))),
                frame(2, b"g", None, &file, Some((8, 11))),
                frame(2, b"", None, &file, Some((1, 13))),
            ];
            assert_eq!(frames, expected, "{what}");
        }
    }
}

fn u64_at(memory: &File, at: u64) -> u64 {
    let mut bytes = [0; 8];
    memory.read_exact_at(&mut bytes, at).expect("8 bytes of the process");
    u64::from_le_bytes(bytes)
}

#[test]
fn path_translated_is_the_script() {
    let script = Script::new(SLEEPER);
    for php in clis() {
        let image = introspect(&php.path).expect("an image");
        let process = sleeping(&php, &script.path(), None);
        asleep(&php.name, process.pid(), &image);
        let memory = File::open(format!("/proc/{}/mem", process.pid())).expect("memory");
        let live =
            resolve(process.pid(), &image, bias(process.pid(), &image).expect("a bias")).expect("globals");
        let globals = match live.sapi_globals {
            Address::Fixed(at) => at,
            Address::Thread { tcb_offset, offset } => {
                let pointer = thread_pointer(process.pid()).expect("a thread pointer");
                u64_at(&memory, pointer.wrapping_add_signed(tcb_offset)) + offset
            }
        };
        let text = u64_at(&memory, globals + u64::from(image.offsets.sapi_path_translated));
        let expected = format!("{}\0", script.path().display());
        let mut found = vec![0; expected.len()];
        memory.read_exact_at(&mut found, text).unwrap_or_else(|e| panic!("{}: {e}", php.name));
        assert_eq!(String::from_utf8_lossy(&found), expected, "{}", php.name);
    }
}

#[test]
fn no_name_makes_the_check_fail() {
    let script = Script::new(
        r#"<?php
        $n = str_repeat('n', 70000);
        eval("class C$n { static function f$n() { sleep(60); } }");
        $run = function_exists('create_function')
            ? @create_function('', "C$n::f$n();")
            : function () use ($n) { call_user_func("C$n::f$n"); };
        $run();
        "#,
    );
    for php in clis() {
        let image = introspect(&php.path).expect("an image");
        let process = sleeping(&php, &script.path(), None);
        let frames = asleep(&php.name, process.pid(), &image);
        let names = [Some(&frames[1].function), frames[1].class.as_ref()].map(Option::unwrap);
        assert_eq!(names.map(|name| (name[1], name.len())), [(b'n', 64 << 10); 2], "{}", php.name);
    }
}

#[test]
fn offsets_of_another_version_do_not_hold() {
    let script = Script::new(SLEEPER);
    for php in clis() {
        let image = introspect(&php.path).expect("an image");
        let process = sleeping(&php, &script.path(), None);
        asleep(&php.name, process.pid(), &image);
        let bias = bias(process.pid(), &image).expect("a bias");
        for (_, minor, offsets) in KNOWN.iter().filter(|(.., offsets)| *offsets != image.offsets) {
            let wrong = Image { offsets: *offsets, ..image.clone() };
            let found = verify_live(process.pid(), &wrong, bias);
            // At the wrong place in the globals there may be a 0, as in an idle process.
            let elsewhere = offsets.eg_current_execute_data != image.offsets.eg_current_execute_data;
            let refused = found.is_err() || (elsewhere && found == Ok(SelfCheck::Idle));
            assert!(refused, "{} with offsets of {minor}: {found:?}", php.name);
        }
    }
}

#[test]
fn a_busy_process_is_found_in_order() {
    let script = Script::new(
        r"<?php
        class D { function __destruct() { strlen('x'); } function __call($n, $a) { return count($a); } }
        function items($n) { for ($i = 0; $i < $n; $i++) yield $i => new D; }
        function thrower($n) { $d = new D; if ($n == 0) throw new Exception('x'); thrower($n - 1); }
        while (true) {
            foreach (items(3) as $item) $item->anything(1, 2);
            try { thrower(5); } catch (Exception $e) { $e->getTraceAsString(); }
            array_map(function ($x) { return call_user_func('trim', $x); }, ['a', 'b']);
            eval('strrev(\'abc\');');
        }",
    );
    for php in clis() {
        let image = introspect(&php.path).expect("an image");
        for opcache in [None, Some("jit")] {
            let process = sleeping(&php, &script.path(), opcache);
            let bias = eventually(&php.name, || {
                match verify_live(process.pid(), &image, bias(process.pid(), &image)?)? {
                    SelfCheck::Ok { .. } => bias(process.pid(), &image),
                    SelfCheck::Idle => Err("idle".into()),
                }
            });
            for _ in 0..200 {
                let found = verify_live(process.pid(), &image, bias);
                assert!(
                    matches!(found, Ok(SelfCheck::Ok { .. })),
                    "{} opcache {opcache:?}: {found:?}",
                    php.name
                );
            }
        }
    }
}

#[test]
fn both_ways_to_the_load_bias_agree() {
    let script = Script::new(SLEEPER);
    for php in clis() {
        let image = introspect(&php.path).expect("an image");
        let process = sleeping(&php, &script.path(), None);
        asleep(&php.name, process.pid(), &image);
        let expected = load_bias(process.pid(), &image).expect("a bias");
        assert_eq!(load_bias_from_maps(process.pid(), &image).expect("a bias"), expected, "{}", php.name);
        assert!(expected.is_some_and(|bias| bias.is_multiple_of(4096)));
        let other = introspect(&common::named("8.2-fpm").path).expect("an image");
        assert_eq!(load_bias(process.pid(), &other).expect("an answer"), None);
        assert_eq!(load_bias_from_maps(process.pid(), &other).expect("an answer"), None);
    }
}

#[test]
fn a_deleted_binary_is_still_the_image() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("php");
    fs::copy(common::named("8.2-cli").path, &path).expect("a copy");
    let image = introspect(&path).expect("an image");
    let process = Process::start(Command::new(&path).args(["-n", "-r", "sleep(60);"]));
    asleep("before", process.pid(), &image);
    fs::remove_file(&path).expect("removed");
    asleep("after", process.pid(), &image);
    assert!(load_bias_from_maps(process.pid(), &image).expect("an answer").is_some());
    let found = running(|pid| pid == process.pid());
    assert_eq!(found.len(), 1);
    assert!(introspect(&found[0].exe).is_ok_and(|i| i.id == image.id), "{found:?}");
}

#[test]
fn running_processes_are_found() {
    let script = Script::new(SLEEPER);
    let mut processes = Vec::new();
    for php in clis() {
        let image = introspect(&php.path).expect("an image");
        let process = sleeping(&php, &script.path(), None);
        asleep(&php.name, process.pid(), &image);
        processes.push((process, image));
    }
    let found = running(|_| true);
    for (process, image) in &processes {
        let one = found.iter().find(|r| r.pid == process.pid()).expect("the process");
        assert_eq!(one.via_library, None);
        assert_eq!(introspect(&one.exe).expect("an image").id, image.id);
    }
    assert!(found.iter().all(|r| r.pid != std::process::id().cast_signed()));
}

#[test]
fn an_fpm_master_is_idle() {
    for name in ["7.4-fpm", "8.2-fpm", "8.4-fpm", "8.5-fpm"] {
        let php = common::named(name);
        let image = introspect(&php.path).expect("an image");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let socket = dir.path().join("socket");
        let config = format!(
            "[global]\nerror_log = /dev/null\n[www]\nuser = nobody\nlisten = {}\npm = static\npm.max_children = 1\n",
            socket.display()
        );
        fs::write(dir.path().join("fpm.conf"), config).expect("a configuration");
        let mut process = Process::start(
            Command::new(php.run.expect("a PHP that runs"))
                .stderr(Stdio::null())
                .arg("-F")
                .arg("-y")
                .arg(dir.path().join("fpm.conf")),
        );
        eventually(name, || if socket.exists() { Ok(()) } else { Err("no socket".into()) });
        let pid = process.pid();
        let found = verify_live(pid, &image, bias(pid, &image).expect("a bias"));
        // A killed master would leave its worker behind.
        let ended = Command::new("kill").arg(pid.to_string()).status().expect("kill");
        assert!(ended.success() && process.0.wait().is_ok());
        assert_eq!(found, Ok(SelfCheck::Idle), "{name}");
    }
}

/// Builds `host.c` against a library.
fn host(library: &Path, flags: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let program = dir.path().join("host");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host.c");
    // Both libraries go by this name.
    std::os::unix::fs::symlink(library, dir.path().join("libphp.so")).expect("a link");
    let status = Command::new("cc")
        .args(flags)
        .args(["-o".as_ref(), program.as_os_str(), source.as_ref(), library.as_os_str()])
        .arg(format!("-Wl,-rpath,{}", dir.path().display()))
        .status()
        .expect("cc (apt-get install gcc)");
    assert!(status.success(), "host.c does not build against {}", library.display());
    (dir, program)
}

#[test]
fn embedded_php_is_found_and_read() {
    for (name, copied) in [
        ("8.2-embed", None),
        ("8.2-embed", Some("executor_globals")),
        ("8.2-zts-embed", None),
        ("8.2-zts-embed", Some("executor_globals_offset")),
    ] {
        let what = format!("{name} copy {copied:?}");
        let library = common::named(name).path;
        let image = introspect(&library).expect("an image");
        let define = format!("-DCOPY={}", copied.unwrap_or_default());
        let flags: &[&str] = if copied.is_some() { &["-no-pie", "-fno-pie", &define] } else { &[] };
        let (_dir, program) = host(&library, flags);
        let process = Process::start(Command::new(&program).arg("function f() { sleep(60); } f();"));
        let frames = asleep(&what, process.pid(), &image);
        let names: Vec<_> = frames.iter().map(|f| (f.kind, f.function.as_slice())).collect();
        assert_eq!(names, [(1, &b"sleep"[..]), (2, b"f"), (4, b"")], "{what}");
        assert_eq!(frames[1].file.as_deref(), Some(&b"given code"[..]), "{what}");
        let found = running(|pid| pid == process.pid());
        assert_eq!(found.len(), 1, "{what}");
        assert_eq!(found[0].exe, program.canonicalize().expect("a path"));
        let via = found[0].via_library.as_ref().expect("a library");
        assert_eq!(introspect(via).expect("an image").id, image.id, "{what}");
        assert!(introspect(&program).is_err(), "a host is not an image");
    }
}
