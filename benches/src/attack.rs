//! Attacks on a sandbox, what comes of them counted by their effect.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use e2e::arena::{Arena, Trap, USER, pool, query};
use e2e::fpm::{Fpm, POOL_USER, Request, wait_until};
use nix::unistd::User;

use crate::strategy::{PROBES, Strategy};
use crate::tracer::{Tracer, child};
use crate::{interrupt, programs};

/// Operations: what the tracer calls it, what makes it in `attack.php`, how many calls an attack tries.
pub const OPERATIONS: [(&str, &str, usize); 8] = [
    ("unlink", "unlink", 1000),
    ("rename", "rename", 1000),
    ("write", "write", 1000),
    ("openat:create", "create", 1000),
    ("connect", "connect", 100),
    ("execve", "exec", 1),
    ("fork", "fork", 50),
    ("kill", "kill", 30),
];
/// Processes that attack at once.
pub const TOGETHER: usize = 8;
/// Children of the attacker who forks after each kill, and what each tries.
const CHILDREN: usize = 20;
const TRIES: usize = 50;
/// Requests of which every tenth attacks.
const EVERY: usize = 10;

fn requests() -> usize {
    // An emulated processor takes its time.
    if programs::is_guest() { 200 } else { 1000 }
}

/// How an attack is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// One PHP, a loop of this operation.
    Loop(usize),
    /// One PHP, one call of it.
    Once,
    /// Eight PHPs at once, a loop each.
    Together,
    /// A PHP that forks another child whenever one was killed.
    Forks,
    /// Requests to php-fpm, every tenth of which attacks.
    Requests,
}

impl Shape {
    /// All, by their table and row.
    pub fn all() -> Vec<(&'static str, &'static str, Self)> {
        let loops =
            OPERATIONS.iter().enumerate().map(|(n, (name, ..))| ("a loop in php-cli", *name, Self::Loop(n)));
        loops
            .chain([
                ("other shapes, of unlink", "one call", Self::Once),
                ("other shapes, of unlink", "eight processes at once", Self::Together),
                ("other shapes, of unlink", "forks again after each kill", Self::Forks),
                ("other shapes, of unlink", "php-fpm, every tenth request", Self::Requests),
            ])
            .collect()
    }
}

/// PHP, php-fpm, and what was learnt about them.
pub struct Scene {
    arena: Arena,
    fpm: Fpm,
}

impl Scene {
    /// With nothing learnt yet.
    pub fn new() -> Self {
        let mut fpm = pool(2);
        fpm.start();
        Self { arena: Arena::new(), fpm }
    }

    fn profile(&self, strategy: &Strategy) -> PathBuf {
        self.arena.path(strategy.profile())
    }

    fn session(&self, strategy: &Strategy, mode: &str, options: &[&str]) -> Result<Tracer> {
        let mut args: Vec<std::ffi::OsString> = vec![mode.into(), "--profile-file".into()];
        args.push(self.profile(strategy).into());
        // The pool passes no probes.
        let fpm = (*strategy != PROBES).then(|| self.fpm.binary());
        for php in std::iter::once(self.arena.path("php")).chain(fpm) {
            args.extend(["--php".into(), php.into_os_string()]);
        }
        args.extend(strategy.options.iter().chain(options).map(Into::into));
        Tracer::start(strategy.binary, args)
    }

    /// What each operation does when it is honest, unless there is such a profile.
    pub fn learn(&self, strategy: &Strategy) -> Result<()> {
        if self.profile(strategy).exists() {
            return Ok(());
        }
        let session = self.session(strategy, "--profile", &["--syscalls", "relevant,write"])?;
        // What workers do when they begin is learnt, too.
        self.fpm.reload();
        for shape in Shape::all() {
            let (tried, done) = self.make("Good", shape.2)?;
            ensure!(tried == done, "{}: what is honest does not work: {done:?} of {tried:?}", shape.1);
        }
        session.stop()
    }

    /// A sandbox that knows one operation by PHP's own probes, for attacks under what comes with it.
    pub fn probed(&self, operation: usize) -> Result<(Tracer, Command)> {
        // Without it PHP does not pass its probes.
        let mut wrapper = child("env");
        wrapper.arg("USE_ZEND_DTRACE=1");
        let (_, name, most) = OPERATIONS[operation];
        let honest = || -> Result<()> {
            let (tried, done) = self.one("Good", name, most, Some(&wrapper))?;
            ensure!(tried == done, "{name}: what is honest does not work: {done:?} of {tried:?}");
            Ok(())
        };
        let learning = self.session(&PROBES, "--profile", &["--syscalls", "seed"])?;
        honest()?;
        learning.stop()?;
        let session = self.session(&PROBES, "--sandbox", &[])?;
        honest()?;
        Ok((session, wrapper))
    }

    /// A sandbox that knows what was learnt, to attack.
    pub fn sandbox(&self, strategy: &Strategy) -> Result<Tracer> {
        self.learn(strategy)?;
        let session = self.session(strategy, "--sandbox", strategy.sandbox)?;
        // Workers that were there before are as they were.
        self.fpm.reload();
        Ok(session)
    }

    /// Without any enforcement every call of an attack has its effect; else what is counted means nothing.
    pub fn assert_attack_works(&self, shape: Shape) -> Result<()> {
        let (tried, done) = self.make("Bad", shape)?;
        ensure!(tried == done, "the attack does not work where nothing is enforced: {done:?} of {tried:?}");
        Ok(())
    }

