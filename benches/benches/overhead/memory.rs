//! Memory of phase 2, and how long a large profile takes to load and to show.

use std::fmt::Write as _;
use std::fs;
use std::process::Stdio;
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

    /// Runs that many files of it.
    fn run(&self, files: usize) -> Result<()> {
        let mut php = self.arena.php("all.php", &[]);
        php.current_dir(self.arena.path("")).args((0..files).map(|n| self.file(n)));
        let output = php.stdout(Stdio::piped()).output().context("run PHP")?;
        ensure!(output.stdout == b"done", "PHP ended with {}", output.status);
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

/// Measures and tells.
pub fn measure(quick: bool, record: &mut Record) -> Result<()> {
    let application = Application::new()?;
    let small = Profile::load(&application.arena.path("small.profile"))?;
    let (sites, grants, files) = application.grow()?;
    println!("\nphase2-kernel-kill --sandbox: memory\n");
    println!("{:<58} {:>9} {:>9}  largest maps", "", "tracer's", "maps'");
    let (few, their) = (small.sites().len(), small.grants.len());
    let session = application.session("small.profile")?;
    tell(record, &format!("{few} sites, {their} grants: ready"), &session)?;
    application.run(1)?;
    session.settle()?;
    tell(record, &format!("{few} sites, each has made a call"), &session)?;
    session.stop()?;

    let mut session = application.session("large.profile")?;
    tell(record, &format!("{sites} sites, {grants} grants: ready"), &session)?;
    application.run(files)?;
    session.settle()?;
    tell(record, &format!("{sites} sites, each has made a call"), &session)?;
    let rounds = if quick { 3 } else { 5 };
    let mut swaps = Vec::new();
    for _ in 0..rounds {
        let since = Instant::now();
        session.signal(Signal::SIGHUP)?;
        session.wait_for("loaded again")?;
        swaps.push(millis(since.elapsed()));
    }
    tell(record, &format!("{sites} sites, replaced by itself {rounds} times (SIGHUP)"), &session)?;
    println!("{:<58} {:>9}", "  at most", mib(session.memory("VmHWM")?));
    session.stop()?;

    let (mut took, mut shown) = ([Vec::new(), Vec::new()], Vec::new());
    for _ in 0..rounds {
        shown.push(millis(application.show("large.profile")?));
        for (took, profile) in took.iter_mut().zip(["small.profile", "large.profile"]) {
            took.push(millis(application.session(profile)?.took));
            interrupt::check()?;
        }
    }
    let more: Vec<f64> = took[1].iter().zip(&took[0]).map(|(large, small)| large - small).collect();
    record.values(TIMES, &format!("loading {sites} sites"), "ms", "ms", more.clone())?;
    record.values(TIMES, &format!("showing {sites} sites"), "ms", "ms", shown.clone())?;
    record.values(TIMES, &format!("from start to ready, {few} sites"), "ms", "ms", took[0].clone())?;
    record.values(
        TIMES,
        &format!("from SIGHUP until {sites} sites are replaced"),
        "ms",
        "ms",
        swaps.clone(),
    )?;
    let (loading, showing) = (Spread::of(more), Spread::of(shown));
    println!("\nphase2-kernel-kill --sandbox: ms, median and quartiles (rounds: {rounds})");
    println!("the bar is {MILLIS} for loading 50000 sites, and for showing them\n");
    let [small, large] = took.map(Spread::of);
    println!("{:<58} {:>18}", format!("from start to ready, {few} sites"), small.told(0));
    println!("{:<58} {:>18}", format!("from start to ready, {sites} sites"), large.told(0));
    for (what, spread) in
        [("  what these take longer: loading", loading), ("php-profile show, of these", showing)]
    {
        println!("{what:<58} {:>18}  {}", spread.told(0), spread.verdict(MILLIS));
    }
    println!("{:<58} {:>18}", "from SIGHUP until they are replaced", Spread::of(swaps).told(0));
    Ok(())
}

const TIMES: &str = "phase 2, sandbox: times";

fn tell(record: &mut Record, what: &str, session: &Tracer) -> Result<()> {
    let ([rss, total], maps) = (session.resident()?, session.maps()?);
    for (column, bytes) in [("the tracer", rss), ("its maps", total)] {
        record.values("phase 2, sandbox: memory", what, column, "MiB", vec![ratio(bytes, 1 << 20)])?;
    }
    let largest: Vec<String> =
        maps.iter().take(4).map(|(id, bytes)| format!("{} {}", map_name(*id), mib(*bytes))).collect();
    println!("{what:<58} {:>9} {:>9}  {}", mib(rss), mib(total), largest.join(", "));
    Ok(())
}

fn map_name(id: u32) -> String {
    MapHandle::from_map_id(id).map_or_else(|_| "?".into(), |map| map.name().to_string_lossy().into_owned())
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", ratio(bytes, 1 << 20))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
