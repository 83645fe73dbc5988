//! What PHP starts stays a subject: pipelines, daemons, PHP again.

use std::ffi::CString;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::fpm::wait_until;
use e2e::session::{Ran, ends_with_test};
use e2e::suite::test;
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};
use libtest_mimic::Trial;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::Value;

use super::place::{Place, VICTIMS, assert_clean, php, source, through};

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("a_pipeline_is_learnt_and_a_program_added_to_it_is_killed", pipeline),
        test("a_daemon_whose_parents_are_gone_is_still_a_subject", daemon),
        test("php_run_by_php_is_killed_where_its_own_site_is_not_allowed", again_own_site),
        test("php_run_by_php_is_killed_where_its_origin_is_not_allowed", again_origin),
        test("a_command_that_starts_php_is_watched", wrapped),
        test("a_vanished_process_is_no_other_process", short_lives),
        test("an_end_that_was_not_seen_makes_a_stranger_no_subject", number_again),
        test("an_end_that_was_not_seen_is_not_waited_for", not_waited_for),
    ]
}

fn learnt(what: &str) -> Place {
    let place = Place::with("descendants.php");
    fs::copy(source("victims/inner.php"), place.path("inner.php")).expect("copy");
    place.learn(&[&place.arg("descendants.php"), what, &place.arg("data")]);
    for _ in 0..3 {
        let twin = run(&place, what, false);
        assert_clean(&twin);
        assert_eq!(twin.status, 0, "{}{}", twin.stdout, twin.stderr);
        assert!(twin.stdout.contains("done"), "{}", twin.stdout);
    }
    place.victims(VICTIMS);
    place
}

fn run(place: &Place, what: &str, harm: bool) -> Ran {
    let (script, data) = (place.arg("descendants.php"), place.arg("data"));
    let args = [&script[..], what, &data, "harm"];
    place.sandbox(&args[..if harm { 4 } else { 3 }])
}

fn pipeline() {
    let place = learnt("pipeline");
    let ran = run(&place, "pipeline", true);
    let violations = ran.violations();
    assert!(!violations.is_empty(), "{}", ran.stderr);
    assert!(violations.iter().all(|e| e["action"] == "killed"), "{violations:#?}");
    let execs: Vec<&&Value> = violations.iter().filter(|e| e["operation"] == "exec").collect();
    assert!(!execs.is_empty(), "{violations:#?}");
    for exec in execs {
        assert!(["/usr/bin/rm", "/usr/bin/ls"].iter().any(|p| exec["exe"] == *p), "{exec:#}");
        assert_eq!(exec["origin"][0]["site"]["function"], "shell", "{exec:#}");
        assert_eq!(exec["origin"][0]["sink"], "shell_exec", "{exec:#}");
    }
    assert_told(&place, &ran);
}

/// What is gone is what was told, and most is left.
fn assert_told(place: &Place, ran: &Ran) {
    let left = place.left();
    assert!(left > VICTIMS / 2, "only {left} of {VICTIMS} files are left");
    let violations = ran.violations();
    assert_eq!(VICTIMS - left, through(&violations, "unlinkat") + through(&violations, "unlink"));
}

fn daemon() {
    let place = learnt("daemon");
    let ran = run(&place, "daemon", true);
    assert_eq!(ran.status, 0, "COMMAND did nothing wrong: {}", ran.stderr);
    assert!(place.path("data/daemon").exists(), "the daemon was not killed where it should have been");
    let violations = ran.violations();
    assert!(!violations.is_empty(), "{}", ran.stderr);
    for event in &violations {
        assert_eq!(event["operation"], "unlink", "{event:#}");
        assert_eq!(event["site"]["function"], "destroy", "{event:#}");
        assert_eq!(event["action"], "killed", "{event:#}");
    }
    assert_told(&place, &ran);
}

fn again_own_site() {
    let place = learnt("again");
    let ran = run(&place, "again", true);
    assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(!ran.stdout.contains("inner"), "the inner PHP was not killed: {}", ran.stdout);
    let violations = ran.violations();
    assert!(!violations.is_empty(), "{}", ran.stderr);
    for event in &violations {
        assert_eq!(event["site"]["function"], "harm", "{event:#}");
        assert_eq!(event["site"]["file"], place.arg("inner.php"), "{event:#}");
        assert_eq!(event["origin"][0]["site"]["function"], "shell", "{event:#}");
    }
    assert_told(&place, &ran);
}

