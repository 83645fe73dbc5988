//! A folder of the test's own with a PHP that nobody else on this machine runs, and what an attack does to it.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::fpm::{Fpm, Setup, age, wait_until};
use crate::session::{Running, Session, ends_with_test, tracer};
use crate::suite::times;
use nix::sys::stat::Mode;
use tempfile::TempDir;

/// `nobody`.
pub const USER: u32 = 65534;
/// Objects that one attack reaches for: the second one must stay.
pub fn objects() -> usize {
    times(50, 10)
}

/// Real-time signals that a program may use, from the first on: each can be sent once.
const SIGNALS: usize = 30;
const FIRST_SIGNAL: u32 = 34;

/// A folder in memory: ext4 takes a millisecond to make a file where thousands were just deleted.
pub struct Arena(TempDir);

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}

impl Arena {
    /// With PHP and the victims of this suite.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("e2e-kill-").tempdir_in("/dev/shm").expect("a folder");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("open the folder");
        let arena = Self(dir);
        fs::copy("/usr/bin/php8.2", arena.path("php")).expect("copy PHP");
        deploy(arena.root());
        arena
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        self.0.path()
    }

    /// Something in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Likewise, as an argument.
    pub fn arg(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A folder for everybody to write in.
    pub fn folder(&self, name: &str) -> PathBuf {
        open_folder(&self.path(name))
    }

    /// A session about this PHP.
    pub fn session(&self, mode: &str) -> Session {
        Session::new(self.root(), mode).arg("--php").arg(self.arg("php"))
    }

    /// PHP as an ordinary user, started by nobody who is watched.
    pub fn php(&self, script: &str, args: &[&str]) -> Command {
        let mut command = Command::new(self.path("php"));
        // Without an ini file: a third of the time to start, and the same on every machine.
        command.args(["-n", "-d", "extension=posix", "-d", "extension=sockets"]);
        command.arg(self.path(script)).args(args).current_dir(self.root());
        command.uid(USER).gid(USER).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// `attack.php`: a class does an operation to a trap.
    pub fn attacker(&self, class: &str, operation: &str, trap: &Trap) -> Command {
        let (folder, count) = (trap.folder.display().to_string(), trap.count.to_string());
        self.php("attack.php", &[class, operation, &folder, &count, &trap.extra(self.root())])
    }

    /// A fresh trap for this operation.
    pub fn trap(&self, operation: &str) -> Trap {
        Trap::set(&self.folder("trap"), operation, USER)
    }

    /// One attack, to its end.
    pub fn attack(&self, operation: &str) -> Attacked {
        let trap = self.trap(operation);
        let output = self.attacker("Bad", operation, &trap).output().expect("run PHP");
        if operation == "fork" {
            // A child that came to be would leave its mark after its parent's end.
            wait_until("all PHP of this test has ended", || self.running() == 0);
        }
        Attacked { leaks: trap.leaks(), output }
    }

    /// What is learnt does what it is for, every time.
    pub fn twin(&self, operation: &str) {
        let trap = self.trap(operation);
        succeeds(&mut self.attacker("Good", operation, &trap));
        assert_eq!(trap.leaks(), trap.count, "{operation}: what is learnt does not work");
    }

    /// How many processes run its PHP.
    pub fn running(&self) -> usize {
        let exe = self.path("php");
        let pids = fs::read_dir("/proc").expect("read /proc").flatten();
        pids.filter(|p| fs::read_link(p.path().join("exe")).is_ok_and(|e| e == exe)).count()
    }

    /// Learns every operation by Good.
    pub fn learn(&self, options: &[&str], operations: &[&str]) {
        let session = self.session("--profile").args(options.iter().copied());
        let session = session.arg("--force").start();
        for operation in operations {
            self.twin(operation);
        }
        let ran = session.stop();
        assert_eq!(ran.status, 0, "{}", ran.stderr);
    }

    /// A worker that makes allowed calls until it is told to stop.
    pub fn worker(&self, script: &str, operation: &str, pause: u32, cpu: Option<usize>) -> Worker {
        let folder = self.folder("work");
        let mut command = self.php(script, &[&folder.display().to_string(), operation, &pause.to_string()]);
        pin(&mut command, cpu);
        Worker { child: Some(ends_with_test(&mut command).spawn().expect("start PHP")) }
    }

    /// Some PHP processes, all on one processor, each with so many children that delete a file each, where this is an
    /// `attack`. How many of the children went on unharmed, and how many files are gone.
    pub fn forks(&self, processes: usize, children: usize, what: &str) -> (usize, usize) {
        let folders: Vec<_> = (0..processes).map(|n| self.folder(&format!("forks-{n}"))).collect();
        let files = || folders.iter().flat_map(|folder| (0..children).map(|n| folder.join(n.to_string())));
        files().for_each(|file| {
            fs::write(&file, "precious").expect("write a file");
        });
        let start = |folder: &PathBuf| {
            let count = children.to_string();
            let mut command = self.php("forks.php", &[&folder.display().to_string(), &count, what]);
            pin(&mut command, Some(0));
            ends_with_test(&mut command).spawn().expect("start PHP")
        };
        let all: Vec<Child> = folders.iter().map(start).collect();
        let unharmed = |child: Child| -> usize {
            let output = child.wait_with_output().expect("wait for PHP");
            let text = String::from_utf8_lossy(&output.stdout);
            text.trim().parse().unwrap_or_else(|_| panic!("it did not get through: {output:?}"))
        };
        let unharmed = all.into_iter().map(unharmed).sum();
        (unharmed, files().filter(|file| !file.exists()).count())
    }

    /// Ends the workers; how many calls they made.
    pub fn stop(&self, workers: Vec<Worker>) -> u64 {
        fs::write(self.path("work/stop"), "").expect("tell them to stop");
        let calls = workers.into_iter().map(Worker::calls).sum();
        fs::remove_file(self.path("work/stop")).expect("remove a file");
        calls
    }
}

/// Copies the victims of this suite, and makes Bad of Good.
pub fn deploy(to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("victims/kill");
    for name in ["attack.php", "worker.php", "run.php", "index.php", "forks.php"] {
        fs::copy(from.join(name), to.join(name)).expect("copy a victim");
    }
    let code = fs::read_to_string(from.join("operations.php")).expect("read a victim");
    fs::write(to.join("good.php"), &code).expect("write a victim");
    fs::write(to.join("bad.php"), code.replace("class Good", "class Bad")).expect("write a victim");
    // A program that nobody has learnt.
    fs::copy("/usr/bin/touch", to.join("unlearnt")).expect("copy a program");
}

/// A pool with the front controller of this suite.
pub fn pool(workers: usize) -> Fpm {
    let fpm = Fpm::prepare(Setup::workers(workers));
    let public = fpm.app().join("public");
    deploy(&public);
    for entry in fs::read_dir(&public).expect("read a folder").flatten() {
        age(&entry.path());
    }
    fpm
}

/// What asks that front controller to do an operation by this class.
pub fn query(class: &str, operation: &str, trap: &Trap, public: &Path) -> String {
    let name = trap.folder.file_name().expect("a name").to_string_lossy();
    format!("class={class}&op={operation}&in={name}&n={}&extra={}", trap.count, trap.extra(public))
}

/// Makes a folder for everybody to write in.
pub fn open_folder(path: &Path) -> PathBuf {
    fs::create_dir_all(path).expect("make a folder");
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("open a folder");
    path.into()
}

/// Keeps a command on one processor.
pub fn pin(command: &mut Command, cpu: Option<usize>) {
    let Some(cpu) = cpu else { return };
    let mut set = nix::sched::CpuSet::new();
    set.set(cpu).expect("a processor");
    // SAFETY: one system call on the child's own copy.
    unsafe {
        command.pre_exec(move || Ok(nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)?));
    }
}

