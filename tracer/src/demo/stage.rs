//! One run of the tracer with the application as its COMMAND.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde_json::Value;

use crate::cli::{Hinted, Mode, STATUS_ERROR};
use crate::demo::plan::Places;
use crate::demo::server::{Php, Server};
use crate::demo::{Interrupted, interrupted};

/// What stays the same from stage to stage.
pub struct Scene {
    /// What chooses the strategy, among the binary's options.
    pub strategy: Vec<String>,
    pub php: Php,
    /// Who PHP runs as.
    pub user: nix::unistd::User,
    pub app: PathBuf,
    /// The server's own files.
    pub run: PathBuf,
    /// The tracer's; nobody else may look.
    pub private: PathBuf,
    pub places: Places,
}

impl Scene {
    /// Where the profile is kept.
    pub fn profile(&self) -> PathBuf {
        self.private.join("gallery.profile")
    }
}

/// How long the application may take to come once the tracer is ready, and the tracer to end with it: minutes, where
/// processors are emulated. How long the kernel checks programs before that is nobody's fault.
const PATIENCE: Duration = Duration::from_secs(300);

/// A running stage; ended with all that it started, also when it is dropped.
pub struct Stage {
    /// The application.
    pub server: Server,
    tracer: Child,
    log: PathBuf,
    events: PathBuf,
}

