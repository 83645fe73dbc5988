//! SIGKILL through a pidfd.

use tracer::enforce::{Action, Enforcer};
use tracer::process::{Miss, Process};

/// The strategy: the signal is all there is, and whatever the process does until it lands gets through.
pub struct UserKill;

impl Enforcer for UserKill {
    fn strategy(&self) -> &'static str {
        "user-kill"
    }

    fn enforce(&mut self, process: Result<&Process, Miss>) -> Action {
        match process.and_then(Process::kill) {
            Ok(()) => Action::Killed,
            Err(miss) => Action::Missed(miss),
        }
    }
}
