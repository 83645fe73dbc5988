//! The command line that the three binaries share.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgGroup, Parser, ValueEnum};
use shared::op::Selection;
use shared::profile::Context;

/// Learns which system calls each PHP function makes, and then lets it do that and nothing else.
///
/// Without any argument: the demonstration, from files inside the binary.
#[derive(Debug, Clone, Parser)]
#[command(
    version,
    disable_version_flag = false,
    group(ArgGroup::new("what").args(["profile", "monitor", "sandbox", "doctor", "unpersist"])),
    after_help = "Without COMMAND the running php-fpm processes are watched, or those of the images named by --php.\n\
                  Exit status: COMMAND's own (128+N for a signal); 125 error of the tracer, 126 COMMAND not\n\
                  executable, 127 COMMAND not found; 3 if --exit-code was given and there was a violation.\n\
                  `ctl mode monitor|sandbox`, `ctl reload` and `ctl status`, as the only arguments, ask a running session."
)]
pub struct Args {
    /// Learn: write what every function does to the profile
    #[arg(long)]
    pub profile: bool,
    /// Log and count what the profile does not allow
    #[arg(long)]
    pub monitor: bool,
    /// Block what the profile does not allow
    #[arg(long)]
    pub sandbox: bool,
    /// What this kernel and this PHP can do, and what to do about the rest
    #[arg(long)]
    pub doctor: bool,

    /// End what an earlier session with --persist left
    #[arg(long)]
    pub unpersist: bool,

    /// The profile to write or to enforce
    #[arg(long, value_name = "PATH", default_value = "php.profile")]
    pub profile_file: PathBuf,
    /// Add to the profile instead of starting a new one
    #[arg(long, requires = "profile")]
    pub merge: bool,
    /// Overwrite a profile; enforce an incomplete one
    #[arg(long)]
    pub force: bool,
    /// Store and match files relative to a named root: app=/srv/app/releases/* (repeatable)
    #[arg(long = "root", value_name = "NAME=PATTERN")]
    pub roots: Vec<String>,
    /// Learn code that is included from this stream wrapper, e.g. vfs, instead of taking it for forged; the profile keeps
    /// that (repeatable)
    #[arg(long = "wrapper", value_name = "SCHEME")]
    pub wrappers: Vec<String>,
    /// Enforce a profile that was learnt with another minor version of PHP
    #[arg(long)]
    pub accept_php_version: bool,

    /// A PHP executable or libphp.so to watch (repeatable; default: those of running php-fpm)
    #[arg(long, value_name = "PATH")]
    pub php: Vec<PathBuf>,
    /// Watch only this process and its descendants (repeatable)
    #[arg(long, value_name = "PID")]
    pub pid: Vec<u32>,
    /// Watch only processes in this cgroup (repeatable)
    #[arg(long, value_name = "PATH|GLOB")]
    pub cgroup: Vec<String>,
    /// Watch only processes of this user
    #[arg(long, value_name = "UID")]
    pub uid: Option<u32>,
    /// Accept subjects that run as root or have capabilities to end the tracer
    #[arg(long)]
    pub allow_privileged: bool,

    /// Enforcement goes on when this process ends, however it ends, and a later --persist adopts it
    #[arg(long, conflicts_with_all = ["profile", "command"])]
    pub persist: bool,

    /// Decide at the kernel's LSM hooks, which return an error before anything happens
    #[arg(long)]
    pub lsm: bool,
    /// What is done about a violation: deny, kill, or deny,kill (default: deny,kill; with --lsm deny)
    #[arg(long, value_name = "ACTION")]
    pub action: Option<Actions>,

