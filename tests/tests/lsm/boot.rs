//! What takes another kernel command line.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::arena::{Status, USER, pin, succeeds};
use e2e::session::{ends_with_test, tracer};
use e2e::suite::test;
use libtest_mimic::Trial;
use serde_json::Value;

use super::world::{ATTACKS, TWINS, arena, assert_denied, assert_done, run, session, traps};

const PROCESSES: usize = 8;
const LONG: Duration = Duration::from_secs(30);

fn has_word(word: &str) -> bool {
    fs::read_to_string("/proc/cmdline").is_ok_and(|line| line.split_ascii_whitespace().any(|w| w == word))
}

/// Whether the kernel was told to switch tasks everywhere.
pub fn is_fully_preemptible() -> bool {
    has_word("preempt=full")
}

/// Whether BPF programs are no LSM here, because the command line says so.
pub fn is_without_bpf() -> bool {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let list = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("lsm="));
    list.is_some_and(|list| list.split(',').all(|name| name != "bpf"))
}

/// With `preempt=full`.
pub fn preemption() -> Vec<Trial> {
    vec![test("nobody_is_judged_by_the_site_of_who_preempts_it", hammer)]
}

/// With `lsm=` and no `bpf` in it.
pub fn fallback() -> Vec<Trial> {
    vec![
        test("without_bpf_in_the_list_the_security_functions_decide", functions),
        test("without_bpf_in_the_list_every_hook_has_its_function", whole),
    ]
}

fn hammer() {
    let arena = arena();
    let folder = arena.folder("hammer");
    let watch = |mode: &str| session(arena.root(), mode).arg("--php").arg(arena.arg("php"));
    let php =
        |class: &str, what: &str| arena.php("hammer.php", &[class, &folder.display().to_string(), what]);
    let selected = "symlink,unlink,mkdir,rmdir";
    let learning = watch("--profile").arg("--syscalls").arg(selected).start();
    for class in ["Left", "Right"] {
        succeeds(&mut php(class, "learn"));
    }
    assert_eq!(learning.stop().status, 0);
    let running = watch("--sandbox").start();
    let start = |n: usize| {
        let mut command = php(["Left", "Right"][n % 2], "hammer");
        pin(&mut command, Some(n / 2 % 2));
        ends_with_test(command.stderr(Stdio::inherit())).spawn().expect("start PHP")
    };
    let processes: Vec<_> = (0..PROCESSES).map(start).collect();
    std::thread::sleep(LONG);
    fs::write(folder.join("stop"), "").expect("tell them to stop");
    let (mut allowed, mut denied) = (0, 0);
    for process in processes {
        let output = process.wait_with_output().expect("wait for PHP");
        assert!(output.status.success(), "{output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(told["refused"], 0, "allowed calls were denied: {told}");
        assert_eq!(told["leaked"], 0, "forbidden calls were allowed: {told}");
        allowed += told["allowed"].as_u64().unwrap_or(0);
        denied += told["denied"].as_u64().unwrap_or(0);
    }
    let status = Status::of(&running);
    status.assert_decided();
    assert_eq!(status.sum("violations: "), denied, "{}", status.text());
    assert!(
        !status.text().contains("no scratch space") || status.sum("no scratch space") == 0,
        "{}",
        status.text()
    );
    running.stop();
    assert!(allowed > 1000 && denied > 1000, "{allowed} allowed, {denied} denied");
    println!("\n{allowed} allowed and {denied} denied calls of {PROCESSES} processes on two processors");
}

fn functions() {
    const OPERATIONS: &[&str] = &["unlink", "create", "rename", "mkdir", "kill"];
    let arena = arena();
    let watch = |mode: &str| session(arena.root(), mode).arg("--php").arg(arena.arg("php"));
    let learning = watch("--profile").arg("--syscalls").arg("unlink,openat:create,rename,mkdir,kill").start();
    learning.has_said("attached to the functions security_*");
    let set = traps(&arena, OPERATIONS, TWINS, USER);
    assert_done(&run(&arena, USER, "Good", &set, TWINS), OPERATIONS, &set, TWINS);
    assert_eq!(learning.stop().status, 0);
    let running = watch("--sandbox").start();
    running.has_said("attached to the functions security_*");
    let set = traps(&arena, OPERATIONS, TWINS, USER);
    assert_done(&run(&arena, USER, "Good", &set, TWINS), OPERATIONS, &set, TWINS);
    let set = traps(&arena, OPERATIONS, ATTACKS, USER);
    assert_denied(&run(&arena, USER, "Bad", &set, ATTACKS), OPERATIONS, &set, ATTACKS);
    Status::of(&running).assert_decided();
    running.stop();
}

/// Loads and attaches what the default selection needs.
fn whole() {
    let output = Command::new(tracer()).args(["--lsm", "--doctor"]).output().expect("run the tracer");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    let is_good = |what: &str| told.lines().any(|line| line.starts_with("ok ") && line.contains(what));
    assert!(is_good("programs load"), "{told}");
    assert!(is_good("tracepoints            attach"), "{told}");
}
