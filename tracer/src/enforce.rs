//! What a strategy does about a violation.

use crate::process::{Miss, Process};

/// What was done, as events have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing but this.
    Logged,
    /// The process was sent SIGKILL.
    Killed,
    /// A hook returned an error.
    Denied,
    /// An argument was rewritten, so that the call fails.
    Rewritten,
    /// It should have been, and was not.
    Missed(Miss),
}

impl Action {
    /// As in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Logged => "logged",
            Self::Killed => "killed",
            Self::Denied => "denied",
            Self::Rewritten => "rewritten",
            Self::Missed(_) => "missed",
        }
    }
}

/// SIGKILL through a pidfd.
pub fn kill(process: Result<&Process, Miss>) -> Action {
    match process.and_then(Process::kill) {
        Ok(()) => Action::Killed,
        Err(miss) => Action::Missed(miss),
    }
}

/// A strategy, in the consumer's thread: called for a violation before anything is allocated or formatted.
pub trait Enforcer: Send {
    /// As in events: `user-kill`.
    fn strategy(&self) -> &'static str;
    /// `process` is the one that started when the kernel says, or why it could not be had.
    fn enforce(&mut self, process: Result<&Process, Miss>) -> Action;
}