/// Runs it to its end, which must be a good one; what it printed.
pub fn succeeds(command: &mut Command) -> String {
    let output = command.output().expect("run PHP");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    text
}

/// What came of an attack.
pub struct Attacked {
    /// Calls that had their effect.
    pub leaks: usize,
    /// How the attacker ended, and what it said.
    pub output: Output,
}

impl Attacked {
    /// Whether it was killed.
    pub fn is_killed(&self) -> bool {
        self.output.status.signal() == Some(libc::SIGKILL)
    }

    /// The bound of this phase: it is dead, and at most one call got through.
    pub fn check(&self, what: &str) {
        let said = String::from_utf8_lossy(&self.output.stdout).into_owned()
            + &String::from_utf8_lossy(&self.output.stderr);
        assert!(self.is_killed(), "{what}: the attacker was not killed: {}: {said}", self.output.status);
        assert!(self.leaks <= 1, "{what}: {} calls got through: {said}", self.leaks);
    }
}

/// Objects of one operation. What happened to them tells how many calls had their effect.
pub struct Trap {
    /// Where they are.
    pub folder: PathBuf,
    /// How many.
    pub count: usize,
    operation: String,
    fifo: Option<File>,
    listener: Option<TcpListener>,
    target: Option<Target>,
}

/// A process that leaves every signal pending.
pub struct Target(Child);

