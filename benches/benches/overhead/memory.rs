//! Memory of phase 2, and how long a large profile takes to load and to show.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::record::Record;
use benches::tracer::{Tracer, child};
use benches::{Spread, interrupt, programs, ratio};
use libbpf_rs::{MapCore, MapHandle};
use nix::sys::signal::Signal;
use shared::op::Op;
use shared::profile::caps::SITES;
use shared::profile::{Grant, GrantKey, GrantMode, Profile, Who};
use shared::site::Site;

use crate::Arena;

const TRACER: &str = "phase2-kernel-kill";
/// A large application: methods of a class of a file each, with names as long as such names are.
const METHODS: usize = 64;
const OPERATIONS: [&str; 3] = ["unlink", "openat:read", "openat:create"];
/// ms that 50,000 sites may take to be loaded, and to be shown.
const MILLIS: f64 = 1000.0;
/// Every method of the files that it is given does one thing, at a site of its own.
const SCRIPT: &str = r"<?php
array_shift($argv);
foreach ($argv as $file) {
    include $file;
    $class = 'App\\Domain\\Module\\' . basename($file, '.php');
    foreach (get_class_methods($class) as $method) $class::$method();
}
echo 'done';
";

fn class(n: usize) -> String {
    format!("Service{n:04}")
}

fn method(n: usize) -> String {
    format!("handleRequest{n:02}")
}

struct Application {
    arena: Arena,
}

impl Application {
    /// One file of it is learnt; the others are like that one.
    fn new() -> Result<Self> {
        let arena = Arena::new()?;
        fs::create_dir(arena.path("src"))?;
        fs::write(arena.path("all.php"), SCRIPT)?;
        let this = Self { arena };
        this.write(0, METHODS)?;
        let learning = this.arena.session(TRACER, &[], "--profile", "small.profile")?;
        this.run(1)?;
        learning.stop()?;
        Ok(this)
    }

    fn file(&self, n: usize) -> String {
        self.arena.path(format!("src/{}.php", class(n))).display().to_string()
    }

    fn write(&self, n: usize, methods: usize) -> Result<()> {
        let mut text = format!("<?php namespace App\\Domain\\Module; class {} {{\n", class(n));
        for m in 0..methods {
            writeln!(text, "static function {}() {{ @unlink('missing'); }}", method(m))?;
        }
        text.push_str("}\n");
        Ok(fs::write(self.file(n), text)?)
    }

    /// Makes the profile as large as one can be: its sites, its grants, and the files they are in.
    fn grow(&self) -> Result<(usize, usize, usize)> {
        let mut profile = Profile::load(&self.arena.path("small.profile"))?;
        let operations: Vec<Op> = OPERATIONS.iter().map(|name| Op::parse(name)).collect::<Result<_, _>>()?;
        let mut missing = SITES - profile.sites().len();
        let mut files = 1;
        while missing > 0 {
            let methods = missing.min(METHODS);
            self.write(files, methods)?;
            for m in 0..methods {
                let class = format!("App\\Domain\\Module\\{}", class(files));
                let site = Site::function(self.file(files), Some(class.into()), method(m));
                profile.grants.extend(operations.iter().map(|op| grant(&site, *op)));
            }
            missing -= methods;
            files += 1;
        }
        profile.normalize();
        profile.save(&self.arena.path("large.profile"), true)?;
        Ok((profile.sites().len(), profile.grants.len(), files))
    }

    fn php(&self, files: usize) -> Result<Output> {
        let mut php = self.arena.php("all.php", &[]);
        php.current_dir(self.arena.path("")).args((0..files).map(|n| self.file(n)));
        php.stdout(Stdio::piped()).output().context("run PHP")
    }

    /// Runs that many files of it.
    fn run(&self, files: usize) -> Result<()> {
        let output = self.php(files)?;
        ensure!(output.stdout == b"done", "PHP ended with {}", output.status);
        Ok(())
    }

    /// A method of another file is killed at the call that all of them make: the call is judged, not just let go.
    fn assert_judged(&self) -> Result<()> {
        self.write(1, 1)?;
        let session = self.session("small.profile")?;
        let output = self.php(2)?;
        drop(session);
        ensure!(
            output.status.signal() == Some(libc::SIGKILL),
            "what is not in the profile ended with {}",
            output.status
        );
        Ok(())
    }

    /// How long a profile takes to be shown.
    fn show(&self, profile: &str) -> Result<Duration> {
        let since = Instant::now();
        let mut tool = child(programs::path("php-profile")?);
        let status = tool.arg("show").arg(self.arena.path(profile)).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "php-profile show ended with {status}");
        Ok(since.elapsed())
    }

    fn session(&self, profile: &str) -> Result<Tracer> {
        self.arena.session(TRACER, &[], "--sandbox", profile)
    }
}

fn grant(site: &Site, operation: Op) -> Grant {
    let key = GrantKey { who: Who::site(site.clone()), operation, constraints: Vec::new() };
    key.into_grant(GrantMode::Enforce)
}

