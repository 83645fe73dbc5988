//! Ctrl-C and SIGTERM end a measurement between two of its steps, so that everything that it started is ended.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail, ensure};
use nix::sys::signal::{SigHandler, Signal, signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Runs a benchmark. Signals are only noted meanwhile; Ctrl-C also ends what the benchmark has started, so whatever fails
/// after it, by an error or a panic, fails because of it. What was started is ended with what owns it.
pub fn deferred(run: impl FnOnce() -> Result<()>) -> Result<()> {
    defer()?;
    let ended = catch_unwind(AssertUnwindSafe(run));
    check()?;
    ended.unwrap_or_else(|_| bail!("failed: see above"))
}

fn defer() -> Result<()> {
    for which in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler does nothing but store to an atomic.
        unsafe { signal(which, SigHandler::Handler(note)) }?;
    }
    Ok(())
}

/// An error if there was one.
pub fn check() -> Result<()> {
    ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}
