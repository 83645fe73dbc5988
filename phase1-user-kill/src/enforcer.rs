//! SIGKILL through a pidfd.

use tracer::enforce::{Action, Enforcer, kill};
use tracer::process::{Miss, Process};

/// The strategy: the signal is all there is, and whatever the process does until it lands gets through.
pub struct UserKill;

impl Enforcer for UserKill {
    fn strategy(&self) -> &'static str {
        "user-kill"
    }

    fn enforce(&mut self, process: Result<&Process, Miss>) -> Action {
        kill(process)
    }
}
