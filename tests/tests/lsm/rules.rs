//! Actions, monitor, what is written to open files, and two views that do not mix.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;

use e2e::arena::{Arena, Status, USER};
use e2e::session::{exported, php_profile, tracer};
use e2e::suite::{DENIES_CALLS, Procfs, limit, test};
use libtest_mimic::Trial;

use super::world::{
    ATTACKS, POLICED, TWINS, arena, assert_denied, assert_done, learnt, php, run, session, traps,
};

const OPERATIONS: &[&str] = &["write", "write_file", "unlink"];
const SELECTED: &str = "write,unlink";

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("what_is_written_to_open_files_and_pipes_is_policed_where_asked_for", write),
        test("monitor_tells_and_lets_happen", monitor),
        test("kill_instead_of_deny_lets_nothing_through_that_was_denied", || killed("deny,kill", 0)),
        test("kill_alone_ends_the_attacker", || killed("kill", 1)),
        test("nobody_is_left_of_a_command_that_forks_while_its_sandbox_ends", chain),
        test("the_views_do_not_mix", views),
        test("memory_of_a_process_is_not_opened_for_writing", memory),
        test("what_this_kernel_cannot_deny_is_refused_by_name", cannot_deny),
    ]
}

/// A PHP that learnt a few operations: a session for few hooks starts much sooner.
fn small() -> &'static Arena {
    static ARENA: OnceLock<Arena> = OnceLock::new();
    ARENA.get_or_init(|| {
        let arena = arena();
        let learning = session(arena.root(), "--profile").arg("--php").arg(arena.arg("php"));
        let learning = learning.arg("--syscalls").arg(SELECTED).start();
        let set = traps(&arena, OPERATIONS, TWINS, USER);
        assert_done(&run(&arena, USER, "Good", &set, TWINS), OPERATIONS, &set, TWINS);
        assert_eq!(learning.stop().status, 0);
        arena
    })
}

fn write() {
    let arena = small();
    let running = session(arena.root(), "--sandbox").arg("--php").arg(arena.arg("php")).start();
    let set = traps(arena, OPERATIONS, TWINS, USER);
    assert_done(&run(arena, USER, "Good", &set, TWINS), OPERATIONS, &set, TWINS);
    let set = traps(arena, OPERATIONS, ATTACKS, USER);
    assert_denied(&run(arena, USER, "Bad", &set, ATTACKS), OPERATIONS, &set, ATTACKS);
    Status::of(&running).assert_decided();
    running.stop();
}

fn chain() {
    let arena = arena();
    e2e::chain::nobody_is_left(arena.root(), |mode| session(arena.root(), mode).arg("--user").arg("nobody"));
}

fn monitor() {
    let arena = small();
    let running = session(arena.root(), "--monitor").arg("--php").arg(arena.arg("php")).start();
    let set = traps(arena, OPERATIONS, TWINS, USER);
    assert_done(&run(arena, USER, "Bad", &set, TWINS), OPERATIONS, &set, TWINS);
    let ran = running.stop();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    for operation in ["write", "unlink"] {
        let event = ran.violations().into_iter().find(|e| e["operation"] == operation);
        let event = event.unwrap_or_else(|| panic!("{operation} was not told: {}", ran.stderr));
        assert_eq!(event["action"], "logged", "{event:#}");
        assert_eq!(event["effect"], "yes", "{event:#}");
        assert_eq!(event["site"]["class"], "Bad", "{event:#}");
    }
}

/// At most so many calls get through.
fn killed(action: &str, most: usize) {
    let arena = small();
    let running = session(arena.root(), "--sandbox").arg("--php").arg(arena.arg("php"));
    let running = running.arg("--action").arg(action).start();
    for _ in 0..5 {
        let set = traps(arena, &["unlink"], ATTACKS, USER);
        let (folder, count) = (arena.arg("traps"), ATTACKS.to_string());
        let output = php(arena, USER, "attack.php", &["Bad", &folder, &count, "unlink"]).output();
        let output = output.expect("run PHP");
        let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
        assert_eq!(signal, Some(libc::SIGKILL), "the attacker was not killed: {output:?}");
        let leaks = set[0].leaks().expect("counted");
        assert!(leaks <= most, "{leaks} calls got through");
    }
    let set = traps(arena, OPERATIONS, TWINS, USER);
    assert_done(&run(arena, USER, "Good", &set, TWINS), OPERATIONS, &set, TWINS);
    let ran = running.stop();
    let expected = if action == "kill" { "killed" } else { "denied" };
    assert!(!ran.violations().is_empty());
    for event in ran.violations() {
        assert_eq!(event["action"], expected, "{event:#}");
    }
}

