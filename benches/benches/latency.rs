//! From an unauthorized call to its end, as the attacking process sees it: how long its PHP code runs on, until it is
//! dead; or, where calls are denied, until it is told so.
//!
//! `cargo bench --bench latency [-- --quick]`, as root.

use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use benches::record::Record;
use benches::strategy::{self, PLAIN, Strategy};
use benches::tracer::Tracer;
use benches::watch::now;
use benches::{interrupt, programs};
use criterion::{Criterion, SamplingMode};
use e2e::arena::{Arena, USER};

const SCRIPT: &str = include_str!("../victims/latency.php");
const STAMPS: usize = 3;
/// Where criterion does not say how many: more than a hundred, or p99 would be the maximum.
const ATTACKS: usize = 120;

/// Memory that a PHP and this program share.
struct Shared {
    key: i32,
    id: i32,
    stamps: *mut u64,
}

impl Shared {
    fn new() -> Result<Self> {
        let key = 0x7068_0000 | (std::process::id() as i32 & 0xffff);
        // SAFETY: a new segment; failures are told by its number.
        let id = unsafe { libc::shmget(key, 4096, libc::IPC_CREAT | libc::IPC_EXCL | 0o666) };
        ensure!(id >= 0, "shmget: {}", std::io::Error::last_os_error());
        // SAFETY: attached wherever the kernel has room.
        let stamps = unsafe { libc::shmat(id, std::ptr::null(), 0) };
        ensure!(stamps as isize != -1, "shmat: {}", std::io::Error::last_os_error());
        Ok(Self { key, id, stamps: stamps.cast() })
    }

    fn clear(&self) {
        // SAFETY: the segment has room for these, and nobody else is attached now.
        (0..STAMPS).for_each(|n| unsafe { self.stamps.add(n).write_volatile(0) });
    }

    fn read(&self) -> [u64; STAMPS] {
        // SAFETY: likewise.
        std::array::from_fn(|n| unsafe { self.stamps.add(n).read_volatile() })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: nobody uses the segment after this.
        unsafe {
            libc::shmdt(self.stamps.cast_const().cast());
            libc::shmctl(self.id, libc::IPC_RMID, std::ptr::null_mut());
        }
    }
}

/// One attack, in nanoseconds after the call began.
struct Attack {
    /// Until PHP code went on; nothing where it never did.
    returned: Option<u64>,
    /// Until PHP code last ran.
    ran: u64,
    /// Until its parent was told that it is dead.
    dead: u64,
    /// Whether what it reached for is gone.
    done: bool,
}

struct Scene {
    arena: Arena,
    shared: Shared,
}

impl Scene {
    fn new() -> Result<Self> {
        let arena = Arena::new();
        std::fs::write(arena.path("latency.php"), SCRIPT)?;
        Ok(Self { arena, shared: Shared::new()? })
    }

    fn session(&self, strategy: &Strategy, mode: &str, options: &[&str]) -> Result<Tracer> {
        let profile = self.arena.arg(strategy.profile());
        let php = self.arena.arg("php");
        let mut args = vec![mode, "--profile-file", &profile, "--php", &php];
        args.extend(strategy.options.iter().chain(options));
        Tracer::start(strategy.binary, args)
    }

    fn learn(&self, strategy: &Strategy) -> Result<()> {
        let session = self.session(strategy, "--profile", &["--force"])?;
        self.run(None)?;
        session.stop()
    }

    /// A new PHP to its end.
    fn run(&self, attack: Option<&str>) -> Result<Attack> {
        interrupt::check()?;
        // There, or a hook that the kernel only calls for a file would never be asked.
        let folder = self.arena.folder("trap");
        let (own, victim) = (folder.join("own"), folder.join("victim"));
        for file in [&own, &victim] {
            std::fs::write(file, "precious")?;
        }
        self.shared.clear();
        let key = self.shared.key.to_string();
        let [own_name, victim_name] = [&own, &victim].map(|file| file.display().to_string());
        let mut args = vec![&key[..], &own_name, &victim_name];
        args.extend(attack);
        let mut php = self.arena.php("latency.php", &args);
        php.arg0("php").stdout(Stdio::null());
        // Before the script: an extension of PHP's own.
        let mut command = std::process::Command::new(php.get_program());
        command.args(["-d", "extension=shmop"]).args(php.get_args());
        command.current_dir(self.arena.root()).uid(USER).gid(USER).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.spawn().context("run PHP")?;
        child.wait()?;
        let ended = now();
        let [before, after, last] = self.shared.read();
        ensure!(!own.exists(), "what is allowed was not done");
        ensure!(attack.is_none() || before > 0, "PHP never came to its call");
        let since = |stamp: u64| stamp.saturating_sub(before);
        Ok(Attack {
            returned: (after > 0).then(|| since(after)),
            ran: since(last.max(after)),
            dead: since(ended),
            done: !victim.exists(),
        })
    }
}