impl Stage {
    /// Starts the tracer, and under it the application; returns when that takes requests.
    pub fn start(scene: &Scene, mode: Mode) -> Result<Self> {
        let (server, command) = Server::command(&scene.php, &scene.app, &scene.run, &scene.places)?;
        let log = scene.private.join(format!("{}.log", mode.name()));
        let events = scene.private.join(format!("{}.jsonl", mode.name()));
        let out = File::create(&log).context("make a file for messages")?;
        let own = std::env::current_exe().context("find this program")?;
        let tracer = Command::new(own)
            .args(&scene.strategy)
            .arg(format!("--{}", mode.name()))
            .arg("--profile-file")
            .arg(scene.profile())
            .arg("--events")
            .arg(&events)
            .args(["--user", &scene.user.name, "--"])
            .args(command)
            .current_dir("/")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0) // a Ctrl-C is for the demonstration, which ends the rest in good order
            .spawn()
            .context("start this program again")?;
        let mut stage = Self { server, tracer, log, events };
        let mut until = None;
        while !stage.server.listens() {
            if interrupted() {
                return Err(Interrupted.into());
            }
            if let Some(status) = stage.tracer.try_wait()? {
                return Err(stage.failure(status, "before the application took requests"));
            }
            if until.is_none() && stage.is_ready() {
                until = Some(Instant::now() + PATIENCE);
            }
            if until.is_some_and(|until| Instant::now() > until) {
                bail!("the application takes no requests: {}", stage.last_words());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(stage)
    }

    /// Ends the application, waits for the tracer, and returns what it saw.
    pub fn finish(mut self) -> Result<Seen> {
        let until = Instant::now() + PATIENCE;
        end(&descendants(self.tracer.id()), Signal::SIGTERM);
        loop {
            if let Some(status) = self.tracer.try_wait()? {
                // 128 + TERM: what ended the application is what was sent above.
                if status.code() == Some(i32::from(STATUS_ERROR)) || status.code().is_none() {
                    return Err(self.failure(status, "at its end"));
                }
                break;
            }
            if Instant::now() > until {
                bail!("the application does not end: {}", self.last_words());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let events = fs::read_to_string(&self.events).context("read the events")?;
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        Ok(Seen { violations: events.lines().filter_map(Violation::parse).collect(), said })
    }

    fn is_ready(&self) -> bool {
        fs::read_to_string(&self.log).is_ok_and(|said| said.lines().any(|line| line.starts_with("ready: ")))
    }

    fn last_words(&self) -> String {
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        last.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// The tracer's own error, with its hint.
    fn failure(&self, status: ExitStatus, when: &str) -> anyhow::Error {
        let said = self.last_words();
        let hint =
            said.lines().find_map(|l| l.strip_prefix("Hint: ")).unwrap_or("--doctor tells what is missing");
        let what: Vec<&str> = said.lines().filter(|l| !l.starts_with("Hint: ")).collect();
        Hinted {
            what: format!("the tracer ended {when} ({status}): {}", what.join("\n")),
            hint: hint.into(),
            status: STATUS_ERROR,
        }
        .into()
    }
}

impl Drop for Stage {
    /// Ends what is left, whoever started it: orphans became this process's children (`adopt_orphans`).
    fn drop(&mut self) {
        let until = Instant::now() + Duration::from_secs(5);
        let tracer = self.tracer.id();
        let mut asked = false;
        loop {
            let ended = !matches!(self.tracer.try_wait(), Ok(None));
            let mut left = descendants(std::process::id());
            left.retain(|pid| *pid != tracer);
            if ended && left.is_empty() {
                return;
            }
            end(&left, Signal::SIGKILL);
            for pid in left {
                // Only what is a child of this process can be reaped by it; the rest is its parent's.
                let _ = waitpid(Pid::from_raw(pid as i32), Some(WaitPidFlag::WNOHANG));
            }
            if !ended && !asked {
                asked = true;
                end(&[tracer], Signal::SIGTERM);
            }
            if Instant::now() > until {
                let _ = self.tracer.kill();
                let _ = self.tracer.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Processes whose parents end become this one's children, so that none can be left behind.
pub fn adopt_orphans() -> Result<()> {
    nix::sys::prctl::set_child_subreaper(true).context("adopt orphaned processes")
}

fn end(pids: &[u32], signal: Signal) {
    for pid in pids {
        let _ = kill(Pid::from_raw(*pid as i32), signal);
    }
}

/// The processes below `root`, parents first.
fn descendants(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        if let Some(parent) = parent_of(&entry.path()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = children.get(&root).cloned().unwrap_or_default();
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        let more = children.get(pid).cloned().unwrap_or_default();
        found.extend(more);
        at += 1;
    }
    found
}

fn parent_of(proc: &Path) -> Option<u32> {
    let stat = fs::read_to_string(proc.join("stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// What the tracer saw in a stage.
pub struct Seen {
    pub violations: Vec<Violation>,
    /// Its messages.
    pub said: String,
}

/// A violation, as far as the table needs it.
pub struct Violation {
    pub at: Timestamp,
    pub operation: String,
    /// The call succeeded, or its program was seen running.
    pub through: bool,
}

impl Violation {
    fn parse(line: &str) -> Option<Self> {
        let event: Value = serde_json::from_str(line).ok()?;
        (event["kind"] == "violation").then_some(())?;
        Some(Self {
            at: event["ts"].as_str()?.parse().ok()?,
            operation: event["operation"].as_str().unwrap_or_default().into(),
            through: event["effect"] == "yes",
        })
    }
}

impl Seen {
    /// Violations from `from` up to `to`.
    pub fn between(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = &Violation> {
        self.violations.iter().filter(move |v| (from..to).contains(&v.at))
    }

    /// How many attempts had a call that succeeded: the operation that did most often counts.
    pub fn through(&self, from: Timestamp, to: Timestamp) -> u64 {
        let mut by_operation: BTreeMap<&str, u64> = BTreeMap::new();
        for violation in self.between(from, to).filter(|v| v.through) {
            *by_operation.entry(&violation.operation).or_default() += 1;
        }
        by_operation.into_values().max().unwrap_or(0)
    }

    /// A violation as the tracer told it.
    pub fn example(&self) -> Option<&str> {
        let blocked = || {
            self.said.lines().filter_map(|line| {
                let (action, call) = line.split_once(' ')?;
                ["killed", "denied", "rewritten"].contains(&action).then_some((line, call))
            })
        };
        let telling = |(_, call): &(&str, &str)| call.starts_with("unlink") && call.contains("shell.php");
        blocked().find(telling).or_else(|| blocked().next()).map(|(line, _)| line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_found_parents_first() {
        let mut shell = Command::new("sh");
        let mut child = shell.args(["-c", "sleep 60 & echo; wait"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut word = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut word).unwrap();
        let found = descendants(std::process::id());
        let shell = found.iter().position(|p| *p == child.id()).expect("the shell");
        let below = descendants(child.id());
        assert_eq!(below.len(), 1);
        assert!(found.iter().position(|p| *p == below[0]).expect("its sleep") > shell);
        end(&below, Signal::SIGKILL);
        child.wait().unwrap();
    }

    #[test]
    fn the_most_frequent_operation_counts() {
        let at = Timestamp::UNIX_EPOCH;
        let violation = |operation: &str, through| Violation { at, operation: operation.into(), through };
        let violations =
            vec![violation("a", true), violation("b", true), violation("b", true), violation("b", false)];
        let seen = Seen { violations, said: String::new() };
        let later = Timestamp::from_second(1).unwrap();
        assert_eq!(seen.through(at, later), 2);
        assert_eq!(seen.through(later, later), 0);
    }

    #[test]
    fn the_example_is_something_that_was_blocked() {
        let example = |said: &str| {
            let seen = Seen { violations: Vec::new(), said: said.into() };
            seen.example().map(str::to_owned)
        };
        assert_eq!(example("ready\nlogged unlink(\"/x\") at /shell.php:1"), None);
        assert_eq!(example("denied connect(1)\ndenied rmdir(2)").as_deref(), Some("denied connect(1)"));
        let said = "killed connect(1)\nrewritten unlink(\"/x\") at /shell.php:1";
        assert_eq!(example(said).as_deref(), Some("rewritten unlink(\"/x\") at /shell.php:1"));
    }

    #[test]
    fn only_violations_are_parsed() {
        let line = r#"{"kind":"violation","ts":"2026-01-02T03:04:05.000000006Z","operation":"unlink","effect":"yes"}"#;
        assert!(Violation::parse(line).is_some_and(|v| v.through && v.operation == "unlink"));
        assert!(Violation::parse(r#"{"kind":"notice"}"#).is_none());
        assert!(Violation::parse("torn").is_none());
    }
}
