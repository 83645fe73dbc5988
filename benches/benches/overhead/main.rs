//! What a strategy costs: system calls one by one, a php-fpm application under load, memory. All that is compared is
//! measured in one run, in turn, round by round.
//!
//! `cargo bench --bench overhead [-- [--quick] [calls|app|memory]]`, as root.

mod app;
mod calls;
mod memory;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use benches::record::Record;
use benches::tracer::{Tracer, child, copy_php};
use benches::{interrupt, programs, strategy};
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
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// The program that filters calls, in the folder of whoever uses it.
const SECCOMP: &str = "seccomp";

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Time of calls
    Calls,
    /// An application
    App,
    /// Memory of phase 2, and how long a large profile takes to load and to show
    Memory,
}

/// The modes that are measured. Loading all hooks takes a minute where processors are emulated.
fn modes() -> &'static [&'static str] {
    if programs::is_guest() { &["--sandbox"] } else { &["--profile", "--monitor", "--sandbox"] }
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
    /// percent. `under`: started by this program of the machine's or of this folder.
    fn php(&self, script: &str, under: &[&str]) -> Command {
        let own = |program: &str| if program == SECCOMP { self.path(SECCOMP) } else { program.into() };
        let mut command = match under {
            [] => child(self.path("php")),
            [program, rest @ ..] => {
                let mut command = child(own(program));
                command.args(rest).arg(self.path("php"));
                command
            }
        };
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
    fn session(&self, tracer: &str, options: &[&str], mode: &str, profile: &str) -> Result<Tracer> {
        let mut args = vec![mode.into(), "--php".into(), self.path("php").into_os_string()];
        args.extend(options.iter().map(Into::into));
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
    interrupt::deferred(|| run(&args))
}

fn run(args: &Args) -> Result<()> {
    programs::build()?;
    let mut record = Record::begin("overhead", args.quick)?;
    let here = strategy::here(&mut record)?;
    let wants = |what: What| args.what.is_none() || args.what == Some(what);
    if wants(What::Calls) {
        calls::measure(args.quick, &here, &mut record)?;
    }
    if wants(What::App) {
        app::measure(args.quick, &here, &mut record)?;
    }
    if wants(What::Memory) && !programs::is_guest() {
        memory::measure(args.quick, &mut record)?;
    }
    // Where only a part was measured, the last whole run is what the report is made of.
    if args.what.is_none() { record.end() } else { Ok(()) }
}
