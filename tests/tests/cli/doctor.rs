//! `--doctor`: every strategy by name, and for each that does not work why, and what to do. What works is for the
//! machine to say; the words must fit it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use e2e::session::{Ran, exported, kernel_kill, rewriting, tracer};
use e2e::suite::{DENIES, REWRITES, limit, test};
use libtest_mimic::Trial;

use super::place::{PHP, Place, USER, finished};

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("doctor_lists_every_strategy", lists_every_strategy),
        test("doctor_tells_of_lockdown_and_of_the_active_lsms", tells_of_securityfs),
        test("doctor_without_root", without_root),
        test("doctor_in_a_pid_namespace", in_a_pid_namespace),
        test("doctor_where_lockdown_forbids_rewriting_nothing_starts", no_rewriting),
        test("doctor_where_no_program_may_deny_nothing_starts", no_denying),
    ]
}

const NAMES: [&str; 4] =
    ["phase1-user-kill", "phase2-kernel-kill", "phase3-lsm (rewriting)", "phase3-lsm --lsm"];

/// A line of the block about strategies.
struct Told {
    works: bool,
    /// What follows after `works here: `.
    why: String,
    hint: Option<String>,
}

fn doctor(command: &mut Command) -> Ran {
    let ran = finished(&command.arg("--doctor").output().expect("run the doctor"));
    assert!(!ran.stderr.contains("libbpf:") && !ran.stderr.contains("panicked"), "{}", ran.stderr);
    ran
}

/// The block that the doctor ends with.
fn strategies(ran: &Ran) -> [Told; 4] {
    let block = ran.stderr.rsplit("\n\n").next().expect("a block");
    let mut lines = block.lines().peekable();
    let told = NAMES.map(|name| {
        let line = lines.next().unwrap_or_default();
        let said = line.get(6..).and_then(|l| l.strip_prefix(name)).unwrap_or_default();
        let works = said.starts_with(" works here: ");
        let (_, why) = said.split_once(" here: ").unwrap_or_else(|| panic!("no {name} in: {}", ran.stderr));
        let hint = lines.next_if(|l| l.starts_with("      Hint: "));
        assert!(works || said.starts_with(" does not work here: "), "{line}");
        assert!(works || hint.is_some(), "no hint: {line}");
        Told { works, why: why.into(), hint: hint.map(|h| h.trim().into()) }
    });
    assert_eq!(lines.next(), None, "{}", ran.stderr);
    told
}

fn lists_every_strategy() {
    for (binary, own) in [(tracer(), 0), (kernel_kill(), 1), (rewriting(), 2)] {
        let ran = doctor(&mut Command::new(binary));
        let told = strategies(&ran);
        assert!(told[0].works && told[1].works, "{}", ran.stderr);
        assert_eq!(ran.status, if told[own].works { 0 } else { 125 }, "{}", ran.stderr);
        rewriting_fits(&told[2], Path::new("/sys/kernel/security"));
        lsm_fits(&told[3], Path::new("/sys/kernel/security"));
    }
}

/// Files of the kernel are shown to it that a test wrote: they make nothing work, and nothing fail.
fn tells_of_securityfs() {
    let place = Place::new();
    place.file("lockdown", "none [integrity] confidentiality\n");
    place.file("lsm", "capability,yama");
    let before = strategies(&doctor(&mut Command::new(tracer())));
    let script =
        format!("mount --bind '{}' /sys/kernel/security && exec \"$0\" \"$@\"", place.root().display());
    let ran = doctor(Command::new("unshare").args(["--mount", "sh", "-c", &script]).arg(tracer()));
    let told = strategies(&ran);
    assert_eq!(told.each_ref().map(|t| t.works), before.each_ref().map(|t| t.works), "{}", ran.stderr);
    rewriting_fits(&told[2], place.root());
    lsm_fits(&told[3], place.root());
}

fn rewriting_fits(told: &Told, securityfs: &Path) {
    if told.works {
        assert!(told.why.contains("bpf_probe_write_user"), "{}", told.why);
        return;
    }
    let hint = told.hint.as_deref().unwrap_or_default();
    match fs::read_to_string(securityfs.join("lockdown")) {
        Ok(modes) if modes.contains("[integrity]") => {
            assert!(told.why.starts_with("lockdown is integrity: "), "{}", told.why);
            assert!(hint.contains("boot without lockdown=integrity"), "{hint}");
        }
        Ok(modes) => assert!(told.why.contains("policy"), "{modes}: {}", told.why),
        Err(_) => assert!(hint.contains("mount -t securityfs"), "{}: {hint}", told.why),
    }
}

fn lsm_fits(told: &Told, securityfs: &Path) {
    let active = fs::read_to_string(securityfs.join("lsm")).ok();
    let listed = active.as_deref().is_some_and(|a| a.trim().split(',').any(|l| l == "bpf"));
    let hint = told.hint.as_deref().unwrap_or_default();
    assert!(!listed || told.works || told.why.contains("is refused at load"), "{}", told.why);
    // A list that says that it cannot work may be a test's.
    if told.works && told.hint.is_none() {
        assert_eq!(told.why, "an LSM program denied a call");
    } else if listed {
        assert!(hint.contains("CONFIG_BPF_LSM"), "{}: {hint}", told.why);
    } else {
        assert!(hint.contains(",bpf"), "{}: {hint}", told.why);
    }
    // The kernel has `capability` unasked.
    if let Some(active) = active.filter(|_| !listed && told.hint.is_some()) {
        let named: Vec<&str> = active.trim().split(',').filter(|l| *l != "capability").collect();
        let parameter = format!("lsm={},bpf", named.join(","));
        assert!(hint.contains(&parameter), "no {parameter}: {hint}");
    }
}

