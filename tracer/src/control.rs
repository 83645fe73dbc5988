//! The control socket: `ctl mode sandbox`, `ctl reload`, `ctl status`. Root only, and refused to subjects.
//!
//! One request a connection: a line in, lines out. The mode changes only by naming it.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, Result};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::cli::{self, Mode, hinted, with_hint};

const FOLDER: &str = "/run/php-tracer";
/// A client that says nothing must not hold the session up.
const PATIENCE: Duration = Duration::from_millis(500);
const LONGEST_REQUEST: u64 = 256;
/// What an answer begins with that is none.
const REFUSED: &str = "error: ";

/// What a session is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Log only, or block.
    Mode(Mode),
    /// The profile again (as SIGHUP).
    Reload,
    /// The counters.
    Status,
}

impl Request {
    fn parse(line: &str) -> Option<Self> {
        match line.trim() {
            "mode monitor" => Some(Self::Mode(Mode::Monitor)),
            "mode sandbox" => Some(Self::Mode(Mode::Sandbox)),
            "reload" => Some(Self::Reload),
            "status" => Some(Self::Status),
            _ => None,
        }
    }
}

/// A session's end of the socket. Removed when dropped.
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// `/run/php-tracer/NAME.PID`, in a folder of root's.
    pub fn open(name: &str) -> Result<Self> {
        let folder = Path::new(FOLDER);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("create {FOLDER}"))?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        let path = folder.join(format!("{name}.{}", std::process::id()));
        let _ = fs::remove_file(&path); // of an earlier process of this number
        let listener = UnixListener::bind(&path).with_context(|| format!("listen at {}", path.display()))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path })
    }

    /// Answers whoever has connected. Refused: other users, and subjects, also those that are root.
    pub fn serve(&self, is_subject: impl Fn(u32) -> bool, mut answer: impl FnMut(Request) -> Result<String>) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let answered = Self::read(&stream, &is_subject).and_then(&mut answer);
            let reply = answered.unwrap_or_else(|error| format!("{REFUSED}{}\n", with_hint(&error)));
            let _ = stream.write_all(reply.as_bytes());
        }
    }

    fn read(stream: &UnixStream, is_subject: &impl Fn(u32) -> bool) -> Result<Request> {
        let peer = getsockopt(stream, PeerCredentials)?;
        if peer.uid() != 0 || is_subject(peer.pid() as u32) {
            return Err(hinted("refused", "ask as root, from a process that is not watched"));
        }
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut line = String::new();
        BufReader::new(stream.take(LONGEST_REQUEST)).read_line(&mut line)?;
        Request::parse(&line).ok_or_else(|| {
            hinted(
                format!("unknown request `{}`", line.trim().escape_debug()),
                "ask for `mode monitor`, `mode sandbox`, `reload` or `status`",
            )
        })
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Asks a running session.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, subcommand_required = true, arg_required_else_help = false)]
struct Ctl {
    /// Of several sessions, that of this process
    #[arg(long)]
    pid: Option<u32>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Change the mode
    Mode {
        /// monitor logs, sandbox blocks
        mode: Switch,
    },
    /// Load the profile again
    Reload,
    /// Mode, profile and counters
    Status,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Switch {
    Monitor,
    Sandbox,
}

impl Ctl {
    /// What was asked of this binary.
    fn of(name: &str, args: &[std::ffi::OsString]) -> Result<Self, clap::Error> {
        let command = Self::command().name("ctl").bin_name(format!("{name} ctl"));
        command.try_get_matches_from(args).and_then(|found| Self::from_arg_matches(&found))
    }
}

/// `BINARY ctl …`; the exit status.
pub fn client(name: &str, args: &[std::ffi::OsString]) -> Result<u8> {
    let ctl = match Ctl::of(name, args) {
        Ok(ctl) => ctl,
        Err(error) => {
            let _ = error.print();
            if !error.use_stderr() {
                return Ok(0);
            }
            crate::say(&format!("Hint: `{name} ctl --help` lists what a session can be asked"));
            return Ok(cli::STATUS_ERROR);
        }
    };
    let request = match ctl.what {
        What::Mode { mode: Switch::Monitor } => "mode monitor",
        What::Mode { mode: Switch::Sandbox } => "mode sandbox",
        What::Reload => "reload",
        What::Status => "status",
    };
    let mut stream = connect(name, ctl.pid)?;
    stream.write_all(format!("{request}\n").as_bytes()).context("ask the session")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).context("read the session's answer")?;
    if let Some(refused) = reply.strip_prefix(REFUSED) {
        return Err(refusal(refused.trim_end()));
    }
    print!("{reply}");
    Ok(0)
}

