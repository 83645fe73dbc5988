//! What the tests share: a PHP, a php-fpm, one session in which everything honest is learnt, one under sandbox.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::{fmt, fs};

use e2e::arena::{Arena, Status, USER};
use e2e::fpm::{Fpm, Setup, age};
use e2e::session::{Running, Session};
use serde_json::Value;

use super::trap::Trap;
use super::{calls, fpm, honest};

/// Attacks on each operation.
pub const ATTACKS: usize = 100;
/// How often each is learnt.
pub const TWINS: usize = 3;

/// What is policed in the shared sessions: whatever a hook can see, but for memory and writes, of which everybody has many.
pub const POLICED: &str = "relevant,accept,inotify_add_watch";

/// What a run of `attack.php` or `calls` told of one operation.
pub struct Told {
    pub done: usize,
    pub denied: usize,
    other: Value,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} done, {} told EPERM, told otherwise: {}", self.done, self.denied, self.other)
    }
}

/// The shared files and pools.
pub struct World {
    pub arena: Arena,
    pub fpm: Mutex<Fpm>,
    session: Mutex<Option<Running>>,
}

/// A session of `phase3-lsm --lsm` with its files in `folder`.
pub fn session(folder: &Path, mode: &str) -> Session {
    Session::new(folder, mode).arg("--lsm")
}

/// A folder with PHP and the victims of this suite.
pub fn arena() -> Arena {
    let arena = Arena::new();
    deploy(arena.root());
    let program = arena.path("calls");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("victims/lsm/calls.c");
    // Static: a program that loads libraries reads files and maps what can be executed.
    let built = Command::new("cc")
        .args(["-static", "-pthread", "-o"])
        .arg(&program)
        .arg(source)
        .status()
        .expect("run cc");
    assert!(built.success(), "calls.c does not build");
    // Other programs in the kernel's eyes: what one has learnt is not the other's.
    for copy in ["calls-learnt", "calls-prepared"] {
        fs::copy(&program, arena.path(copy)).expect("copy a program");
    }
    arena
}

/// Copies the victims of this suite, and makes Bad of Good.
pub fn deploy(to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("victims/lsm");
    for name in [
        "attack.php",
        "run.php",
        "index.php",
        "shell.php",
        "missing.php",
        "inner.php",
        "hammer.php",
        "memory.php",
    ] {
        fs::copy(from.join(name), to.join(name)).expect("copy a victim");
    }
    let code = fs::read_to_string(from.join("operations.php")).expect("read a victim");
    fs::write(to.join("good.php"), &code).expect("write a victim");
    fs::write(to.join("bad.php"), code.replace("class Good", "class Bad")).expect("write a victim");
}

/// PHP as this user.
pub fn php(arena: &Arena, user: u32, script: &str, args: &[&str]) -> Command {
    if user == USER {
        return arena.php(script, args);
    }
    let mut command = Command::new(arena.path("php"));
    command.args(["-n", "-d", "extension=posix", "-d", "extension=sockets"]);
    command.arg(arena.path(script)).args(args).current_dir(arena.root());
    command.uid(user).gid(user).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end; what it printed. It must not have been killed.
pub fn survives(command: &mut Command) -> String {
    let output = command.output().expect("run PHP");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some(), "it was killed: {}: {text}{errors}", output.status);
    text + &errors
}

/// What was told of each operation.
pub fn told(text: &str) -> BTreeMap<String, Told> {
    let line = |line: &str| {
        let (operation, json) = line.split_once(" {")?;
        let json: Value = serde_json::from_str(&format!("{{{json}")).ok()?;
        let number = |field: &str| json[field].as_u64().unwrap_or(0) as usize;
        let told = Told { done: number("done"), denied: number("denied"), other: json["other"].clone() };
        Some((operation.to_owned(), told))
    };
    text.lines().filter_map(line).collect()
}

/// Fresh traps for these operations.
pub fn traps(arena: &Arena, operations: &[&str], count: usize, owner: u32) -> Vec<Trap> {
    let folder = arena.folder("traps");
    let set = |operation: &&str| Trap::set(&folder, operation, count, owner, &arena.path("php"));
    operations.iter().map(set).collect()
}

/// `attack.php`: this class does these operations to the traps.
pub fn run(arena: &Arena, user: u32, class: &str, traps: &[Trap], count: usize) -> String {
    let (folder, count) = (arena.arg("traps"), count.to_string());
    let operations: Vec<String> = traps.iter().map(Trap::argument).collect();
    let mut args = vec![class, &folder, &count];
    args.extend(operations.iter().map(String::as_str));
    let text = survives(&mut php(arena, user, "attack.php", &args));
    assert!(text.contains("goes on") || operations.len() == 1, "PHP did not go on: {text}");
    text
}

