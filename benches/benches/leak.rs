//! How many unauthorized calls each strategy lets through, counted by their effect: files gone, bytes received,
//! signals taken. Criterion's measurement is that count, not a time.
//!
//! `cargo bench --bench leak [-- --quick]`, as root. In a guest (`$BENCH_GUEST`) criterion is not asked: a number of
//! attacks, each recorded.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use benches::attack::{OPERATIONS, Scene, Shape};
use benches::record::{self, Record};
use benches::strategy::{self, PROBES, Strategy, USER_KILL};
use benches::tracer::{Tracer, child};
use benches::{interrupt, programs};
use criterion::measurement::{Measurement, ValueFormatter};
use criterion::{Criterion, SamplingMode, Throughput};

/// Calls that had their effect.
struct Leaks;

impl Measurement for Leaks {
    type Intermediate = ();
    type Value = u64;

    fn start(&self) {}
    fn end(&self, (): ()) -> u64 {
        0
    }
    fn add(&self, a: &u64, b: &u64) -> u64 {
        a + b
    }
    fn zero(&self) -> u64 {
        0
    }
    // Criterion takes a sample of zero for a mistake, and there is nothing better to measure: so much is none.
    #[allow(clippy::cast_precision_loss)] // thousands
    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64 + NONE
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        &Calls
    }
}

const NONE: f64 = 1e-9;

struct Calls;

impl ValueFormatter for Calls {
    fn scale_values(&self, _: f64, _: &mut [f64]) -> &'static str {
        "calls"
    }
    fn scale_throughputs(&self, _: f64, _: &Throughput, _: &mut [f64]) -> &'static str {
        "calls"
    }
    fn scale_for_machines(&self, _: &mut [f64]) -> &'static str {
        "calls"
    }
}

/// How it is measured: by criterion, or in a guest, where it is not asked.
struct Plan {
    quick: bool,
    guest: bool,
}

impl Plan {
    /// Attacks, where that is not for criterion to say.
    fn attacks(&self, strategy: &Strategy, shape: Shape) -> Option<usize> {
        match shape {
            // One run of requests has enough attackers.
            Shape::Requests => Some(1),
            _ if !self.guest => None,
            _ if self.quick => Some(3),
            // Where nothing may get through, a hundred of each operation are to be seen.
            Shape::Loop(_) if strategy.learns_by_hooks() => Some(100),
            _ => Some(20),
        }
    }
}

/// Criterion's seconds and samples: at least 200 attacks of the one by which phase 1 is judged, a thousand of all
/// together for each other strategy.
fn effort(shape: Shape) -> (u64, usize) {
    match shape {
        Shape::Loop(0) => (14, 100),
        _ => (2, 20),
    }
}

fn main() -> Result<()> {
    interrupt::deferred(run)
}

fn run() -> Result<()> {
    let quick = std::env::args().any(|arg| arg == "--quick");
    programs::build()?;
    let plan = Plan { quick, guest: programs::is_guest() };
    let mut record = Record::begin("leak", quick)?;
    let here = strategy::here(&mut record)?;
    measure(&plan, &here, &mut record)?;
    record.end()
}

fn measure(plan: &Plan, here: &[Strategy], record: &mut Record) -> Result<()> {
    let scene = Scene::new();
    let shapes = Shape::all();
    for (_, row, shape) in &shapes {
        eprintln!("without enforcement: {row}");
        scene.assert_attack_works(*shape)?;
    }
    let mut criterion = Criterion::default()
        .with_measurement(Leaks)
        .output_directory(&fresh_analysis()?)
        .configure_from_args();
    if plan.quick {
        // They take longer than what they show.
        criterion = criterion.without_plots();
    }
    for strategy in here {
        eprintln!("{}: learning", strategy.name);
        let session = scene.sandbox(strategy)?;
        for (group, row, shape) in &shapes {
            // What is compared with phase 1 is compared by the loop of one operation.
            if *strategy == strategy::PLAIN && *shape != Shape::Loop(0) {
                continue;
            }
            let leaks = sample(plan, &mut criterion, strategy, row, *shape, &|| scene.attack(*shape));
            record.values(group, row, strategy.name, "calls", leaks)?;
        }
        ended(session, strategy)?;
    }
    if !plan.guest {
        probes(plan, &scene, &mut criterion, record)?;
        allowlist(plan, &scene, &mut criterion, record)?;
    }
    criterion.final_summary();
    Ok(())
}

