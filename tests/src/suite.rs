//! The runner: tests that need root, counted skips.

use libtest_mimic::{Arguments, Conclusion, Failed, Trial};

/// Reasons for which a test may be skipped also under `CI=true`, each with what it waits for.
pub const KNOWN_LIMITS: &[&str] = &[];

/// A test.
pub fn test(name: &str, run: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).map_err(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
                .unwrap_or_default();
            Failed::from(text)
        })
    })
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
    let unexpected = std::env::var_os("CI").is_some() && conclusion.num_ignored as usize > KNOWN_LIMITS.len();
    if unexpected {
        eprintln!("under CI a skip that is not on the list of known limits is a failure");
    }
    std::process::exit(i32::from(unexpected || conclusion.has_failed()))
}