/// `harm()` is allowed to `inner.php` by itself, and not to what `descendants.php` starts.
fn again_origin() {
    let place = learnt("again");
    place.learn_more(&[&place.arg("inner.php"), &place.arg("data"), "harm"]);
    place.victims(VICTIMS);
    let twin = place.sandbox(&[&place.arg("inner.php"), &place.arg("data"), "harm"]);
    assert_clean(&twin);
    assert_eq!(place.left(), 0, "the twin did not do it");
    // What the origin never did, its own site being allowed to: renaming.
    fs::write(place.path("inner.php"), INNER_RENAMES).expect("write");
    place.learn_more(&[&place.arg("inner.php"), &place.arg("data"), "harm"]);
    place.victims(VICTIMS);
    let ran = run(&place, "again", true);
    let violations = ran.violations();
    assert!(!violations.is_empty(), "allowed by its own site alone: {}", ran.stderr);
    for event in &violations {
        assert_eq!(event["operation"], "rename", "{event:#}");
        assert_eq!(event["action"], "killed", "{event:#}");
    }
    let moved = fs::read_dir(place.path("data/v"))
        .expect("read")
        .filter(|e| Path::new(&e.as_ref().expect("an entry").file_name()).extension().is_some());
    assert_eq!(moved.count(), through(&violations, "rename"));
}

const INNER_RENAMES: &str = r#"<?php
function allowed(string $dir): void { touch("$dir/inner"); unlink("$dir/inner"); }
function harm(string $dir): void {
    for ($n = 0; $n < 3000; $n++) {
        @rename("$dir/v/$n", "$dir/v/$n.moved");
    }
}
allowed($argv[1]);
if (isset($argv[2])) {
    harm($argv[1]);
}
echo "inner\n";
"#;

/// PHP is not COMMAND itself, but what a shell script starts.
fn wrapped() {
    let place = Place::with("inner.php");
    let command = |more: &str| {
        let line = format!(
            "/usr/bin/php '{}' '{}' {more}; echo status $?",
            place.arg("inner.php"),
            place.arg("data")
        );
        ["/bin/sh".to_owned(), "-c".to_owned(), line]
    };
    let learnt = place.ordinary("--profile").run(command(""));
    assert_eq!(learnt.status, 0, "{}", learnt.stderr);
    let twin = place.ordinary("--sandbox").run(command(""));
    assert_clean(&twin);
    assert!(twin.stdout.contains("inner") && twin.stdout.contains("status 0"), "{}", twin.stdout);
    place.victims(VICTIMS);
    let ran = place.ordinary("--sandbox").run(command("harm"));
    assert!(ran.stdout.contains("status 137"), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.violations()[0]["site"]["function"], "harm");
    assert_told(&place, &ran);
}

/// Processes that are over before they can be killed: a missed or harmless kill, and nobody else's death.
fn short_lives() {
    let place = Place::with("short_lives.php");
    let (script, data) = (place.arg("short_lives.php"), place.arg("data"));
    place.learn(&[&script, &data]);
    let ran = place.sandbox(&[&script, &data, "harm"]);
    assert_eq!((ran.status, &ran.stdout[..]), (0, "done"), "{}", ran.stderr);
    let violations = ran.violations();
    assert_eq!(violations.len(), 100, "{}", ran.stderr);
    let told = |e: &&&Value| e["action"] == "killed" || (e["action"] == "missed" && e["cause"].is_string());
    assert_eq!(violations.iter().filter(told).count(), 100, "{violations:#?}");
}

