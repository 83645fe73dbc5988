//! What the kernel side left to do.

use tracer::enforce::{Action, Enforcer, kill};
use tracer::process::{Miss, Process};

/// By the time that user space hears of a violation, the kernel side has blocked it. Who is killed from here is whom
/// the signal failed for, and who reached a protected object by a path that only user space can follow.
pub struct Blocked {
    /// As in events.
    pub strategy: &'static str,
}

impl Enforcer for Blocked {
    fn strategy(&self) -> &'static str {
        self.strategy
    }

    fn enforce(&mut self, process: Result<&Process, Miss>) -> Action {
        kill(process)
    }
}
