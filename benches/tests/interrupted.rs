//! Ctrl-C and SIGTERM end a benchmark with all that it has started, and nothing of it is left.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use benches::programs::IN_GUEST;
use e2e::fpm::wait_until;
use e2e::session::ends_with_test;
use e2e::suite::{self, test};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// Where they work.
const FOLDER: &str = "/dev/shm";
const PINS: &str = "/sys/fs/bpf/php-tracer";

fn main() {
    if nix::unistd::geteuid().is_root() {
        suite::own_pins_and_sockets();
        mount(Some("tmpfs"), FOLDER, Some("tmpfs"), MsFlags::empty(), Some("mode=1777"))
            .expect("mount a tmpfs");
    }
    let tests = [
        ("leak", Signal::SIGINT, Moment::Start),
        ("latency", Signal::SIGINT, Moment::Start),
        ("overhead", Signal::SIGINT, Moment::Start),
        ("leak", Signal::SIGINT, Moment::Sandbox),
        ("latency", Signal::SIGINT, Moment::Sandbox),
        ("latency", Signal::SIGTERM, Moment::Sandbox),
        ("overhead", Signal::SIGTERM, Moment::Sandbox),
    ]
    .map(|(bench, signal, moment)| {
        let name = format!("{bench}_leaves_nothing_after_{signal}_{}", moment.told());
        test(&name.to_lowercase(), move || interrupted(bench, signal, moment))
    });
    suite::main(tests.into())
}

/// When it is interrupted.
#[derive(Clone, Copy)]
enum Moment {
    /// It has just begun its work.
    Start,
    /// A session of its own is ready, and enforces.
    Sandbox,
}

impl Moment {
    fn told(self) -> &'static str {
        match self {
            Self::Start => "at_its_start",
            Self::Sandbox => "in_a_sandbox",
        }
    }

    fn has_come(self, bench: Pid) -> bool {
        match self {
            Self::Start => members(bench) > 1 && !in_folder(FOLDER).is_empty(),
            Self::Sandbox => sessions(bench) > 0,
        }
    }
}

/// Children of it that are sandboxes and have something attached.
fn sessions(bench: Pid) -> usize {
    let is_sandbox = |process: &PathBuf| {
        let said = fs::read_to_string(process.join("cmdline")).unwrap_or_default();
        said.split('\0').any(|argument| argument == "--sandbox")
    };
    let is_attached = |process: &PathBuf| {
        let files = fs::read_dir(process.join("fdinfo")).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_to_string(file.path()).ok())
            .any(|about| about.contains("link_type:"))
    };
    let processes =
        in_folder("/proc").into_iter().filter(|process| stat(process, PARENT) == bench.to_string());
    processes.filter(is_sandbox).filter(is_attached).count()
}

/// Fields of `/proc/PID/stat` after the name.
const PARENT: usize = 1;
const GROUP: usize = 2;

fn stat(process: &Path, field: usize) -> String {
    let text = fs::read_to_string(process.join("stat")).unwrap_or_default();
    let fields = text.rsplit(") ").next().unwrap_or_default();
    fields.split(' ').nth(field).unwrap_or_default().into()
}

/// System V segments that it has made.
fn segments(bench: Pid) -> usize {
    const CREATOR: usize = 4;
    let text = fs::read_to_string("/proc/sysvipc/shm").expect("the kernel's list");
    let creators = text.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().nth(CREATOR));
    creators.filter(|creator| *creator == bench.to_string()).count()
}

/// The benchmark that cargo built last beside this test.
fn built(bench: &str) -> PathBuf {
    let own = std::env::current_exe().expect("own path");
    let entries = fs::read_dir(own.parent().expect("a folder")).expect("read it").flatten();
    let is_it = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&format!("{bench}-")) && path.extension().is_none()
    };
    let found = entries.map(|entry| entry.path()).filter(|path| is_it(path));
    found
        .max_by_key(|path| path.metadata().and_then(|about| about.modified()).expect("its time"))
        .unwrap_or_else(|| panic!("{bench} is not built: cargo build --workspace --all-targets"))
}

/// How many processes a group has.
fn members(group: Pid) -> usize {
    in_folder("/proc").iter().filter(|process| stat(process, GROUP) == group.to_string()).count()
}

fn in_folder(path: &str) -> Vec<PathBuf> {
    fs::read_dir(path).expect("read a folder").flatten().map(|entry| entry.path()).collect()
}

fn interrupted(bench: &str, signal: Signal, moment: Moment) {
    let mut command = Command::new(built(bench));
    // As in a guest: nothing is built, and no record is kept.
    command
        .args(["--bench", "--quick"])
        .env(IN_GUEST, "a test")
        .env("TMPDIR", FOLDER)
        .env("RUST_BACKTRACE", "0");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    let mut child = ends_with_test(&mut command).spawn().expect("start a benchmark");
    let group = Pid::from_raw(child.id() as i32);
    wait_until("it is at work", || moment.has_come(group));
    std::thread::sleep(Duration::from_secs(1));
    // A terminal's reaches all of its group, a supervisor's the process that it knows.
    match signal {
        Signal::SIGINT => killpg(group, signal),
        _ => kill(group, signal),
    }
    .expect("interrupt it");
    let since = Instant::now();
    let mut said = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut said).expect("what it says");
    let status = child.wait().expect("its end");
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    assert!(since.elapsed() < Duration::from_secs(60), "{:?}", since.elapsed());
    // Who is killed with it needs a moment.
    wait_until("all have ended", || members(group) == 0);
    assert_eq!(in_folder(FOLDER), Vec::<PathBuf>::new());
    assert_eq!(segments(group), 0, "System V segments are left");
    assert!(!Path::new(PINS).exists(), "{PINS} is left");
}