/// What is not as it should be: done so often, told `EPERM` so often, and with so many effects.
fn wrong(text: &str, operations: &[&str], traps: &[Trap], done: usize, denied: usize) -> String {
    let told = told(text);
    let mut wrong = String::new();
    for (operation, trap) in operations.iter().zip(traps) {
        let (told, effects) = (told.get(*operation), trap.leaks());
        let is_right = told.is_some_and(|told| (told.done, told.denied) == (done, denied));
        if !is_right || effects.is_some_and(|effects| effects != done) {
            let told = told.map_or_else(|| "nothing told".into(), ToString::to_string);
            let _ = writeln!(wrong, "{operation}: {told}; effects: {effects:?}");
        }
    }
    wrong
}

/// Each was done, every time.
pub fn assert_done(text: &str, operations: &[&str], traps: &[Trap], count: usize) {
    let wrong = wrong(text, operations, traps, count, 0);
    assert!(wrong.is_empty(), "not done, or without effect:\n{wrong}\n{text}");
}

/// None was done, and each told so.
pub fn assert_denied(text: &str, operations: &[&str], traps: &[Trap], count: usize) {
    let wrong = wrong(text, operations, traps, 0, count);
    assert!(wrong.is_empty(), "LEAKS, or not told EPERM:\n{wrong}");
}

/// Operations that a profile grants to this function.
pub fn granted(profile: &Value, function: &str) -> Vec<String> {
    let grants = profile["grants"].as_array().expect("grants");
    let of = grants.iter().filter(|grant| grant["sites"][0]["function"] == function);
    of.filter_map(|grant| grant["operation"].as_str().map(ToOwned::to_owned)).collect()
}

impl World {
    fn prepare() -> Self {
        let arena = arena();
        let fpm = Fpm::prepare(Setup::workers(2));
        let public = fpm.app().join("public");
        deploy(&public);
        for entry in fs::read_dir(&public).expect("read a folder").flatten() {
            age(&entry.path());
        }
        fpm::prepare(&fpm);
        honest::prepare(&arena);
        Self { arena, fpm: Mutex::new(fpm), session: Mutex::new(None) }
    }

    fn session(&self, mode: &str) -> Session {
        let fpm = self.fpm().binary().display().to_string();
        session(self.arena.root(), mode).arg("--php").arg(self.arena.arg("php")).arg("--php").arg(fpm)
    }

    /// The php-fpm.
    pub fn fpm(&self) -> MutexGuard<'_, Fpm> {
        self.fpm.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The session under sandbox; started when it is first asked for.
    pub fn sandbox(&self) -> MutexGuard<'_, Option<Running>> {
        static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
        let mut session = self.session.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let started = STARTED.get_or_init(|| {
            caught(|| {
                *session = Some(self.session("--sandbox").start());
                self.fpm().start();
            })
        });
        if let Err(why) = started {
            panic!("there is no sandbox: {why}");
        }
        session
    }

    /// Violations that the session under sandbox has counted.
    pub fn violations(&self) -> u64 {
        Status::of(self.sandbox().as_ref().expect("the shared sandbox")).sum("violations: ")
    }

    /// Panics if there were more; with the last ones that were told.
    pub fn assert_no_more(&self, before: u64, what: &str) {
        let now = self.violations();
        if now == before {
            return;
        }
        let events = self.sandbox().as_ref().expect("the shared sandbox").events();
        let told = events.into_iter().rev().filter(|event| event["kind"] == "violation");
        let told: Vec<_> = told.take((now - before) as usize).collect();
        panic!("{what}: {} violations: {told:#?}", now - before);
    }

    /// Where the profile is.
    pub fn profile(&self) -> PathBuf {
        self.arena.path("p.profile")
    }
}

fn caught<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
    })
}

/// Files and pools, and nobody who watches them.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(World::prepare)
}

/// All that is honest.
pub fn honest(world: &World) {
    honest::learn(world);
    calls::learn(world);
    fpm::learn(world);
}

/// Everything honest learnt, once for all tests.
pub fn learnt() -> &'static World {
    static LEARNT: OnceLock<Result<(), String>> = OnceLock::new();
    let world = world();
    let learn = || {
        let session = world.session("--profile").arg("--syscalls").arg(POLICED).start();
        honest(world);
        let ran = session.stop();
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        fs::set_permissions(world.profile(), fs::Permissions::from_mode(0o600)).expect("chmod");
    };
    if let Err(why) = LEARNT.get_or_init(|| caught(learn)) {
        panic!("nothing was learnt: {why}");
    }
    world
}