/// The kernel may skip the program that tells an end. What it leaves behind then is put back here.
fn number_again() {
    let place = Place::new();
    let php = place.own_php();
    place.file("idle.php", "<?php echo 'runs'; fgets(STDIN);");
    let idle = || {
        let mut command = Command::new(&php);
        command.arg(place.path("idle.php")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = ends_with_test(&mut command).spawn().expect("start PHP");
        child.stdout.as_mut().expect("a pipe").read_exact(&mut [0; 4]).expect("read from PHP");
        child
    };
    let learning = place.session("--profile").args(["--php", &php]).start();
    assert!(idle().wait_with_output().expect("wait for PHP").status.success());
    assert_eq!(learning.stop().status, 0);

    let session = place.session("--sandbox").args(["--php", &php]).start();
    let (procs, numbers) = (map(session.pid(), "procs"), map(session.pid(), "numbers"));
    let child = idle();
    let number = child.id().to_ne_bytes();
    let left = procs.lookup(&number, MapFlags::ANY).expect("look up").expect("PHP is watched");
    assert!(child.wait_with_output().expect("wait for PHP").status.success());
    wait_until("its end is seen", || procs.lookup(&number, MapFlags::ANY).expect("look up").is_none());
    let at = (u32::from_ne_bytes(number) % numbers.max_entries()).to_ne_bytes();
    let count = numbers.lookup(&at, MapFlags::ANY).expect("look up").expect("an array has all");
    let one_more = u32::from_ne_bytes(count.try_into().expect("four bytes")) + 1;
    numbers.update(&at, &one_more.to_ne_bytes(), MapFlags::ANY).expect("put the count back");
    procs.update(&number, &left, MapFlags::NO_EXIST).expect("put it back");

    let made = place.path("data/made");
    let status = make_folder_as(u32::from_ne_bytes(number), &made);
    assert!(made.is_dir(), "a stranger was stopped: {status:?}");
    assert_eq!(status, WaitStatus::Exited(status.pid().expect("it ended"), 0));
    let ran = session.stop();
    assert!(ran.violations().is_empty(), "{}", ran.stderr);
    assert!(ran.stderr.contains("processes forgotten when their number was had again: 1"), "{}", ran.stderr);
}

/// As above, of a process of COMMAND.
fn not_waited_for() {
    let place = Place::new();
    let (data, pid) = (place.folder("data"), place.path("data/pid"));
    place.file(
        "a.php",
        r#"<?php file_put_contents("$argv[1]/new", getmypid() . ' ' . posix_getppid());
        rename("$argv[1]/new", "$argv[1]/pid"); while (file_exists("$argv[1]/go")) usleep(10_000); echo 'done';"#,
    );
    let go = place.file("data/go", "");
    let session = place.ordinary("--profile").args(["--duration", "30"]);
    let began = Instant::now();
    let ran = std::thread::scope(|scope| {
        let ran = scope.spawn(|| session.run(php(&[&place.arg("a.php"), &data.display().to_string()])));
        wait_until("PHP runs", || pid.exists());
        let told = fs::read_to_string(&pid).expect("read");
        let number = |n| told.split(' ').nth(n).and_then(|n| n.parse::<i32>().ok()).expect("a number");
        let (php, tracer) = (number(0), number(1));
        let procs = map(tracer, "procs");
        let known =
            procs.lookup(&php.to_ne_bytes(), MapFlags::ANY).expect("look up").expect("PHP is watched");
        let mut ended = Command::new("true").spawn().expect("start a program");
        ended.wait().expect("wait for it");
        procs.update(&ended.id().to_ne_bytes(), &known, MapFlags::NO_EXIST).expect("put it there");
        fs::remove_file(&go).expect("let PHP end");
        ran.join().expect("it ran")
    });
    assert_eq!((ran.status, ran.stdout.as_str()), (0, "done"), "{}", ran.stderr);
    assert!(began.elapsed() < Duration::from_secs(20), "it was waited for: {}", ran.stderr);
}

/// A map of a tracer.
fn map(tracer: i32, name: &str) -> MapHandle {
    let files = fs::read_dir(format!("/proc/{tracer}/fdinfo")).expect("the tracer's descriptors");
    let ids = files.flatten().filter_map(|file| {
        let text = fs::read_to_string(file.path()).ok()?;
        text.lines().find_map(|line| line.strip_prefix("map_id:"))?.trim().parse().ok()
    });
    let mut maps = ids.filter_map(|id| MapHandle::from_map_id(id).ok());
    maps.find(|map| map.name() == name).unwrap_or_else(|| panic!("no map {name}"))
}

/// A process of this number, which has nothing to do with PHP.
fn make_folder_as(number: u32, path: &Path) -> WaitStatus {
    let path = CString::new(path.as_os_str().as_encoded_bytes()).expect("a path");
    let wanted = number as libc::pid_t;
    // SAFETY: all-zero is a valid value of plain integers.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.exit_signal = libc::SIGCHLD as u64;
    (args.set_tid, args.set_tid_size) = (&raw const wanted as u64, 1);
    // SAFETY: the child allocates nothing, makes plain calls, and ends.
    let child = unsafe {
        let child = libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args));
        if child == 0 {
            libc::_exit(libc::mkdir(path.as_ptr(), 0o755));
        }
        child
    };
    assert_eq!(child, libc::c_long::from(wanted), "{}", std::io::Error::last_os_error());
    waitpid(Pid::from_raw(wanted), None).expect("wait for it")
}