impl Target {
    /// As this user.
    pub fn start(user: u32) -> Self {
        let mut command = Command::new("/usr/bin/sleep");
        command.arg("600").uid(user).gid(user).stdin(Stdio::null());
        // SAFETY: async-signal-safe calls on the child's own mask.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(nix::sys::signal::SigSet::all().thread_block()?)
            });
        }
        Self(command.spawn().expect("start a process to be signalled"))
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    fn status(&self, line: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("read its status");
        status.lines().find_map(|l| l.strip_prefix(line)).expect(line).trim().into()
    }

    /// Signals that wait for its user, each as often as it was sent.
    pub fn queued(&self) -> usize {
        self.status("SigQ:").split('/').next().and_then(|n| n.parse().ok()).expect("a number")
    }

    /// Different real-time signals that it got.
    pub fn signalled(&self) -> usize {
        // Sent to the process, or to its thread.
        let pending = |line| u64::from_str_radix(&self.status(line), 16).expect("a number");
        let mask = pending("ShdPnd:") | pending("SigPnd:");
        (mask >> (FIRST_SIGNAL - 1)).count_ones() as usize
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Trap {
    /// In this folder, for attackers of this user; what was there is gone.
    pub fn set(folder: &Path, operation: &str, user: u32) -> Self {
        Self::with(folder, operation, user, objects())
    }

    /// Likewise, with at most so many objects.
    pub fn with(folder: &Path, operation: &str, user: u32, most: usize) -> Self {
        let _ = fs::remove_dir_all(folder);
        open_folder(folder);
        let count = match operation {
            // The attacker is gone if it succeeds; each attacker is another process.
            "exec" | "program" => 1,
            "kill" => most.min(SIGNALS),
            _ => most,
        };
        let mut trap = Self {
            folder: folder.into(),
            count,
            operation: operation.into(),
            fifo: None,
            listener: None,
            target: None,
        };
        match operation {
            "unlink" | "rename" | "mode" => (0..count).for_each(|n| trap.put(n)),
            "write" => trap.fifo = Some(make_fifo(&folder.join("fifo"))),
            "connect" => trap.listener = Some(listen()),
            "kill" => trap.target = Some(Target::start(user)),
            _ => {}
        }
        trap
    }

    fn put(&self, n: usize) {
        let file = self.folder.join(n.to_string());
        fs::write(&file, "precious").expect("write a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("open a file");
    }

    /// The last argument of the attack.
    pub fn extra(&self, victims: &Path) -> String {
        match (&self.listener, &self.target) {
            (Some(listener), _) => listener.local_addr().expect("its address").port().to_string(),
            (_, Some(target)) => target.0.id().to_string(),
            _ if self.operation == "program" => victims.join("unlearnt").display().to_string(),
            _ => String::new(),
        }
    }

    /// Calls that had their effect. What is counted is consumed.
    pub fn leaks(&self) -> usize {
        let file = |n: usize| self.folder.join(n.to_string());
        let count = |had_effect: &dyn Fn(usize) -> bool| (0..self.count).filter(|n| had_effect(*n)).count();
        match &self.operation[..] {
            "unlink" => count(&|n| !file(n).exists()),
            "rename" => count(&|n| self.folder.join(format!("{n}.moved")).exists()),
            "mode" => count(&|n| fs::read(file(n)).is_ok_and(|c| c != b"precious")),
            "write" => {
                let mut bytes = [0; 4096];
                match self.fifo.as_ref().expect("a pipe").read(&mut bytes) {
                    Ok(len) => len,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
                    Err(e) => panic!("read the pipe: {e}"),
                }
            }
            "connect" => {
                let listener = self.listener.as_ref().expect("a listener");
                std::iter::from_fn(|| listener.accept().ok()).count()
            }
            "kill" => self.target.as_ref().expect("a process").signalled(),
            _ => count(&|n| file(n).exists()),
        }
    }
}

/// A pipe for everybody, whose reading never waits.
pub fn make_fifo(path: &Path) -> File {
    nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o666)).expect("make a pipe");
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).expect("open a pipe");
    // Both ends: nobody who opens it has to wait.
    File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path).expect("open a pipe")
}

/// On a port of its own; accepting never waits.
pub fn listen() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    listener.set_nonblocking(true).expect("do not wait");
    listener
}

/// A PHP that makes allowed calls. Ended with the test.
pub struct Worker {
    child: Option<Child>,
}

