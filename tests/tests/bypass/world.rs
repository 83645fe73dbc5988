//! One folder, one learning session, one sandbox, for all attempts.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use e2e::arena::open_folder;
use e2e::bypass::{Attempt, Expect, Outcome, Strategy, all, folder, strategy, with_hooks};
use e2e::session::{Session, tracer};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;
use tempfile::TempDir;

use super::trap::{Trap, remove_pins};

/// Nobody else's on this machine: what is left of an attempt is found by it.
pub const USER: u32 = 58111;

/// For one run, also where processors are emulated.
const TOO_LONG: Duration = Duration::from_secs(60);
/// In it a violation is told that nobody waits for.
const A_MOMENT: Duration = Duration::from_millis(300);

/// What came of an attempt, and what should not have.
#[derive(Default)]
pub struct Ran {
    pub outcome: Option<Outcome>,
    pub wrong: Vec<String>,
}

/// All of them.
pub struct Results {
    pub all: Vec<Ran>,
}

/// Of the attempts with these names; run when it is first asked for.
pub fn results(names: &[String]) -> &'static Results {
    static RESULTS: OnceLock<Result<Results, String>> = OnceLock::new();
    let ran = RESULTS.get_or_init(|| {
        catch_unwind(AssertUnwindSafe(|| run_all(names))).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
        })
    });
    ran.as_ref().unwrap_or_else(|why| panic!("the attempts could not be run: {why}"))
}

fn run_all(names: &[String]) -> Results {
    let attempts: Vec<Attempt> = all().into_iter().filter(|a| names.contains(&a.name)).collect();
    let world = World::prepare();
    let mut ran: Vec<Ran> = attempts.iter().map(|_| Ran::default()).collect();
    let possible: Vec<bool> =
        attempts.iter().zip(&mut ran).map(|(attempt, ran)| world.baseline(attempt, ran)).collect();
    remove_pins();
    world.learn(&attempts, &mut ran);
    let session = world.session("--sandbox").start();
    let mut told = Told::of(&world.path("events.jsonl"));
    world.twins(&mut told, &attempts, &mut ran);
    world.tracer.store(session.pid().unsigned_abs(), Relaxed);
    let mut last = Vec::new();
    for ((attempt, ran), is_possible) in attempts.iter().zip(&mut ran).zip(possible) {
        if attempt.field("Session").is_some() {
            last.push((attempt, ran));
        } else {
            world.attack(&mut told, attempt, is_possible, ran);
        }
    }
    session.stop();
    world.tracer.store(0, Relaxed);
    for (attempt, ran) in last {
        match attempt.field("Session") {
            Some("full disk") => world.on_a_full_disk(attempt, ran),
            Some("slow reader") => world.with_a_slow_reader(attempt, ran),
            Some("persistent") => world.where_enforcement_persists(attempt, ran),
            Some("crowded") => world.where_names_are_many(attempt, ran),
            other => panic!("no session is called {other:?}"),
        }
    }
    let results = Results { all: ran };
    results.write();
    results
}

/// A line of the results.
fn line(outcome: &Outcome) -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    outcome.to_json(strategy(), kernel.trim()).to_string()
}

impl Ran {
    /// At once, and not only at the end: for who runs this in a guest, whose files are gone with it.
    fn tell(&mut self, outcome: Outcome) {
        println!("bypass-result: {}", line(&outcome));
        self.outcome = Some(outcome);
    }
}

impl Results {
    /// JSON Lines in the folder of what was built.
    fn write(&self) {
        let own = std::env::current_exe().expect("own path");
        let Some(target) = own.ancestors().nth(3) else { return };
        let lines = self.all.iter().filter_map(|ran| ran.outcome.as_ref());
        let lines: Vec<String> = lines.map(|outcome| line(outcome) + "\n").collect();
        // In a guest it cannot be written to.
        let _ = fs::write(target.join(format!("bypass-{}.jsonl", strategy().name())), lines.concat());
    }
}

/// What one run of an attempt did.
struct Did {
    effects: usize,
    of: usize,
    said: String,
}

struct World {
    folder: TempDir,
    /// Whom attackers reach for; 0: there is none.
    tracer: AtomicU32,
}

impl World {
    fn prepare() -> Self {
        let dir = tempfile::Builder::new().prefix("e2e-bypass-").tempdir_in("/dev/shm").expect("a folder");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("open the folder");
        let world = Self { folder: dir, tracer: AtomicU32::new(0) };
        fs::copy("/usr/bin/php8.2", world.path("php")).expect("copy PHP");
        fs::copy("/usr/bin/touch", world.path("unlearnt")).expect("copy a program");
        let copied =
            Command::new("cp").arg("-r").arg(folder().join(".")).arg(world.root()).status().expect("cp");
        assert!(copied.success());
        open_folder(&world.path("area"));
        world.build();
        world
    }