/// A profile, and how many files of the application it is of.
struct Case {
    profile: &'static str,
    files: usize,
    sites: usize,
    grants: usize,
    /// How often it is replaced by itself.
    swaps: usize,
}

/// What one profile has come to.
#[derive(Default)]
struct Seen {
    /// Bytes of the tracer and of its maps, in each round: at each of these moments.
    memory: [Vec<[u64; 2]>; MOMENTS.len()],
    /// Names and bytes of the largest maps, at last.
    largest: Vec<(String, u64)>,
    /// ms from its start to ready.
    ready: Vec<f64>,
    /// ms from SIGHUP until it was replaced.
    swaps: Vec<f64>,
    /// Bytes that the tracer had at most.
    most: u64,
}

const MOMENTS: [&str; 3] = ["ready", "each has made a call", "replaced by itself (SIGHUP)"];

impl Seen {
    fn round(&mut self, application: &Application, case: &Case) -> Result<()> {
        let mut session = application.session(case.profile)?;
        self.ready.push(millis(session.took));
        self.memory[0].push(session.resident()?);
        application.run(case.files)?;
        session.settle()?;
        self.memory[1].push(session.resident()?);
        for _ in 0..case.swaps {
            let since = Instant::now();
            session.signal(Signal::SIGHUP)?;
            session.wait_for("loaded again")?;
            self.swaps.push(millis(since.elapsed()));
        }
        if case.swaps > 0 {
            self.memory[2].push(session.resident()?);
        }
        self.largest = session.maps()?.iter().take(4).map(|(id, bytes)| (map_name(*id), *bytes)).collect();
        self.most = self.most.max(session.memory("VmHWM")?);
        // Also tells whether there was a violation.
        session.stop()
    }

    fn keep(&self, case: &Case, record: &mut Record) -> Result<()> {
        for (moment, bytes) in MOMENTS.iter().zip(&self.memory).filter(|(_, bytes)| !bytes.is_empty()) {
            let what = format!("{} sites, {} grants: {moment}", case.sites, case.grants);
            let mib = |whose: usize| bytes.iter().map(move |bytes| ratio(bytes[whose], 1 << 20));
            for (whose, column) in ["the tracer", "its maps"].into_iter().enumerate() {
                record.values("phase 2, sandbox: memory", &what, column, "MiB", mib(whose).collect())?;
            }
            println!("{what:<70} {:>22} {:>22}", Spread::of(mib(0)).told(1), Spread::of(mib(1)).told(1));
        }
        let largest: Vec<String> = self
            .largest
            .iter()
            .map(|(name, bytes)| format!("{name} {:.1}", ratio(*bytes, 1 << 20)))
            .collect();
        println!(
            "  the tracer at most {:.1}; largest maps: {}",
            ratio(self.most, 1 << 20),
            largest.join(", ")
        );
        Ok(())
    }
}

/// Measures and tells.
pub fn measure(quick: bool, record: &mut Record) -> Result<()> {
    let application = Application::new()?;
    application.assert_judged()?;
    let profile = Profile::load(&application.arena.path("small.profile"))?;
    let (few, their) = (profile.sites().len(), profile.grants.len());
    let small = Case { profile: "small.profile", files: 1, sites: few, grants: their, swaps: 0 };
    let (sites, grants, files) = application.grow()?;
    let large = Case { profile: "large.profile", files, sites, grants, swaps: 2 };
    let rounds = if quick { 2 } else { 5 };
    let (mut with_small, mut with_large, mut shown) = (Seen::default(), Seen::default(), Vec::new());
    for _ in 0..rounds {
        interrupt::check()?;
        with_small.round(&application, &small)?;
        with_large.round(&application, &large)?;
        shown.push(millis(application.show(large.profile)?));
    }
    println!("\nphase2-kernel-kill --sandbox: MiB of the tracer, and of its maps (rounds: {rounds})\n");
    with_small.keep(&small, record)?;
    with_large.keep(&large, record)?;
    let more = with_large.ready.iter().zip(&with_small.ready).map(|(large, small)| large - small).collect();
    println!("\nms; the bar is {MILLIS} for loading 50000 sites, and for showing them\n");
    for (what, values, is_judged) in [
        (format!("loading {sites} sites"), more, true),
        (format!("showing {sites} sites"), shown, true),
        (format!("from start to ready, {few} sites"), with_small.ready, false),
        (format!("from start to ready, {sites} sites"), with_large.ready, false),
        (format!("from SIGHUP until {sites} sites are replaced"), with_large.swaps, false),
    ] {
        let spread = Spread::of(values.iter().copied());
        let verdict = if is_judged { spread.verdict(MILLIS) } else { "" };
        println!("{what:<70} {:>22}  {verdict}", spread.told(0));
        record.values("phase 2, sandbox: times", &what, "ms", "ms", values)?;
    }
    Ok(())
}

fn map_name(id: u32) -> String {
    MapHandle::from_map_id(id).map_or_else(|_| "?".into(), |map| map.name().to_string_lossy().into_owned())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