/// None works, for the same reason.
fn assert_none(ran: &Ran, hint: &str) {
    assert_eq!(ran.status, 125, "{}", ran.stderr);
    for told in strategies(ran) {
        assert!(!told.works, "{}", ran.stderr);
        assert!(told.hint.is_some_and(|h| h.contains(hint)), "no {hint}: {}", ran.stderr);
    }
}

fn without_root() {
    let place = Place::new();
    // Where an ordinary user can run it.
    let copy = place.path("tracer");
    fs::copy(tracer(), &copy).expect("copy");
    let ordinary = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    assert_none(&doctor(Command::new("setpriv").args(ordinary).arg(copy)), "sudo");
}

fn in_a_pid_namespace() {
    assert_none(&doctor(Command::new("unshare").args(["--pid", "--fork"]).arg(tracer())), "--pid=host");
}

/// Whether this kernel is older than any that works.
pub fn is_too_old() -> bool {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's version");
    let mut numbers = text.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    (numbers.next(), numbers.next()) < (Some(6), Some(1))
}

/// On such a one: these, and no others.
pub fn too_old() -> Vec<Trial> {
    vec![
        test("doctor_tells_that_the_kernel_is_too_old", tells_too_old),
        test("doctor_where_the_kernel_is_too_old_nothing_starts", nothing_on_too_old),
    ]
}

const TOO_OLD: [&str; 2] =
    ["Linux 5.10 has no task storage for programs at the system calls", "Hint: boot Linux 6.1 or later"];

/// All that there are.
fn programs() -> [fn() -> Command; 4] {
    [|| Command::new(tracer()), || Command::new(kernel_kill()), || Command::new(rewriting()), at_hooks]
}

fn tells_too_old() {
    for program in programs() {
        let ran = doctor(&mut program());
        assert_eq!(ran.status, 125, "{}", ran.stderr);
        for told in strategies(&ran) {
            assert!(!told.works, "{}", ran.stderr);
            assert_eq!([&told.why[..], told.hint.as_deref().unwrap_or_default()], TOO_OLD);
        }
    }
}

fn nothing_on_too_old() {
    let place = Place::new();
    let learnt = place.arg("learnt.profile");
    for program in programs() {
        nothing_starts(&place, program, &[("--profile", &learnt)], TOO_OLD);
    }
}

/// A profile of the syscall view, and one of the LSM view that grants nothing.
fn profiles(place: &Place) -> [String; 2] {
    let (of_calls, of_hooks) = (place.path("calls.profile"), place.path("hooks.json"));
    let learning = Command::new(kernel_kill())
        .args(["--profile", "--user", USER, "--profile-file"])
        .arg(&of_calls)
        .args(["--", PHP, "-r", ";"])
        .output()
        .expect("learn");
    assert!(learning.status.success(), "{learning:?}");
    let mut profile = exported(&of_calls);
    (profile["view"], profile["grants"]) = ("lsm".into(), serde_json::json!([]));
    fs::write(&of_hooks, profile.to_string()).expect("write a profile");
    fs::set_permissions(&of_hooks, fs::Permissions::from_mode(0o600)).expect("chmod");
    [of_calls, of_hooks].map(|path| path.display().to_string())
}

/// Whatever it is asked for.
fn nothing_starts(place: &Place, command: impl Fn() -> Command, modes: &[(&str, &str)], told: [&str; 2]) {
    place.folder("data");
    let made = place.path("data/made");
    for (mode, profile) in modes {
        let mut command = command();
        command.args([mode, "--user", USER, "--profile-file", profile, "--", "/usr/bin/touch"]).arg(&made);
        let ran = finished(&command.output().expect("run the tracer"));
        assert_eq!(ran.status, 125, "{}", ran.stderr);
        for what in told {
            assert!(ran.stderr.contains(what), "no `{what}` in: {}", ran.stderr);
        }
        assert!(!made.exists(), "{mode}: COMMAND was started");
    }
    assert!(!place.path("learnt.profile").exists(), "a profile was written");
}

fn no_rewriting() {
    let [.., told, _] = strategies(&doctor(&mut Command::new(rewriting())));
    if told.works {
        limit(REWRITES);
    }
    let place = Place::new();
    let [of_calls, _] = profiles(&place);
    let modes =
        [("--profile", &place.arg("learnt.profile")[..]), ("--monitor", &of_calls), ("--sandbox", &of_calls)];
    let told = ["lockdown", "Hint: use phase2-kernel-kill"];
    nothing_starts(&place, || Command::new(rewriting()), &modes, told);
}

fn no_denying() {
    let [.., told] = strategies(&doctor(&mut Command::new(rewriting())));
    if told.works {
        limit(DENIES);
    }
    let place = Place::new();
    let [_, of_hooks] = profiles(&place);
    let modes =
        [("--profile", &place.arg("learnt.profile")[..]), ("--monitor", &of_hooks), ("--sandbox", &of_hooks)];
    nothing_starts(&place, at_hooks, &modes, ["phase3-lsm --lsm: an LSM program ", "Hint: "]);
}

fn at_hooks() -> Command {
    let mut command = Command::new(rewriting());
    command.arg("--lsm");
    command
}
