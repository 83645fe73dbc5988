//! What a system call costs under each strategy and mode, beside nothing attached and beside programs that do
//! nothing, all in one run, in turn, round by round; and the memory that phase 2 needs.
//!
//! `cargo run --release -p benches --bin cost [--quick] [calls|memory]`

mod calls;
mod memory;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use benches::interrupt;
use benches::tracer::{Tracer, child, copy_php};
use clap::{Parser, ValueEnum};

/// What the strategies cost.
#[derive(Parser)]
struct Args {
    /// Fewer rounds: quick, and not to be quoted
    #[arg(long)]
    quick: bool,
    /// Only this
    #[arg(value_enum)]
    what: Option<What>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Time of calls
    Calls,
    /// Memory of phase 2, and how long a large profile takes to load
    Memory,
}

/// Where it happens: memory, so that the file system is not what is measured.
struct Arena {
    folder: tempfile::TempDir,
}

const NOBODY: u32 = 65534;

impl Arena {
    fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("cost").tempdir_in("/dev/shm")?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let arena = Self { folder };
        copy_php(&arena.path("php"))?;
        Ok(arena)
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// PHP as an ordinary user, everything where it was the last time: where the loader puts things matters by some
    /// percent.
    fn php(&self, script: &str) -> Command {
        let mut command = child(self.path("php"));
        // SAFETY: personality is async-signal-safe and touches nothing of the parent.
        unsafe {
            command.pre_exec(|| {
                libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong);
                Ok(())
            });
        }
        command.arg(self.path(script)).uid(NOBODY).gid(NOBODY).stderr(Stdio::inherit());
        command
    }

    /// A session that watches that PHP. In profile mode it writes the profile.
    fn session(&self, tracer: &str, mode: &str, profile: &str) -> Result<Tracer> {
        let mut args = vec![mode.into(), "--php".into(), self.path("php").into_os_string()];
        args.extend(["--profile-file".into(), self.path(profile).into_os_string(), "--exit-code".into()]);
        if mode == "--profile" {
            args.push("--force".into());
        }
        Tracer::start(tracer, args).with_context(|| format!("{tracer} {mode}"))
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(nix::unistd::geteuid().is_root(), "this needs root: AS_ROOT=1, or sudo");
    interrupt::defer()?;
    if args.what != Some(What::Memory) {
        calls::measure(args.quick)?;
    }
    if args.what != Some(What::Calls) {
        memory::measure(args.quick)?;
    }
    Ok(())
}
