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
use clap::{Parser, Subcommand, ValueEnum};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::cli::{self, Mode, hinted};

const FOLDER: &str = "/run/php-tracer";
/// A client that says nothing must not hold the session up.
const PATIENCE: Duration = Duration::from_millis(500);
const LONGEST_REQUEST: u64 = 256;

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
    pub fn serve(&self, is_subject: impl Fn(u32) -> bool, mut answer: impl FnMut(Request) -> String) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let reply = match Self::read(&stream, &is_subject) {
                Ok(request) => answer(request),
                Err(refused) => format!("error: {refused}\n"),
            };
            let _ = stream.write_all(reply.as_bytes());
        }
    }

    fn read(stream: &UnixStream, is_subject: &impl Fn(u32) -> bool) -> Result<Request, String> {
        let peer = getsockopt(stream, PeerCredentials).map_err(|e| e.to_string())?;
        if peer.uid() != 0 || is_subject(peer.pid() as u32) {
            return Err("refused".into());
        }
        stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
            .map_err(|e| e.to_string())?;
        let mut line = String::new();
        BufReader::new(stream.take(LONGEST_REQUEST)).read_line(&mut line).map_err(|e| e.to_string())?;
        Request::parse(&line).ok_or_else(|| format!("unknown request `{}`", line.trim().escape_debug()))
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
#[command(name = "ctl", no_binary_name = true)]
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

/// `BINARY ctl …`; the exit status.
pub fn client(name: &str, args: &[std::ffi::OsString]) -> Result<u8> {
    let ctl = match Ctl::try_parse_from(args) {
        Ok(ctl) => ctl,
        Err(error) => {
            let _ = error.print();
            return Ok(if error.use_stderr() { cli::STATUS_ERROR } else { 0 });
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
    print!("{reply}");
    Ok(if reply.starts_with("error:") { cli::STATUS_ERROR } else { 0 })
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

    #[test]
    fn a_command_line_is_a_request() {
        assert!(Ctl::try_parse_from(["mode", "sandbox"]).is_ok());
        assert!(Ctl::try_parse_from(["--pid", "7", "status"]).is_ok());
        assert!(Ctl::try_parse_from(["mode", "off"]).is_err());
    }
}
