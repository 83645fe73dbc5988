//! Running the tracer under test.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary under test: `$TRACER`, or the one that cargo built beside this test.
pub fn tracer() -> PathBuf {
    built("TRACER", "phase1-user-kill")
}

/// Whether its kernel side decides: then nothing depends on what is told.
pub fn decides_in_kernel() -> bool {
    !tracer().ends_with("phase1-user-kill")
}

/// The binary of phase 2, for what is about it alone.
pub fn kernel_kill() -> PathBuf {
    built("KERNEL_KILL", "phase2-kernel-kill")
}

/// The binary of phase 3, likewise.
pub fn rewriting() -> PathBuf {
    built("REWRITING", "phase3-lsm")
}

/// The profile tool.
pub fn php_profile() -> PathBuf {
    built("PHP_PROFILE", "php-profile")
}

/// A child that ends when the test is killed: a sandbox that was left behind would go on killing.
pub fn ends_with_test(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt;
    // SAFETY: prctl is async-signal-safe and touches nothing of the parent.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            Ok(())
        })
    }
}

fn built(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let own = std::env::current_exe().expect("own path");
    // Tests are in `deps` below the folder that programs are in.
    let path = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.exists());
    path.unwrap_or_else(|| panic!("{name} is not built: run `make test`, or `cargo build --workspace`"))
}

/// Whether (`$CROSS_CHECK`) every decision of the kernel side is judged once more by the tracer, which tells the
/// differences: there must be none.
pub fn cross_checks() -> bool {
    std::env::var_os("CROSS_CHECK").is_some()
}

/// What a session printed and did.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status; for a command that was killed 128 + signal.
    pub status: i32,
    /// COMMAND's output.
    pub stdout: String,
    /// The tracer's (and COMMAND's) messages.
    pub stderr: String,
    /// Events, where `--events` was given.
    pub events: Vec<Value>,
}

impl Ran {
    fn checked(self) -> Self {
        assert!(!self.stderr.contains("cross-check:"), "user space decides otherwise:\n{}", self.stderr);
        self
    }

    /// Violations among the events.
    pub fn violations(&self) -> Vec<&Value> {
        self.events.iter().filter(|e| e["kind"] == "violation").collect()
    }
}

/// A session to be run to its end.
pub struct Session {
    args: Vec<String>,
    environment: Vec<(String, String)>,
    folder: PathBuf,
}

impl Session {
    /// In `folder`: the profile is `folder/p.profile`, events are `folder/events.jsonl`.
    pub fn new(folder: &Path, mode: &str) -> Self {
        let profile = folder.join("p.profile").display().to_string();
        let events = folder.join("events.jsonl").display().to_string();
        let args = vec![mode.into(), "--profile-file".into(), profile, "--events".into(), events];
        Self { args, environment: Vec::new(), folder: folder.into() }
    }

    /// A variable of the tracer's environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// More options.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Several.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Events go there instead.
    #[must_use]
    pub fn events_to(mut self, path: &Path) -> Self {
        let at = self.args.iter().position(|arg| arg == "--events").expect("every session has events");
        self.args[at + 1] = path.display().to_string();
        self
    }

    /// Runs COMMAND to its end.
    pub fn run<S: AsRef<OsStr>>(self, command: impl IntoIterator<Item = S>) -> Ran {
        let mut tracer = self.command();
        tracer.arg("--").args(command);
        self.to_its_end(&mut tracer)
    }

    /// Runs it without COMMAND to its end: `--duration`, or an error.
    pub fn watch(self) -> Ran {
        self.to_its_end(&mut self.command())
    }

    /// The tracer with this session's options, its event file not there yet.
    fn command(&self) -> Command {
        let _ = std::fs::remove_file(self.folder.join("events.jsonl"));
        let mut tracer = Command::new(tracer());
        tracer.args(&self.args).current_dir(&self.folder).stdin(Stdio::null());
        tracer.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if cross_checks() {
            tracer.arg("--cross-check");
        }
        tracer
    }

    fn to_its_end(&self, tracer: &mut Command) -> Ran {
        let output = ends_with_test(tracer).output().expect("run the tracer");
        Ran {
            status: status_of(output.status),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            events: events_of(&self.folder),
        }
        .checked()
    }

    /// Starts it without COMMAND, and waits for its `ready` line.
    pub fn start(self) -> Running {
        let mut tracer = self.command();
        tracer.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = ends_with_test(&mut tracer).spawn().expect("start the tracer");
        let stderr = child.stderr.take().expect("stderr is piped");
        let (to, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                if to.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        let mut running = Running { child, lines, said: String::new(), folder: self.folder };
        running.wait_for("ready:");
        running
    }
}

/// A session that watches running processes.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    said: String,
    folder: PathBuf,
}

impl Running {
    /// Its process.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).expect("signal the tracer");
    }

    /// Waits for a line that contains `text`; panics with all that was said if it does not come.
    pub fn wait_for(&mut self, text: &str) {
        // Only ever waited for where something is wrong; loading takes long where a processor is emulated.
        let until = Instant::now() + Duration::from_secs(3600);
        while Instant::now() < until {
            match self.lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => {
                    self.said.push_str(&line);
                    self.said.push('\n');
                    if line.contains(text) {
                        return;
                    }
                }
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        std::thread::sleep(Duration::from_secs(1)); // its output ends before it does
        let ended = self.child.try_wait().ok().flatten();
        let ended = ended.map_or_else(|| "it runs".into(), |status| format!("it ended: {status}"));
        panic!("the tracer never said `{text}` ({ended}), but:\n{}", self.said);
    }

    /// Events so far.
    pub fn events(&self) -> Vec<Value> {
        events_of(&self.folder)
    }

    /// Panics unless it said `text` already.
    pub fn has_said(&self, text: &str) {
        assert!(self.said.contains(text), "the tracer did not say `{text}`, but:\n{}", self.said);
    }

    /// Ends it as Ctrl-C would.
    pub fn stop(self) -> Ran {
        self.signal(nix::sys::signal::Signal::SIGINT);
        self.wait()
    }

    /// Waits until it ends by itself.
    pub fn wait(mut self) -> Ran {
        let status = self.child.wait().expect("wait for the tracer");
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(5)) {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        Ran {
            status: status_of(status),
            stdout: String::new(),
            stderr: std::mem::take(&mut self.said),
            events: events_of(&self.folder),
        }
        .checked()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that panicked must not leave the tracer behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn status_of(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// What is told in a file of events so far. Whole lines only: the last one may be being written.
pub fn events_so_far(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    parsed(text.rsplit_once('\n').map_or("", |(whole, _)| whole))
}

/// A profile as JSON.
pub fn exported(profile: &Path) -> Value {
    let output = Command::new(php_profile()).arg("export").arg(profile).output().expect("run php-profile");
    assert!(output.status.success(), "export: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn events_of(folder: &Path) -> Vec<Value> {
    parsed(&std::fs::read_to_string(folder.join("events.jsonl")).unwrap_or_default())
}

fn parsed(text: &str) -> Vec<Value> {
    text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("not JSON: {e}: {l}"))).collect()
}
