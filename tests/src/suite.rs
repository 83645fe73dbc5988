//! The runner: tests that need root, and what a kernel cannot do.

use std::any::Any;
use std::fs;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Completion, Conclusion, Failed, Trial};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// `fmod_ret/__x64_sys_*`
pub const DENIES_NO_CALL: &str =
    "this kernel lets no program change what a call returns (fmod_ret/__x64_sys_*)";
/// The other way round.
pub const DENIES_CALLS: &str =
    "this kernel lets a program change what a call returns (fmod_ret/__x64_sys_*): nothing to refuse";
/// Linux 6.17.
pub const HAS_NO_FILE_SETATTR: &str = "this kernel has no file_setattr (Linux 6.17 has)";
/// Linux 6.5, or `secretmem.enable` on the command line.
pub const HAS_NO_SECRET_MEMORY: &str = "this kernel has no memfd_secret unless told to (Linux 6.5 has)";
/// Linux 6.10.
pub const LINKS_NO_DESCRIPTOR: &str =
    "this kernel lets no ordinary user link a descriptor (linkat with AT_EMPTY_PATH; Linux 6.10 does)";

/// Of what is refused elsewhere.
pub const REWRITES: &str = "this kernel lets programs rewrite arguments: nothing to refuse";
/// Likewise.
pub const DENIES: &str = "this kernel lets programs deny calls at hooks: nothing to refuse";

/// Reasons for which a test may be skipped: what a kernel cannot do. A skip for any other is a failure.
pub const KNOWN_LIMITS: &[&str] = &[
    DENIES_NO_CALL,
    DENIES_CALLS,
    HAS_NO_FILE_SETATTR,
    HAS_NO_SECRET_MEMORY,
    LINKS_NO_DESCRIPTOR,
    REWRITES,
    DENIES,
];

/// How often something is done: so often natively, and fewer times where the processor is emulated, which is ten
/// times as slow.
pub fn times(natively: usize, emulated: usize) -> usize {
    static EMULATED: LazyLock<bool> =
        LazyLock::new(|| fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("QEMU TCG CPU")));
    if *EMULATED { emulated } else { natively }
}

/// How long each took that has run.
static TOOK: Mutex<Vec<(Duration, String)>> = Mutex::new(Vec::new());
/// So many of them are named at the end.
const SLOWEST: usize = 5;

/// What a test ends with that this kernel cannot do.
struct Limit(&'static str);

/// Ends a test as skipped.
pub fn limit(reason: &'static str) -> ! {
    assert!(KNOWN_LIMITS.contains(&reason), "not a known limit: {reason}");
    std::panic::resume_unwind(Box::new(Limit(reason)))
}

/// A test.
pub fn test(name: &str, run: impl FnOnce() + Send + 'static) -> Trial {
    let told = name.to_owned();
    Trial::ignorable_test(name, move || {
        let since = Instant::now();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        TOOK.lock().expect("nobody panics with it").push((since.elapsed(), told));
        match ended {
            Ok(()) => Ok(Completion::Completed),
            Err(panic) => outcome(&*panic),
        }
    })
}

fn outcome(panic: &(dyn Any + Send)) -> Result<Completion, Failed> {
    if let Some(Limit(reason)) = panic.downcast_ref() {
        return Ok(Completion::ignored_with(reason));
    }
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
    Err(Failed::from(text.unwrap_or_default()))
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

/// One more procfs.
pub struct Procfs(pub PathBuf);

impl Procfs {
    /// Over a folder.
    pub fn mount(at: PathBuf) -> Self {
        const NONE: Option<&str> = None;
        mount(Some("proc"), &at, Some("proc"), MsFlags::empty(), NONE).expect("mount a procfs");
        Self(at)
    }
}

impl Drop for Procfs {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).expect("unmount it");
    }
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
    std::process::exit(i32::from(conclusion.has_failed()))
}

#[cfg(test)]
mod tests {
    use libtest_mimic::Completion;

    use super::{DENIES_NO_CALL, limit, outcome};

    #[test]
    fn what_a_kernel_cannot_do_is_skipped_for_a_known_reason() {
        let ended = |reason: &'static str| {
            let panic = std::panic::catch_unwind(|| limit(reason)).expect_err("it ends the test");
            outcome(&*panic)
        };
        let Ok(Completion::Ignored { reason }) = ended(DENIES_NO_CALL) else { panic!("not skipped") };
        assert_eq!(reason.as_deref(), Some(DENIES_NO_CALL));
        assert!(ended("another one").is_err());
    }
}