/// As the session has told it.
fn refusal(told: &str) -> anyhow::Error {
    let (what, hint) = told.rsplit_once("\nHint: ").unwrap_or((told, "the session has told more"));
    hinted(what, hint)
}

fn connect(name: &str, pid: Option<u32>) -> Result<UnixStream> {
    let prefix = format!("{name}.");
    let wanted = pid.map(|pid| format!("{prefix}{pid}"));
    let entries = fs::read_dir(FOLDER).map(|d| d.flatten().collect()).or_else(|e| match e.kind() {
        ErrorKind::NotFound => Ok(Vec::new()),
        _ => Err(hinted(format!("cannot read {FOLDER}: {e}"), "run it as root, with sudo")),
    })?;
    let mut live: Vec<(String, UnixStream)> = Vec::new();
    for entry in entries {
        let file = entry.file_name().to_string_lossy().into_owned();
        if file.starts_with(&prefix) && wanted.as_ref().is_none_or(|w| *w == file) {
            match UnixStream::connect(entry.path()) {
                Ok(stream) => live.push((file, stream)),
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => drop(fs::remove_file(entry.path())),
                Err(e) => {
                    return Err(hinted(
                        format!("cannot connect to {file}: {e}"),
                        "run it as root, with sudo",
                    ));
                }
            }
        }
    }
    match live.len() {
        0 => Err(hinted("no session is running", "start one with --monitor or --sandbox")),
        1 => Ok(live.remove(0).1),
        _ => {
            let names: Vec<&str> = live.iter().map(|(n, _)| n.trim_start_matches(&prefix)).collect();
            Err(hinted("several sessions are running", format!("name one with --pid: {}", names.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_changes_only_by_its_name() {
        assert_eq!(Request::parse("mode sandbox\n"), Some(Request::Mode(Mode::Sandbox)));
        assert_eq!(Request::parse("status"), Some(Request::Status));
        for odd in ["", "mode", "mode profile", "mode toggle", "sandbox", "mode sandbox monitor"] {
            assert_eq!(Request::parse(odd), None, "{odd}");
        }
    }

    fn parsed(args: &[&str]) -> Result<Ctl, clap::Error> {
        Ctl::of("phase2-kernel-kill", &args.iter().map(Into::into).collect::<Vec<_>>())
    }

    #[test]
    fn a_command_line_is_a_request() {
        assert!(parsed(&["mode", "sandbox"]).is_ok());
        assert!(parsed(&["--pid", "7", "status"]).is_ok());
    }

    #[test]
    fn wrong_usage_names_the_program_and_what_is_wrong() {
        for odd in [&[][..], &["mode"], &["mode", "off"], &["off"], &["status", "more"]] {
            let told = parsed(odd).map(|_| ()).unwrap_err();
            let text = told.to_string();
            assert!(told.use_stderr() && text.starts_with("error: "), "{odd:?}: {text}");
            let usages = text.matches("Usage: ").count();
            assert_eq!(text.matches("Usage: phase2-kernel-kill ctl").count(), usages, "{odd:?}: {text}");
        }
    }

    #[test]
    fn a_refusal_keeps_its_hint() {
        let error = refusal("no: line\nHint: do that");
        assert_eq!(with_hint(&error), "no: line\nHint: do that");
        assert!(with_hint(&refusal("no")).starts_with("no\nHint: "));
    }
}
