//! `--doctor`: every strategy by name, and for each that does not work why, and what to do. What works is for the
//! machine to say; the words must fit it.

use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::session::{Ran, kernel_kill, tracer};
use e2e::suite::test;
use libtest_mimic::Trial;

use super::place::{Place, finished};

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("doctor_lists_every_strategy", lists_every_strategy),
        test("doctor_tells_of_lockdown_and_of_the_active_lsms", tells_of_securityfs),
        test("doctor_without_root", without_root),
        test("doctor_in_a_pid_namespace", in_a_pid_namespace),
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
    let rewriting = kernel_kill().with_file_name("phase3-lsm");
    for (binary, own) in [(tracer(), 0), (kernel_kill(), 1), (rewriting, 2)] {
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