fn memory() {
    let arena = arena();
    let (script, data) = (arena.path("memory.php"), arena.path("data"));
    fs::write(
        &script,
        "<?php function save($to) { echo @fopen($to, 'r+') ? 'opened' : 'failed'; } save($argv[1]);",
    )
    .expect("write the script");
    fs::write(&data, "data").expect("write a file");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o666)).expect("open it");
    let procfs = arena.folder("procfs");
    let procfs = Procfs::mount(procfs);
    let save = |path: &Path| {
        let output =
            php(&arena, USER, "memory.php", &[&path.display().to_string()]).output().expect("run PHP");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let ways = [Path::new("/proc/self/mem"), &procfs.0.join("self/mem"), &procfs.0.join("thread-self/mem")];
    for path in ways {
        assert_eq!(save(path), "opened", "{}: nobody watches", path.display());
    }
    let learning = session(arena.root(), "--profile").arg("--php").arg(arena.arg("php")).start();
    assert_eq!(save(&data), "opened");
    assert_eq!(learning.stop().status, 0);
    let running = session(arena.root(), "--sandbox").arg("--php").arg(arena.arg("php")).start();
    assert_eq!(save(&data), "opened");
    for path in ways {
        assert_eq!(save(path), "failed", "{}", path.display());
    }
    let ran = running.stop();
    let reasons: Vec<_> = ran.violations().into_iter().map(|event| event["reason"].clone()).collect();
    assert_eq!(reasons, ["protected-object"; 3], "{}", ran.stderr);
}

fn refused(program: &Path, options: &[&str], profile: &Path) -> String {
    let mut command = Command::new(program);
    command.args(options).args(["--sandbox", "--profile-file"]).arg(profile).args(["--", "/usr/bin/true"]);
    let Output { status, stderr, .. } = command.output().expect("run the tracer");
    let text = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(125), "{text}");
    let lower = text.to_lowercase();
    assert!(lower.contains("lsm") && lower.contains("syscall view"), "it does not name both views: {text}");
    assert!(text.contains("Hint:"), "it does not say what to do: {text}");
    text
}

fn views() {
    let world = learnt();
    let (of_hooks, of_calls) = (world.profile(), world.arena.path("syscall.profile"));
    assert!(of_calls.exists(), "it is learnt in another test of this suite: run all of them");
    fs::set_permissions(&of_calls, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
    let kill = e2e::session::kernel_kill();
    let told = refused(&kill, &[], &of_hooks);
    assert!(told.contains("--lsm"), "it does not say what takes it: {told}");
    refused(&tracer(), &[], &of_hooks);
    let told = refused(&tracer(), &["--lsm"], &of_calls);
    for what in ["use it without --lsm", "phase3-lsm --lsm --profile"] {
        assert!(told.contains(what), "it does not say `{what}`: {told}");
    }
    for (profile, view) in [(&of_hooks, "lsm"), (&of_calls, "syscall")] {
        let output = Command::new(php_profile()).arg("show").arg(profile).output().expect("run php-profile");
        let text = String::from_utf8_lossy(&output.stdout).to_lowercase();
        let line = text.lines().find(|line| line.contains("view"));
        assert!(line.is_some_and(|line| line.contains(view)), "{view}: {text}");
    }
}

/// A profile that was learnt where calls can be denied, on a kernel where they cannot: it is never enforced in part
/// unless that is asked for.
fn cannot_deny() {
    let small = small();
    let mut profile = exported(&small.path("p.profile"));
    if exported(&learnt().profile())["operations"] != POLICED {
        limit(DENIES_CALLS);
    }
    profile["operations"] = "unlink,personality".into();
    let path = small.path("elsewhere.json");
    fs::write(&path, profile.to_string()).expect("write a profile");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
    let run = |options: &[&str]| {
        let mut command = Command::new(tracer());
        command.args(["--lsm", "--sandbox", "--duration", "1", "--php"]).arg(small.arg("php"));
        command.args(options).arg("--profile-file").arg(&path);
        let Output { status, stderr, .. } = command.output().expect("run the tracer");
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    };
    for options in [&[][..], &["--syscalls", "personality"]] {
        let (status, told) = run(options);
        assert_eq!(status, Some(125), "{told}");
        assert!(told.contains("no LSM hook sees `personality`"), "it does not say why: {told}");
        assert!(told.contains("Hint:"), "it does not say what to do: {told}");
    }
    let (_, told) = run(&["--syscalls", "unlink"]);
    assert!(told.contains("less is policed than the profile was learnt with"), "{told}");
}
