//! Starting COMMAND as a subject, watched before its first instruction.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, User, execv, fork, initgroups, pipe2, setgid, setuid};

use crate::cli::{Hinted, STATUS_NOT_EXECUTABLE, STATUS_NOT_FOUND, hinted};

/// A child that waits for [`Command::go`] before it executes COMMAND.
pub struct Command {
    /// Its process.
    pub pid: Pid,
    start: Option<File>,
    failed: Option<File>,
    status: Option<WaitStatus>,
}

/// Finds COMMAND as a shell would; errors carry the documented status.
pub fn resolve(name: &OsStr) -> Result<PathBuf> {
    let not_found = |hint: &str| {
        Hinted {
            what: format!("{}: command not found", name.display()),
            hint: hint.into(),
            status: STATUS_NOT_FOUND,
        }
        .into()
    };
    let candidates: Vec<PathBuf> = if name.as_bytes().contains(&b'/') {
        vec![name.into()]
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|dir| dir.join(name)).collect()
    };
    let mut refused = None;
    for candidate in candidates {
        match std::fs::metadata(&candidate) {
            Ok(m) if m.is_file() && m.permissions().mode() & 0o111 != 0 => return Ok(candidate),
            Ok(_) => refused = Some(candidate),
            Err(_) => {}
        }
    }
    let Some(path) = refused else { return Err(not_found("give its path, or look at $PATH")) };
    Err(Hinted {
        what: format!("{}: not executable", path.display()),
        hint: format!("chmod +x {}, or name its interpreter as COMMAND", path.display()),
        status: STATUS_NOT_EXECUTABLE,
    }
    .into())
}

/// Who COMMAND runs as: `--user`, else under sudo who called it, else unchanged.
pub fn user_for(name: Option<&str>) -> Result<Option<User>> {
    let wanted = match name {
        Some(name) => name.to_owned(),
        None => match std::env::var("SUDO_USER") {
            Ok(user) if user != "root" => user,
            _ => return Ok(None),
        },
    };
    match User::from_name(&wanted).context("look up a user")? {
        Some(user) => Ok(Some(user)),
        None => Err(hinted(format!("no user `{wanted}`"), "name one that `getent passwd` lists")),
    }
}

/// How whoever COMMAND runs as is told.
pub fn name_of(user: Option<&User>) -> String {
    let uid = nix::unistd::getuid();
    let own = || User::from_uid(uid).ok().flatten().map_or_else(|| format!("uid {uid}"), |own| own.name);
    user.map_or_else(own, |user| user.name.clone())
}

impl Command {
    /// Forks the child; it stops before its exec.
    pub fn prepare(path: &Path, args: &[OsString], user: Option<&User>) -> Result<Self> {
        let (start_read, start_write) = pipe2(OFlag::O_CLOEXEC)?;
        let (failed_read, failed_write) = pipe2(OFlag::O_CLOEXEC)?;
        let path = CString::new(path.as_os_str().as_bytes())?;
        let args = args.iter().map(|a| CString::new(a.as_bytes())).collect::<Result<Vec<_>, _>>()?;
        let user_name = user.map(|u| CString::new(u.name.as_bytes())).transpose()?;
        // SAFETY: the child only makes async-signal-safe calls (and initgroups, before any other thread of
        // this process exists) until it execs or exits.
        match unsafe { fork() }.context("fork")? {
            ForkResult::Parent { child } => Ok(Self {
                pid: child,
                start: Some(start_write.into()),
                failed: Some(failed_read.into()),
                status: None,
            }),
            ForkResult::Child => {
                drop(start_write);
                let errno = run_child(&start_read, &path, &args, user.zip(user_name.as_deref()));
                let _ = File::from(failed_write).write_all(&errno.to_ne_bytes());
                // SAFETY: ends the child at once, without the parent's exit handlers.
                unsafe { libc::_exit(i32::from(STATUS_NOT_FOUND)) }
            }
        }
    }

    /// Lets it execute COMMAND; returns once it has, or with the reason why it could not.
    pub fn go(&mut self) -> Result<()> {
        if let Some(mut start) = self.start.take() {
            start.write_all(b"!").context("start COMMAND")?;
        }
        let mut errno = [0; 4];
        let failed = self.failed.take().map(|mut f| f.read_exact(&mut errno).is_ok());
        if failed != Some(true) {
            return Ok(()); // closed by its exec
        }
        let error = nix::errno::Errno::from_raw(i32::from_ne_bytes(errno));
        let status =
            if error == nix::errno::Errno::ENOENT { STATUS_NOT_FOUND } else { STATUS_NOT_EXECUTABLE };
        Err(Hinted {
            what: format!("COMMAND could not be executed: {}", error.desc()),
            hint: "a script needs an interpreter line and an interpreter that exists".into(),
            status,
        }
        .into())
    }

    /// Its exit status once it has ended: its own, or 128+N for a signal.
    pub fn poll(&mut self) -> Option<u8> {
        if self.status.is_none() {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(_) => return None,
                Ok(status) => self.status = Some(status),
            }
        }
        match self.status? {
            WaitStatus::Exited(_, code) => Some(code as u8),
            WaitStatus::Signaled(_, signal, _) => Some(128 + signal as u8),
            _ => None,
        }
    }

    /// As `poll`, after up to `patience`: the kernel side forgets a process when its exit begins, and it can be
    /// waited for only once that is through.
    pub fn wait_for(&mut self, patience: Duration) -> Option<u8> {
        let until = Instant::now() + patience;
        loop {
            let status = self.poll();
            if status.is_some() || Instant::now() >= until {
                return status;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        // A child that never got its word must not wait for ever: the pipe closes and it exits.
        self.start = None;
    }
}

/// In the child: waits, becomes `user`, executes. Returns the errno of what failed.
fn run_child(
    start: &OwnedFd,
    path: &CString,
    args: &[CString],
    user: Option<(&User, &std::ffi::CStr)>,
) -> i32 {
    let mut word = [0u8];
    let got = nix::unistd::read(start, &mut word);
    if got != Ok(1) {
        // SAFETY: as in `prepare`.
        unsafe { libc::_exit(0) }
    }
    // None of the tracer's blocked signals is the command's.
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    // SAFETY: restores a default that Rust's runtime changed.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    if let Some((user, name)) = user {
        let changed =
            initgroups(name, user.gid).and_then(|()| setgid(user.gid)).and_then(|()| setuid(user.uid));
        if let Err(errno) = changed {
            return errno as i32;
        }
    }
    execv(path, args).map_or_else(|e| e as i32, |_| 0)
}
