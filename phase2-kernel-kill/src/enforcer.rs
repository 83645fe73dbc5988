//! What the kernel side left to do.

use tracer::enforce::{Action, Enforcer, kill};
use tracer::process::{Miss, Process};

/// The strategy: by the time that user space hears of a violation, the kernel side has sent the signal. Who is
/// killed from here is whom that failed for, and who reached a protected object by a path that only user space
/// can follow (a link, a relative path).
pub struct KernelKill;

impl Enforcer for KernelKill {
    fn strategy(&self) -> &'static str {
        "kernel-kill"
    }

    fn enforce(&mut self, process: Result<&Process, Miss>) -> Action {
        kill(process)
    }
}