fn main() -> Result<()> {
    interrupt::deferred(run)
}

fn run() -> Result<()> {
    let quick = std::env::args().any(|arg| arg == "--quick");
    programs::build()?;
    let guest = programs::is_guest();
    let mut record = Record::begin("latency", quick)?;
    let here = strategy::here(&mut record)?;
    measure(quick, guest, &here, &mut record)?;
    record.end()
}

/// A call that is not enforced, beside which those that are denied are seen.
const NONE: &str = "nothing enforced";

fn measure(quick: bool, guest: bool, here: &[Strategy], record: &mut Record) -> Result<()> {
    let scene = Scene::new()?;
    let mut criterion = Criterion::default().configure_from_args();
    if quick {
        // They take longer than what they show.
        criterion = criterion.without_plots();
    }
    let attacks = if quick { 20 } else { ATTACKS };
    let bare = (0..attacks).map(|_| scene.run(Some("lives"))).collect::<Result<Vec<_>>>()?;
    ensure!(
        bare.iter().all(|a| a.returned.is_some() && a.done),
        "the attack does not work where nothing is enforced"
    );
    keep(record, NONE, &bare, false)?;
    for strategy in here {
        scene.learn(strategy)?;
        let session = scene.session(strategy, "--sandbox", strategy.sandbox)?;
        let denies = strategy.learns_by_hooks();
        let how = if denies { "lives" } else { "dies" };
        let mut seen = Vec::new();
        if guest {
            seen = (0..attacks).map(|_| scene.run(Some(how))).collect::<Result<_>>()?;
        } else {
            let mut group = criterion.benchmark_group("until its parent is told that it is dead");
            group.sampling_mode(SamplingMode::Flat).sample_size(if quick { 10 } else { 100 });
            group
                .measurement_time(Duration::from_secs(if quick { 2 } else { 10 }))
                .warm_up_time(Duration::from_millis(1));
            group.bench_function(strategy.name, |bencher| {
                bencher.iter_custom(|count| {
                    let mut all = 0;
                    for _ in 0..count {
                        let attack = scene.run(Some(how)).expect("an attack");
                        all += attack.dead;
                        seen.push(attack);
                    }
                    Duration::from_nanos(all)
                });
            });
            group.finish();
        }
        session.stop().with_context(|| format!("{} did not last to the end", strategy.name))?;
        let survived = seen.iter().filter(|a| a.ran > 400_000_000).count();
        ensure!(survived == 0 || *strategy == PLAIN, "{}: {survived} were never killed", strategy.name);
        let done = seen.iter().filter(|a| a.done).count();
        ensure!(
            done == 0 || strategy.leaks(),
            "{}: {done} of {} had their effect",
            strategy.name,
            seen.len()
        );
        keep(record, strategy.name, &seen, !denies)?;
    }
    criterion.final_summary();
    Ok(())
}

fn keep(record: &mut Record, row: &str, seen: &[Attack], dies: bool) -> Result<()> {
    const GROUP: &str = "from the call";
    #[allow(clippy::cast_precision_loss)] // less than a second
    let us = |values: Vec<u64>| values.into_iter().map(|ns| ns as f64 / 1000.0).collect::<Vec<f64>>();
    record.values(
        GROUP,
        row,
        "the call came back",
        "µs",
        us(seen.iter().filter_map(|a| a.returned).collect()),
    )?;
    if dies {
        record.values(GROUP, row, "PHP code ran on", "µs", us(seen.iter().map(|a| a.ran).collect()))?;
        record.values(
            GROUP,
            row,
            "its parent knows it dead",
            "µs",
            us(seen.iter().map(|a| a.dead).collect()),
        )?;
    }
    let gone = seen.iter().map(|a| f64::from(u8::from(a.done))).collect();
    record.values(GROUP, row, "the file is gone", "attacks", gone)
}