impl Worker {
    /// Whether it still runs.
    pub fn lives(&mut self) -> bool {
        let child = self.child.as_mut().expect("it was started");
        child.try_wait().expect("wait").is_none()
    }

    fn calls(mut self) -> u64 {
        let output = self.child.take().expect("it was started").wait_with_output().expect("wait for PHP");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "a worker was lost: {}: {text}", output.status);
        let mut words = text.split_ascii_whitespace();
        let calls = words.next().and_then(|w| w.parse().ok()).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(words.next(), Some("0"), "calls that did something else: {text}");
        calls
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A shell that PHP started, which goes on starting programs: all of it was learnt.
pub struct Beat {
    child: Option<Child>,
    folder: PathBuf,
}

impl Beat {
    /// Starts PHP and the shell.
    pub fn start(arena: &Arena) -> Self {
        let folder = arena.folder("beat");
        let mut command = arena.php("attack.php", &["Good", "beat", &folder.display().to_string(), "1"]);
        Self { child: Some(ends_with_test(&mut command).spawn().expect("start PHP")), folder }
    }

    /// Whether there was another beat since the last one that was asked for.
    pub fn beats(&self) -> bool {
        fs::remove_file(self.folder.join("beat")).is_ok()
    }

    /// Ends it; everything must have gone well.
    pub fn stop(mut self) {
        fs::write(self.folder.join("stop"), "").expect("tell it to stop");
        let child = self.child.take().expect("it was started");
        let output = child.wait_with_output().expect("wait for PHP");
        assert!(output.status.success() && output.stdout.starts_with(b"survived"), "{output:?}");
        fs::remove_dir_all(&self.folder).expect("remove a folder");
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The shell ends by itself: its folder goes with the test's.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Asks a session over its socket, as `ctl` does, without the time that a process takes.
pub fn ask(session: &Running, request: &str) -> String {
    let name = tracer().file_name().expect("a name").to_string_lossy().into_owned();
    let path = format!("/run/php-tracer/{name}.{}", session.pid());
    let mut stream = UnixStream::connect(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    stream.write_all(format!("{request}\n").as_bytes()).expect("ask the session");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("read its answer");
    reply
}

/// What `ctl status` says.
pub struct Status(String);

impl Status {
    /// By the command line.
    pub fn of(session: &Running) -> Self {
        let output = Command::new(tracer())
            .args(["ctl", "--pid", &session.pid().to_string(), "status"])
            .output()
            .expect("run ctl");
        assert!(output.status.success(), "{output:?}");
        Self(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A counter by its words.
    pub fn count(&self, told: &str) -> u64 {
        let line = self.0.lines().find_map(|l| l.trim().strip_suffix(told)).map(str::trim);
        line.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("no `{told}` in\n{}", self.0))
    }

    /// The sum of the counters whose words begin like this.
    pub fn sum(&self, start: &str) -> u64 {
        let lines = self.0.lines().filter_map(|l| l.trim().split_once("  "));
        let counts = lines.filter(|(_, told)| told.starts_with(start));
        counts.map(|(n, _)| n.parse::<u64>().expect("a number")).sum()
    }

    /// All decided, by known sites, nothing missed, and all of it told.
    pub fn assert_sound(&self) {
        self.assert_decided();
        assert_eq!(self.count("records lost: the ring buffer was full"), 0, "{}", self.0);
    }

    /// Likewise, told or not.
    pub fn assert_decided(&self) {
        let (decided, allowed) =
            (self.count("calls decided in the kernel"), self.count("calls allowed there"));
        assert_eq!(decided, allowed + self.sum("violations: "), "the numbers do not add up\n{}", self.0);
        assert_eq!(self.sum("unknown site: "), 0, "{}", self.0);
        for wrong in [
            "programs skipped by the kernel",
            "violations: unknown-site",
            "no scratch space",
            "operations at a hook that nothing was there to decide about",
            "kills from the kernel that failed",
            "task storage could not be created",
            "no room for another site",
            "no room for another process",
        ] {
            assert_eq!(self.count(wrong), 0, "{wrong}\n{}", self.0);
        }
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// Smallest, middle, largest.
pub fn spread(values: &[usize]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let at = |n: usize| sorted.get(n).copied().unwrap_or(0);
    format!("{:>3} {:>6} {:>3}", at(0), at(sorted.len() / 2), at(sorted.len().saturating_sub(1)))
}

/// A session's arguments with `--cross-check`, unless the environment asks for it in all of them.
pub fn checked(session: Session) -> Session {
    if std::env::var_os("CROSS_CHECK").is_some() { session } else { session.arg("--cross-check") }
}
