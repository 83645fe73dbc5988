//! Ctrl-C ends a benchmark with all that it has started, and nothing of it is left.

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
use nix::sys::signal::{Signal, killpg};
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
    let tests = ["leak", "latency", "overhead"]
        .map(|bench| test(&format!("{bench}_leaves_nothing_when_interrupted"), move || interrupted(bench)));
    suite::main(tests.into())
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
    let is_of_group = |entry: &fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(2)) == Some(&group.to_string())
    };
    fs::read_dir("/proc").expect("read /proc").flatten().filter(is_of_group).count()
}

fn in_folder(path: &str) -> Vec<PathBuf> {
    fs::read_dir(path).expect("read a folder").flatten().map(|entry| entry.path()).collect()
}

fn interrupted(bench: &str) {
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
    wait_until("it is at work", || members(group) > 1 && !in_folder(FOLDER).is_empty());
    std::thread::sleep(Duration::from_secs(1));
    killpg(group, Signal::SIGINT).expect("interrupt it");
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
    assert!(!Path::new(PINS).exists(), "{PINS} is left");
}