/// Where criterion writes. Nothing of an earlier run is there: comparing counts that are all alike, it panics.
fn fresh_analysis() -> Result<PathBuf> {
    let place = record::folder()?.with_file_name("criterion").join("leak");
    match std::fs::remove_dir_all(&place) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error)?,
        _ => Ok(place),
    }
}

/// A sandbox that ended before would have let everything through.
fn ended(session: Tracer, strategy: &Strategy) -> Result<()> {
    session.stop().map_err(|e| e.context(format!("{} did not last to the end", strategy.name)))
}

/// Attacks as many as criterion, or a guest, wants; what each attacking task got through.
fn sample(
    plan: &Plan,
    criterion: &mut Criterion<Leaks>,
    strategy: &Strategy,
    row: &str,
    shape: Shape,
    attack: &dyn Fn() -> Result<Vec<u64>>,
) -> Vec<f64> {
    let mut leaks = Vec::new();
    let mut attack = || {
        let each = attack().expect("an attack");
        #[allow(clippy::cast_precision_loss)] // thousands
        leaks.extend(each.iter().map(|n| *n as f64));
        each.iter().sum::<u64>()
    };
    if let Some(attacks) = plan.attacks(strategy, shape) {
        eprintln!("{}: {row}", strategy.name);
        for _ in 0..attacks {
            attack();
        }
        return leaks;
    }
    let (seconds, samples) = if plan.quick { (1, 10) } else { effort(shape) };
    let mut group = criterion.benchmark_group(row);
    group.sampling_mode(SamplingMode::Flat).sample_size(samples);
    group.measurement_time(Duration::from_secs(seconds)).warm_up_time(Duration::from_millis(1));
    group.bench_function(strategy.name, |bencher| {
        bencher.iter_custom(|attacks| (0..attacks).map(|_| attack()).sum());
    });
    group.finish();
    leaks
}

/// The original's way, by the loop of one operation.
fn probes(plan: &Plan, scene: &Scene, criterion: &mut Criterion<Leaks>, record: &mut Record) -> Result<()> {
    const UNLINK: usize = 0;
    let (name, ..) = OPERATIONS[UNLINK];
    eprintln!("{}: learning", PROBES.name);
    let (session, wrapper) = scene.probed(UNLINK)?;
    let plan = Plan { quick: true, ..*plan };
    let attack = || scene.attack_under(UNLINK, &wrapper);
    let leaks = sample(&plan, criterion, &PROBES, name, Shape::Loop(UNLINK), &attack);
    record.values("a loop in php-cli", name, PROBES.name, "calls", leaks)?;
    ended(session, &PROBES)
}

/// What one would do without a profile by function: an allowlist of the whole process's calls.
fn allowlist(
    plan: &Plan,
    scene: &Scene,
    criterion: &mut Criterion<Leaks>,
    record: &mut Record,
) -> Result<()> {
    let helper = scene.arena().path("seccomp");
    programs::compile_seccomp(&helper)?;
    let names = scene.arena().path("allowlist");
    std::fs::write(&names, programs::allowlist(&scene.calls()?))?;
    let mut wrapper = child(&helper);
    wrapper.arg("allow").arg(&names);
    let strategy = Strategy { name: "seccomp, whole process", ..USER_KILL };
    for (n, (name, ..)) in OPERATIONS.iter().enumerate() {
        let shape = Shape::Loop(n);
        let plan = Plan { quick: true, ..*plan };
        let leaks = sample(&plan, criterion, &strategy, name, shape, &|| scene.attack_under(n, &wrapper));
        record.values("a loop in php-cli", name, strategy.name, "calls", leaks)?;
    }
    Ok(())
}