    /// How the PHP function is told
    #[arg(long, value_enum, default_value_t = Attribution::Stack)]
    pub attribution: Attribution,
    /// How much of PHP's stack decides: nearest, the nearest user frame; known-files, and every user frame below it is in
    /// a file that the profile knows; 2 to 8, so many nearest user frames (default: nearest; with --merge, the profile's)
    #[arg(long, value_name = "CONTEXT")]
    pub context: Option<Context>,
    /// Which calls count: relevant, all, seed, or NAME[:CLASS],… (default: relevant; to enforce, the profile's)
    #[arg(long, value_name = "SET")]
    pub syscalls: Option<Selection>,

    /// Events as JSON Lines (- is stdout, only without COMMAND)
    #[arg(long, value_name = "PATH")]
    pub events: Option<PathBuf>,
    /// End after this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<f64>,
    /// Do not wait for COMMAND's descendants
    #[arg(long)]
    pub no_wait: bool,
    /// Exit with 3 if there was a violation
    #[arg(long)]
    pub exit_code: bool,
    /// Run COMMAND as this user (default under sudo: who called sudo)
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Wake the tracer as any ring-buffer consumer is woken, for comparison
    #[arg(long, hide = true)]
    pub default_wakeup: bool,
    /// Judge once more in user space what the kernel side decided, and tell differences
    #[arg(long, hide = true)]
    pub cross_check: bool,

    /// The command to watch, with its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// How the PHP function is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Attribution {
    /// Walk PHP's own stack at the system call
    Stack,
    /// Shadow it with USDT probes, as the original did
    Usdt,
}

impl From<Attribution> for shared::profile::Attribution {
    fn from(attribution: Attribution) -> Self {
        match attribution {
            Attribution::Stack => Self::Stack,
            Attribution::Usdt => Self::Usdt,
        }
    }
}

/// What is done about a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actions {
    /// The call fails.
    pub deny: bool,
    /// The process is sent SIGKILL.
    pub kill: bool,
}

impl FromStr for Actions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut actions = Self { deny: false, kill: false };
        for word in text.split(',') {
            match word.trim() {
                "deny" => actions.deny = true,
                "kill" => actions.kill = true,
                other => return Err(format!("`{other}` is none of deny, kill, and deny,kill")),
            }
        }
        Ok(actions)
    }
}

/// What the session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Learn.
    Profile,
    /// Log and count.
    Monitor,
    /// Block.
    Sandbox,
}

impl Mode {
    /// As in events and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::Monitor => "monitor",
            Self::Sandbox => "sandbox",
        }
    }
}

impl Args {
    /// The mode; `None` where none was asked for.
    pub fn mode(&self) -> Option<Mode> {
        match (self.profile, self.monitor, self.sandbox) {
            (true, ..) => Some(Mode::Profile),
            (_, true, _) => Some(Mode::Monitor),
            (_, _, true) => Some(Mode::Sandbox),
            _ => None,
        }
    }
}

/// An error with what to do about it.
#[derive(Debug)]
pub struct Hinted {
    /// What failed.
    pub what: String,
    /// What to do.
    pub hint: String,
    /// Exit status.
    pub status: u8,
}

impl std::fmt::Display for Hinted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Hinted {}

/// What to do about an error, where that is known.
pub fn hinted_of(error: &anyhow::Error) -> Option<&Hinted> {
    error.chain().find_map(|e| e.downcast_ref())
}

/// What failed, and in a line of its own what to do about it.
pub fn with_hint(error: &anyhow::Error) -> String {
    let hint = hinted_of(error).map_or_else(String::new, |hinted| format!("\nHint: {}", hinted.hint));
    format!("{error:#}{hint}")
}

/// Error of the tracer, or wrong usage.
pub const STATUS_ERROR: u8 = 125;
/// COMMAND cannot be executed.
pub const STATUS_NOT_EXECUTABLE: u8 = 126;
/// COMMAND was not found.
pub const STATUS_NOT_FOUND: u8 = 127;
/// There was a violation (`--exit-code`).
pub const STATUS_VIOLATION: u8 = 3;

/// An error with a hint.
pub fn hinted(what: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Hinted { what: what.into(), hint: hint.into(), status: STATUS_ERROR }.into()
}
