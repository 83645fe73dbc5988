//! What is compared.

use std::process::Command;

use anyhow::{Context, Result};

use crate::programs;

/// A way of enforcing a profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Strategy {
    /// What it is called in the report.
    pub name: &'static str,
    /// The program.
    pub binary: &'static str,
    /// Its options in every mode.
    pub options: &'static [&'static str],
    /// Its options in a sandbox.
    pub sandbox: &'static [&'static str],
}

/// A plain consumer of a ring buffer, what phase 1 is measured by.
pub const PLAIN: Strategy = Strategy {
    name: "phase 1, woken by default",
    binary: "phase1-user-kill",
    options: &[],
    sandbox: &["--default-wakeup"],
};
/// `SIGKILL` from user space.
pub const USER_KILL: Strategy = plain("phase 1", "phase1-user-kill", &[]);
/// The original's way: PHP's own probes tell the function, and its twenty calls are policed.
pub const PROBES: Strategy =
    Strategy { name: "phase 1, USDT, its twenty calls", options: &["--attribution", "usdt"], ..USER_KILL };
/// From the kernel.
pub const KERNEL_KILL: Strategy = plain("phase 2", "phase2-kernel-kill", &[]);
/// The argument is rewritten.
pub const REWRITING: Strategy = plain("phase 3, rewriting", "phase3-lsm", &[]);
/// `-EPERM` from LSM hooks.
pub const LSM: Strategy = plain("phase 3, LSM", "phase3-lsm", &["--lsm"]);

/// All of them.
pub const ALL: [Strategy; 5] = [PLAIN, USER_KILL, KERNEL_KILL, REWRITING, LSM];

const fn plain(name: &'static str, binary: &'static str, options: &'static [&'static str]) -> Strategy {
    Strategy { name, binary, options, sandbox: &[] }
}

impl Strategy {
    /// Why it does not work here, as `--doctor` says; nothing if it does.
    pub fn unavailable(&self) -> Result<Option<String>> {
        let line = match self.binary {
            "phase3-lsm" if self.options.contains(&"--lsm") => "phase3-lsm --lsm",
            "phase3-lsm" => "phase3-lsm (rewriting)",
            binary => binary,
        };
        let output = Command::new(programs::path(self.binary)?).arg("--doctor").output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let said = text
            .lines()
            .find_map(|l| Some(l.split_once(line)?.1))
            .with_context(|| format!("{} --doctor says nothing of {line}:\n{text}", self.binary))?;
        Ok(said.split_once("does not work here: ").map(|(_, why)| why.to_owned()))
    }

    /// The file of its profile: strategies that see the same calls share one.
    pub fn profile(&self) -> &'static str {
        match *self {
            PROBES => "probes.profile",
            _ if self.learns_by_hooks() => "lsm.profile",
            _ => "calls.profile",
        }
    }

    /// Whether an unauthorized call may have its effect although its path lies in memory that could be rewritten.
    pub fn leaks(&self) -> bool {
        self.binary != REWRITING.binary
    }

    /// Whether a profile is learnt by hooks, not by system calls.
    pub fn learns_by_hooks(&self) -> bool {
        self.options.contains(&"--lsm")
    }
}

/// The name of the only strategy to measure, for trying a change.
const ONLY: &str = "BENCH_ONLY";

/// Those that work here; what of the others is the reason is recorded.
pub fn here(record: &mut crate::record::Record) -> Result<Vec<Strategy>> {
    let only = std::env::var(ONLY).ok();
    let mut here = Vec::new();
    for strategy in ALL.into_iter().filter(|s| only.as_ref().is_none_or(|only| only == s.name)) {
        match strategy.unavailable()? {
            None => here.push(strategy),
            Some(why) => record.missing(strategy.name, &why)?,
        }
    }
    Ok(here)
}