    /// Calls that got through, for each attacking task.
    pub fn attack(&self, shape: Shape) -> Result<Vec<u64>> {
        interrupt::check()?;
        Ok(self.make("Bad", shape)?.1)
    }

    /// What each task tried, and what of it was done.
    fn make(&self, class: &str, shape: Shape) -> Result<(Vec<u64>, Vec<u64>)> {
        match shape {
            Shape::Loop(n) => self.one(class, OPERATIONS[n].1, OPERATIONS[n].2, None),
            Shape::Once => self.one(class, "unlink", 1, None),
            Shape::Together => self.together(class),
            Shape::Forks => self.forks(class),
            Shape::Requests => self.requests(class),
        }
    }

    fn one(
        &self,
        class: &str,
        operation: &str,
        most: usize,
        wrapper: Option<&Command>,
    ) -> Result<(Vec<u64>, Vec<u64>)> {
        let trap = Trap::with(&self.arena.folder("trap"), operation, USER, most);
        let mut php = self.arena.attacker(class, operation, &trap);
        if let Some(wrapper) = wrapper {
            php = self.under(wrapper, &php);
        }
        php.output().context("run PHP")?;
        if operation == "fork" {
            // A child that came to be leaves its mark after its parent's end.
            wait_until("all PHP of this attack has ended", || self.arena.running() == 0);
        }
        Ok((vec![trap.count as u64], vec![trap.leaks() as u64]))
    }

    /// PHP as the arena starts it, by another program.
    fn under(&self, wrapper: &Command, php: &Command) -> Command {
        let mut command = Command::new(wrapper.get_program());
        command.args(wrapper.get_args()).arg(php.get_program()).args(php.get_args());
        command.current_dir(self.arena.root()).uid(USER).gid(USER).stdin(Stdio::null());
        command
    }

    fn together(&self, class: &str) -> Result<(Vec<u64>, Vec<u64>)> {
        self.arena.folder("traps");
        let trap = |n: usize| Trap::with(&self.arena.folder(&format!("traps/{n}")), "unlink", USER, 200);
        let traps: Vec<Trap> = (0..TOGETHER).map(trap).collect();
        let start = |trap: &Trap| self.arena.attacker(class, "unlink", trap).stdout(Stdio::null()).spawn();
        let children: Vec<_> = traps.iter().map(start).collect::<Result<_, _>>().context("run PHP")?;
        for mut child in children {
            child.wait()?;
        }
        Ok((vec![200; TOGETHER], traps.iter().map(|trap| trap.leaks() as u64).collect()))
    }

    fn forks(&self, class: &str) -> Result<(Vec<u64>, Vec<u64>)> {
        let folder = self.arena.folder("trap");
        let file = |child: usize, n: usize| folder.join(format!("{child}-{n}"));
        for child in 0..CHILDREN {
            for n in 0..TRIES {
                fs::write(file(child, n), "precious")?;
            }
        }
        let at = folder.display().to_string();
        let args = [class, "supervise", &at, &CHILDREN.to_string(), &TRIES.to_string()];
        let output = self.arena.php("attack.php", &args).output().context("run PHP")?;
        ensure!(output.status.success(), "the parent did nothing wrong: {output:?}");
        let gone = |child: usize| (0..TRIES).filter(|n| !file(child, *n).exists()).count() as u64;
        let leaks = (0..CHILDREN).map(gone).collect();
        fs::remove_dir_all(&folder)?;
        Ok((vec![TRIES as u64; CHILDREN], leaks))
    }

    fn requests(&self, class: &str) -> Result<(Vec<u64>, Vec<u64>)> {
        let user = User::from_name(POOL_USER)?.context("the pool's user")?.uid.as_raw();
        let public = self.fpm.app().join("public");
        let (mut tried, mut leaks) = (Vec::new(), Vec::new());
        for n in 0..requests() {
            interrupt::check()?;
            if n % EVERY > 0 {
                self.fpm.must(&Request::get(""));
                continue;
            }
            let trap = Trap::with(&self.fpm.data().join("trap"), "unlink", user, 50);
            // Without an answer, where its worker was killed: what got done is what counts.
            let _ = self.fpm.get(&query(class, "unlink", &trap, &public));
            tried.push(trap.count as u64);
            leaks.push(trap.leaks() as u64);
        }
        Ok((tried, leaks))
    }

    /// What such a PHP calls when it is honest, by name: the allowlist of a whole process.
    pub fn calls(&self) -> Result<BTreeSet<String>> {
        let log = self.arena.path("strace");
        let mut calls = BTreeSet::new();
        for (_, operation, most) in OPERATIONS {
            let trap = Trap::with(&self.arena.folder("trap"), operation, USER, most.min(5));
            let php = self.arena.attacker("Good", operation, &trap);
            let mut strace = child("strace");
            strace.args(["-f", "-qq", "-o"]).arg(&log).arg(php.get_program()).args(php.get_args());
            ensure!(
                strace.stdout(Stdio::null()).status().context("run strace")?.success(),
                "PHP under strace failed"
            );
            calls.append(&mut programs::calls_in(&fs::read_to_string(&log)?));
        }
        Ok(calls)
    }

    /// A loop under another program that runs what comes after its own arguments.
    pub fn attack_under(&self, operation: usize, wrapper: &Command) -> Result<Vec<u64>> {
        interrupt::check()?;
        let (_, operation, most) = OPERATIONS[operation];
        Ok(self.one("Bad", operation, most, Some(wrapper))?.1)
    }

    /// Its folder.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}