    fn build(&self) {
        let victims = folder().join("../victims/lsm");
        let include = format!("-I{}", victims.display());
        let ways = folder().join("ways.c").display().to_string();
        let cc = |arguments: &[&str], to: &str| {
            let mut command = Command::new("cc");
            command.args(["-O1", "-w", "-pthread", &include]).args(arguments).arg("-o").arg(self.path(to));
            assert!(command.status().expect("run cc").success(), "{arguments:?} does not build");
        };
        cc(&[&ways], "ways");
        cc(&["-static", &ways], "ways-static");
        cc(&["-shared", "-fPIC", &folder().join("preload.c").display().to_string()], "preload.so");
        // Other programs in the kernel's eyes: what one has learnt is not the other's.
        for name in ["ways-granted", "ways-prey", "covered", "set-user-id"] {
            fs::copy(self.path("ways"), self.path(name)).expect("copy a program");
        }
        fs::copy(self.path("ways-static"), self.path("ways-static-granted")).expect("copy a program");
        self.programs();
        let mode = fs::Permissions::from_mode(0o4755);
        fs::set_permissions(self.path("set-user-id"), mode).expect("set a mode");
    }

    /// Two for each way. They are static: a loader's calls would be learnt for what they start.
    fn programs(&self) {
        fs::create_dir(self.path("programs")).expect("make a folder");
        for path in fs::read_dir(folder().join("coverage")).expect("read a folder").flatten() {
            let text = fs::read_to_string(path.path()).expect("read an attempt");
            let way = text.split("way('").nth(1).and_then(|rest| rest.split('\'').next());
            let Some(way) = way else { continue };
            for name in [way.to_owned(), format!("{way}-granted")] {
                let to = self.path("programs").join(name);
                fs::hard_link(self.path("ways-static"), to).expect("link a program");
            }
        }
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    fn session(&self, mode: &str) -> Session {
        self.session_in(self.root(), mode)
    }

    fn session_in(&self, folder: &Path, mode: &str) -> Session {
        let session = Session::new(folder, mode).arg("--php").arg(self.path("php").display().to_string());
        with_hooks(session.arg("--allow-privileged"))
    }

    /// Files of the attempt's own.
    fn deploy(&self, attempt: &Attempt) {
        let (traps, php) = (self.path("traps"), self.path("php").display().to_string());
        let root = self.root().display().to_string();
        let replaced = |text: &str| {
            let text = text.replace("OPEN", &format!("{root}/area/open")).replace("ROOT", &root);
            if text == "PHP" { php.clone() } else { text.replace("#!PHP", &format!("#!{php}")) + "\n" }
        };
        for (name, text) in attempt.named("File") {
            fs::write(traps.join(name), replaced(text)).expect("write a file");
        }
        for (name, other) in attempt.named("Append") {
            let text = fs::read_to_string(traps.join(name)).expect("read a file")
                + &fs::read_to_string(self.path(other)).expect("read a file");
            fs::write(traps.join(name), text).expect("write a file");
            fs::set_permissions(traps.join(name), fs::Permissions::from_mode(0o755)).expect("set a mode");
        }
        for (name, to) in attempt.named("Link") {
            let to = replaced(to);
            symlink(to.trim_end(), traps.join(name)).expect("make a link");
        }
        for (name, from) in attempt.named("Copy") {
            fs::copy(replaced(from).trim_end(), traps.join(name)).expect("copy a file");
        }
        for (name, file) in attempt.named("Archive") {
            let made =
                Command::new("tar").args(["-cf", name]).args(file.split(' ')).current_dir(&traps).status();
            assert!(made.expect("run tar").success());
        }
    }

    fn command(&self, attempt: &Attempt, role: &str, trap: &Trap) -> Command {
        let mut command = Command::new(self.path("php"));
        // Without an ini file: a third of the time to start, and the same on every machine.
        command.args(["-n", "-d", "extension=posix"]);
        command.args(attempt.field("Options").unwrap_or_default().split(' ').filter(|o| !o.is_empty()));
        command.arg(self.path(&format!("{}.php", attempt.name))).arg(role).arg(self.path("traps"));
        command.args([trap.count.to_string(), trap.extra(self.root())]).current_dir(self.root());
        let user = if attempt.field("User") == Some("root") { 0 } else { USER };
        command.uid(user).gid(user).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// One run, to the end of all that it started.
    fn run(&self, attempt: &Attempt, role: &str) -> Did {
        let effect = if role == "twin" { attempt.twin_effect().unwrap_or("made") } else { attempt.effect() };
        let mut trap = Trap::set(self.root(), effect);
        let reaches = effect == "stopped" || attempt.field("Session") == Some("persistent");
        trap.instead = Some(self.tracer.load(Relaxed)).filter(|pid| *pid != 0 && role == "attack" && reaches);
        if attempt.name == "coverage/remove-folder" {
            trap.with_folders();
        }
        if attempt.field("Tries").is_some_and(|tries| tries.contains("script of the profile")) {
            drop(Trap::set(self.root(), "script"));
            drop(Trap::set(self.root(), effect));
        }
        self.deploy(attempt);
        let output = self.ended(&mut self.command(attempt, role, &trap), &trap);
        let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
        Did { effects: trap.effects(), of: trap.count, said }
    }

    /// Runs it, and waits for all that it started; what takes too long is killed.
    fn ended(&self, command: &mut Command, trap: &Trap) -> Output {
        let child = command.spawn().expect("run PHP");
        let innocents = trap.innocents();
        std::thread::scope(|scope| {
            let (is_over, over) = channel();
            scope.spawn(move || {
                if over.recv_timeout(TOO_LONG) == Err(RecvTimeoutError::Timeout) {
                    self.others(&innocents).into_iter().for_each(kill);
                }
            });
            let output = child.wait_with_output().expect("wait for PHP");
            let innocents = trap.innocents();
            while !self.others(&innocents).is_empty() {
                std::thread::sleep(Duration::from_millis(2));
            }
            let _ = is_over.send(());
            output
        })
    }

    /// Nobody else has this user, and nobody else runs what is in this folder.
    fn others(&self, innocents: &BTreeSet<u32>) -> Vec<u32> {
        let is_one = |pid: &u32| {
            let own = fs::metadata(format!("/proc/{pid}")).is_ok_and(|about| about.uid() == USER);
            let exe = fs::read_link(format!("/proc/{pid}/exe"));
            (own || exe.is_ok_and(|exe| exe.starts_with(self.root())))
                && !innocents.contains(pid)
                && lives(*pid)
        };
        let entries = fs::read_dir("/proc").expect("read /proc").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(is_one).collect()
    }

    /// Whether the attack works where nobody watches: else nothing is shown by its being stopped.
    fn baseline(&self, attempt: &Attempt, ran: &mut Ran) -> bool {
        let did = self.run(attempt, "attack");
        let is_possible = did.effects > 0;
        // Some depend on when the kernel gets round to it.
        let seldom = did.effects * 2 < did.of;
        if seldom && (did.effects > 0 || attempt.field("Needs").is_none()) {
            ran.wrong
                .push(format!("not watched, it works {} of {} times: {}", did.effects, did.of, did.said));
        }
        is_possible
    }

    /// The twin has its effect, every time.
    fn twin(&self, attempt: &Attempt, ran: &mut Ran, when: &str) {
        if attempt.twin_effect().is_none() {
            return;
        }
        let did = self.run(attempt, "twin");
        if did.effects != did.of && (did.effects > 0 || attempt.field("Needs").is_none()) {
            let Did { effects, of, said } = did;
            ran.wrong.push(format!("{when}: the twin works {effects} of {of} times: {said}"));
        }
    }

    fn learn(&self, attempts: &[Attempt], ran: &mut [Ran]) {
        let session = self.session("--profile").arg("--force").start();
        for (attempt, ran) in attempts.iter().zip(ran) {
            self.run(attempt, "dry");
            self.twin(attempt, ran, "learning");
        }
        let learnt = session.stop();
        assert_eq!(learnt.status, 0, "{}", learnt.stderr);
        fs::set_permissions(self.path("p.profile"), fs::Permissions::from_mode(0o600)).expect("chmod");
    }

    /// All of them: no violation.
    fn twins(&self, told: &mut Told, attempts: &[Attempt], ran: &mut [Ran]) {
        for (attempt, ran) in attempts.iter().zip(ran.iter_mut()) {
            self.twin(attempt, ran, "in the sandbox");
            let violations = told.new_ones(Duration::ZERO);
            if let Some(first) = violations.first() {
                ran.wrong.push(format!("{} violations of the twin: {first:#}", violations.len()));
            }
        }
        let late = told.new_ones(A_MOMENT);
        assert!(late.is_empty(), "violations of twins: {late:#?}");
    }

    /// In a session of its own, whose events do not fit any more. By what is left it is seen that it was stopped.
    fn on_a_full_disk(&self, attempt: &Attempt, ran: &mut Ran) {
        let small = self.path("small");
        fs::create_dir(&small).expect("make a folder");
        let profile = fs::read(self.path("p.profile")).expect("read the profile");
        let size = format!("mode=0755,size={}", profile.len() + (64 << 10));
        mount(Some("tmpfs"), &small, Some("tmpfs"), MsFlags::empty(), Some(&size[..]))
            .expect("mount a tmpfs");
        fs::write(small.join("p.profile"), profile).expect("write the profile");
        fs::set_permissions(small.join("p.profile"), fs::Permissions::from_mode(0o600)).expect("chmod");
        let session = self.session_in(&small, "--sandbox").start();
        self.fill(&small.join("events.jsonl"));
        let did = self.run(attempt, "attack");
        untold(attempt, &did, ran);
        // Its last line is not whole.
        fs::remove_file(small.join("events.jsonl")).expect("remove the events");
        drop(session);
        umount2(&small, MntFlags::MNT_DETACH).expect("unmount");
    }

    /// In a session of its own, whose events nobody reads.
    fn with_a_slow_reader(&self, attempt: &Attempt, ran: &mut Ran) {
        let folder = self.with_the_profile("slow");
        let pipe = folder.join("pipe");
        mkfifo(&pipe, Mode::S_IRWXU).expect("make a pipe");
        let reader = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&pipe);
        let reader = reader.expect("open the pipe");
        let session = self.session_in(&folder, "--sandbox").events_to(&pipe).start();
        let flood = all().into_iter().find(|attempt| attempt.name == "escape/fork-each").expect("an attempt");
        let mut before = 0;
        while waiting(&reader) != before || before == 0 {
            before = waiting(&reader);
            self.run(&flood, "attack");
            std::thread::sleep(Duration::from_millis(300));
        }
        assert!(before > 32 << 10, "{before} bytes of events");
        self.twin(attempt, ran, "while nobody reads events");
        let did = self.run(attempt, "attack");
        untold(attempt, &did, ran);
        drop(reader);
        assert_eq!(session.stop().status, 0);
    }

    /// In a session of its own, which honest processes come to afterwards.
    fn where_names_are_many(&self, attempt: &Attempt, ran: &mut Ran) {
        let folder = self.with_the_profile("crowded");
        let session = self.session_in(&folder, "--sandbox").start();
        let did = self.run(attempt, "attack");
        untold(attempt, &did, ran);
        self.twin(attempt, ran, "where names are many");
        let said = session.stop().stderr;
        // Who decides in the kernel is told no chain of what it allows.
        if strategy() == Strategy::Phase1 && !said.contains("no room for another site") {
            ran.wrong.push(format!("there was room for all names: {said}"));
        }
    }

    /// In a session of its own, which the attacker may outlive. What is told of it is not looked at.
    fn where_enforcement_persists(&self, attempt: &Attempt, ran: &mut Ran) {
        if strategy() == Strategy::Phase1 {
            return; // it cannot
        }
        let folder = self.with_the_profile(&attempt.name.replace('/', "-"));
        let session = self.session_in(&folder, "--sandbox").arg("--persist").start();
        self.tracer.store(session.pid().unsigned_abs(), Relaxed);
        self.twin(attempt, ran, "where enforcement persists");
        let did = self.run(attempt, "attack");
        self.tracer.store(0, Relaxed);
        untold(attempt, &did, ran);
        // Whoever comes next gets no further, whatever is left of the tracer.
        let next =
            all().into_iter().find(|attempt| attempt.name == "tracer/slow-reader").expect("an attempt");
        let after = self.run(&next, "attack");
        let most = usize::from(strategy() != Strategy::Lsm);
        if after.effects > most {
            ran.wrong.push(format!("afterwards {} of {} get through", after.effects, after.of));
        }
        drop(session);
        let mut end = Command::new(tracer());
        end.arg("--unpersist");
        if strategy() == Strategy::Lsm {
            end.arg("--lsm");
        }
        assert!(end.status().expect("run the tracer").success());
    }

    /// A folder with the profile in it, for a session of its own.
    fn with_the_profile(&self, name: &str) -> PathBuf {
        let folder = self.path(name);
        fs::create_dir(&folder).expect("make a folder");
        fs::copy(self.path("p.profile"), folder.join("p.profile")).expect("copy the profile");
        folder
    }

    /// With violations, each by another process.
    fn fill(&self, events: &Path) {
        let len = || fs::metadata(events).map_or(0, |about| about.len());
        let flood = all().into_iter().find(|attempt| attempt.name == "escape/fork-each").expect("an attempt");
        let mut before = 1;
        while len() != before {
            before = len();
            self.run(&flood, "attack");
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(before > 32 << 10, "{before} bytes of events");
    }

    fn attack(&self, told: &mut Told, attempt: &Attempt, is_possible: bool, ran: &mut Ran) {
        let did = self.run(attempt, "attack");
        let is_told = is_possible && attempt.expected(strategy()) != Expect::Open;
        let told = told.new_ones(if is_told { TOO_LONG } else { A_MOMENT });
        if let Some(forged) = told.iter().find(|event| event["kind"] != "violation") {
            ran.wrong.push(format!("not an event of the tracer's: {forged:#}"));
        }
        let outcome = Outcome {
            attempt: attempt.name.clone(),
            leaks: did.effects,
            of: did.of,
            violations: told.len(),
            reasons: distinct(&told, "reason"),
            operations: distinct(&told, "operation"),
            is_possible,
        };
        if let Some(why) = unexpected(&outcome, attempt.expected(strategy())) {
            let first = told.first();
            ran.wrong.push(format!("{why}: {outcome:?}: {}\n{first:#?}", did.said));
        }
        ran.tell(outcome);
    }
}

/// By what is left it is seen that it was stopped: what is told of it is not there to be looked at.
fn untold(attempt: &Attempt, did: &Did, ran: &mut Ran) {
    let outcome = Outcome {
        attempt: attempt.name.clone(),
        leaks: did.effects,
        of: did.of,
        violations: usize::from(did.effects < did.of),
        reasons: Vec::new(),
        operations: Vec::new(),
        is_possible: true,
    };
    if let Some(why) = unexpected(&outcome, attempt.expected(strategy())) {
        ran.wrong.push(format!("{why}: {outcome:?}: {}", did.said));
    }
    ran.tell(outcome);
}

/// Bytes in a pipe.
fn waiting(pipe: &fs::File) -> i32 {
    let mut bytes = 0;
    // SAFETY: the descriptor is open, and what is written is a local integer.
    assert_eq!(unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut bytes) }, 0);
    bytes
}

