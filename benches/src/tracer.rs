//! A session of any phase, its start timed.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::session::ends_with_test;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{interrupt, programs};

/// A process that no Ctrl-C reaches: it is ended by who started it, or ends with it.
pub fn child(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    ends_with_test(&mut command).process_group(0).stdin(Stdio::null());
    // Cargo's: every program that is run would look for its libraries there first.
    command.env_remove("LD_LIBRARY_PATH");
    command
}

/// A session that watches.
pub struct Tracer {
    child: Child,
    lines: Receiver<String>,
    said: String,
    /// From its start to its `ready` line.
    pub took: Duration,
}

impl Tracer {
    /// Starts a program that cargo built, and waits until it is ready.
    pub fn start<S: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = S>) -> Result<Self> {
        let path = programs::path(name)?;
        let since = Instant::now();
        let mut command = child(&path);
        command.args(args).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("start {}", path.display()))?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        let (to, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                if to.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        let mut tracer = Self { child, lines, said: String::new(), took: Duration::ZERO };
        tracer.wait_for("ready:")?;
        tracer.took = since.elapsed();
        Ok(tracer)
    }

    /// Waits for a line that contains `text`.
    pub fn wait_for(&mut self, text: &str) -> Result<()> {
        let since = Instant::now();
        // Loading all hooks takes long where a processor is emulated.
        let patience = Duration::from_secs(if programs::is_guest() { 3600 } else { 60 });
        while since.elapsed() < patience {
            interrupt::check()?;
            match self.lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => {
                    self.said.push_str(&line);
                    self.said.push('\n');
                    if line.contains(text) {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        bail!("the tracer never said `{text}`, but:\n{}", self.said)
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }

    /// Nanoseconds that it has run for, all threads together.
    pub fn cpu(&self) -> Result<u64> {
        let mut total = 0;
        for thread in fs::read_dir(self.proc("task"))? {
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            total += text.split_ascii_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(total)
    }

    /// Bytes of a line of `/proc/PID/status`.
    pub fn memory(&self, line: &str) -> Result<u64> {
        let status = fs::read_to_string(self.proc("status"))?;
        Ok(1024 * field(&status, line).with_context(|| format!("no {line} in /proc/PID/status"))?)
    }

    /// Bytes that the kernel has for its maps, largest first, by number of the map.
    pub fn maps(&self) -> Result<Vec<(u32, u64)>> {
        let mut maps = Vec::new();
        for entry in fs::read_dir(self.proc("fdinfo"))? {
            let text = fs::read_to_string(entry?.path()).unwrap_or_default();
            if let (Some(id), Some(bytes)) = (field(&text, "map_id"), field(&text, "memlock")) {
                maps.push((id as u32, bytes));
            }
        }
        maps.sort_unstable();
        maps.dedup_by_key(|(id, _)| *id);
        maps.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        Ok(maps)
    }

    /// Bytes that it has in memory, and that its maps have.
    pub fn resident(&self) -> Result<[u64; 2]> {
        Ok([self.memory("VmRSS")?, self.maps()?.iter().map(|(_, bytes)| bytes).sum()])
    }

    /// Waits until it has nothing to do any more.
    pub fn settle(&self) -> Result<()> {
        const IDLE: u64 = 5_000_000;
        let mut before = 0;
        loop {
            interrupt::check()?;
            let now = self.cpu()?;
            if now - before < IDLE {
                return Ok(());
            }
            before = now;
            thread::sleep(Duration::from_millis(300));
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.child.id() as i32), signal)?)
    }

    /// Ends it as Ctrl-C would. An error if there was a violation (with `--exit-code`), or anything else.
    pub fn stop(mut self) -> Result<()> {
        self.signal(Signal::SIGINT)?;
        let status = self.child.wait()?;
        while let Ok(line) = self.lines.recv() {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        ensure!(status.success(), "the tracer ended with {status}, and said:\n{}", self.said);
        Ok(())
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.signal_if_running(Signal::SIGINT);
        let since = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && since.elapsed() < Duration::from_secs(5) {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Tracer {
    fn signal_if_running(&mut self, signal: Signal) -> Result<()> {
        match self.child.try_wait()? {
            None => self.signal(signal),
            Some(_) => Ok(()),
        }
    }
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Copies PHP to a file of its own, so that no other PHP of this machine is watched.
pub fn copy_php(to: &Path) -> Result<()> {
    fs::copy("/usr/bin/php8.2", to).context("copy /usr/bin/php8.2").map(drop)
}
