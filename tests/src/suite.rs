//! The runner: tests that need root, counted skips.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Conclusion, Failed, Trial};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// Reasons for which a test may be skipped also under `CI=true`, each with what it waits for.
pub const KNOWN_LIMITS: &[&str] = &[];

/// How long each took that has run.
static TOOK: Mutex<Vec<(Duration, String)>> = Mutex::new(Vec::new());
/// So many of them are named at the end.
const SLOWEST: usize = 5;

/// A test.
pub fn test(name: &str, run: impl FnOnce() + Send + 'static) -> Trial {
    let told = name.to_owned();
    Trial::test(name, move || {
        let since = Instant::now();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        TOOK.lock().expect("nobody panics with it").push((since.elapsed(), told));
        ended.map_err(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
                .unwrap_or_default();
            Failed::from(text)
        })
    })
}

/// Pins and control sockets have fixed names, one set for a machine. Here they are this suite's alone, and gone
/// with it, however it ends.
pub fn own_pins_and_sockets() {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).expect("make mounts private");
    // What is below must not appear when a test unmounts ours.
    while umount2("/sys/fs/bpf", MntFlags::MNT_DETACH).is_ok() {}
    mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), NONE).expect("mount a bpffs");
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).expect("mount /run");
}

/// Runs them one at a time (they share the machine's PHP), and exits.
pub fn main(tests: Vec<Trial>) -> ! {
    let mut args = Arguments::from_args();
    args.test_threads = Some(1);
    assert!(
        nix::unistd::geteuid().is_root(),
        "the end-to-end suite needs root: run `make test` as root or with sudo"
    );
    let conclusion: Conclusion = libtest_mimic::run(&args, tests);
    println!(
        "e2e: {} passed, {} failed, {} skipped",
        conclusion.num_passed, conclusion.num_failed, conclusion.num_ignored
    );
    let mut took = std::mem::take(&mut *TOOK.lock().expect("nobody panics with it"));
    took.sort_unstable();
    for (time, name) in took.iter().rev().take(SLOWEST) {
        println!("slowest: {:>5.1} s  {name}", time.as_secs_f64());
    }
    let unexpected = std::env::var_os("CI").is_some() && conclusion.num_ignored as usize > KNOWN_LIMITS.len();
    if unexpected {
        eprintln!("under CI a skip that is not on the list of known limits is a failure");
    }
    std::process::exit(i32::from(unexpected || conclusion.has_failed()))
}