fn distinct(events: &[Value], key: &str) -> Vec<String> {
    let texts: BTreeSet<&str> = events.iter().filter_map(|event| event[key].as_str()).collect();
    texts.into_iter().map(ToOwned::to_owned).collect()
}

/// It is no zombie, which an orphan may stay for a while.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(pid as i32);
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}

/// What is not as the header says.
fn unexpected(outcome: &Outcome, expect: Expect) -> Option<&'static str> {
    let Outcome { leaks, violations, is_possible, .. } = *outcome;
    match expect {
        _ if !is_possible && leaks == 0 => None,
        Expect::Open if leaks == 0 => Some("stopped, and the header says that it is not"),
        Expect::Open => None,
        _ if violations == 0 => Some("nothing was told"),
        Expect::AtMost(most) if leaks > most => Some("TOO MUCH GOT THROUGH"),
        _ => None,
    }
}

/// What a session tells, from where it was read last.
pub struct Told {
    events: PathBuf,
    read: usize,
    taints: Vec<Value>,
}

impl Told {
    /// Of this event file.
    pub fn of(events: &Path) -> Self {
        Self { events: events.into(), read: 0, taints: Vec::new() }
    }

    /// Taints that were told until now.
    pub fn taints(&self) -> &[Value] {
        &self.taints
    }

    /// Violations that were told since; waits so long for one, and then for the last of them.
    pub fn new_ones(&mut self, wait: Duration) -> Vec<Value> {
        let until = Instant::now() + wait;
        let mut all = self.read();
        while all.is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
            all = self.read();
        }
        while !all.is_empty() {
            std::thread::sleep(Duration::from_millis(10));
            let more = self.read();
            if more.is_empty() {
                break;
            }
            all.extend(more);
        }
        all
    }

    fn read(&mut self) -> Vec<Value> {
        let text = fs::read(&self.events).unwrap_or_default();
        let new = &text[self.read.min(text.len())..];
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.read += whole;
        let event = |line: &[u8]| serde_json::from_slice::<Value>(line).expect("an event is a line of JSON");
        let lines = new[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let (taints, others) = lines.map(event).partition::<Vec<_>, _>(|event| event["kind"] == "taint");
        self.taints.extend(taints);
        others.into_iter().filter(|event| event["kind"] != "notice").collect()
    }
}
