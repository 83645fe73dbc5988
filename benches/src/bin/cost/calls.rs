//! Time of calls.

use std::fs;
use std::hint::black_box;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use benches::empty::Empty;
use benches::tracer::Tracer;
use benches::watch::{PATIENCE, Watch, now, wait_until_alone};
use benches::{Spread, interrupt, percentile, ratio};

use crate::Arena;

/// What is measured; the first ones in PHP.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unlink,
    Open,
    Unpoliced,
    Code,
    Stranger,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Unlink, Self::Open, Self::Unpoliced, Self::Code, Self::Stranger];

    /// Calls of a batch: a few milliseconds, so that few batches meet another process on their processor.
    fn calls(self) -> u64 {
        match self {
            Self::Unlink | Self::Open => 1500,
            Self::Unpoliced | Self::Stranger => 5000,
            Self::Code => 60_000,
        }
    }
}

/// Functions that make one system call a turn, or none; and the pace of the processor, before and after each batch.
/// The path is a relative one, so that little of the time is the file system's.
const SCRIPT: &str = r#"<?php
function remove($n) { for ($i = 0; $i < $n; $i++) @unlink('missing'); }
function look($n) { for ($i = 0; $i < $n; $i++) @opendir('missing'); }
function ask($n) { for ($i = 0; $i < $n; $i++) posix_getppid(); }
function step($i, $sum) { return ($sum ^ $i) & 0xffff; }
function code($n) { for ($i = $sum = 0; $i < $n; $i++) $sum = step($i, $sum); return $sum; }
function pace() {
    $start = hrtime(true);
    for ($i = $sum = 0; $i < 20000; $i++) $sum += $i;
    return hrtime(true) - $start;
}
$batches = $argv[1];
$out = '';
for ($batch = 0; $batch <= $batches; $batch++) {
    foreach (['remove', 'look', 'ask', 'code'] as $kind => $function) {
        $before = pace();
        $start = hrtime(true);
        $function((int)$argv[2 + $kind]);
        $took = hrtime(true) - $start;
        $pace = max($before, pace());
        if ($batch) $out .= "$kind $start $took $pace\n"; // the first one is to warm up
    }
}
echo $out;
"#;

/// Batches of each kind that a process makes, and that a round needs: of three processes.
const BATCHES: usize = 5;
const ENOUGH: usize = 3 * BATCHES;
/// How many processes a round tries to get so many that were not disturbed.
const TRIES: usize = 6;
/// A processor that is slower than the undisturbed one by this is shared with somebody: its sibling is busy, or the machine below.
const DISTURBED: f64 = 1.1;
/// Percent of all batches that are taken for undisturbed.
const UNDISTURBED: usize = 10;

/// Some calls of one kind, without a pause.
struct Batch {
    kind: usize,
    start: u64,
    took: u64,
    /// ns that a fixed piece of work took beside it.
    pace: u64,
}

impl Batch {
    /// Which work its pace is of: PHP's, or this program's.
    fn whose(&self) -> usize {
        usize::from(self.kind == Kind::Stranger as usize)
    }
}

/// What is attached.
#[derive(Clone, Copy)]
enum Config {
    Bare,
    Empty { exit_too: bool },
    Session { tracer: &'static str, mode: &'static str },
}

const PHASE_1: &str = "phase1-user-kill";
const PHASE_2: &str = "phase2-kernel-kill";
const CONFIGS: [(&str, Config); 9] = [
    ("nothing attached", Config::Bare),
    ("empty program at sys_enter", Config::Empty { exit_too: false }),
    ("empty programs at sys_enter, sys_exit", Config::Empty { exit_too: true }),
    ("phase1-user-kill --profile", Config::Session { tracer: PHASE_1, mode: "--profile" }),
    ("phase1-user-kill --monitor", Config::Session { tracer: PHASE_1, mode: "--monitor" }),
    ("phase1-user-kill --sandbox", Config::Session { tracer: PHASE_1, mode: "--sandbox" }),
    ("phase2-kernel-kill --profile", Config::Session { tracer: PHASE_2, mode: "--profile" }),
    ("phase2-kernel-kill --monitor", Config::Session { tracer: PHASE_2, mode: "--monitor" }),
    ("phase2-kernel-kill --sandbox", Config::Session { tracer: PHASE_2, mode: "--sandbox" }),
];
const BARE: usize = 0;
const EMPTY: usize = 1;
const SESSIONS: usize = 3;

/// The batches of one round: pace, by that of the undisturbed ones, and ns per call.
#[derive(Default)]
struct Batches([Vec<(f64, f64)>; Kind::ALL.len()]);

impl Batches {
    fn calm(batches: &[(f64, f64)]) -> usize {
        batches.iter().filter(|(pace, _)| *pace <= DISTURBED).count()
    }

    fn enough(&self, least: fn(&[(f64, f64)]) -> usize) -> bool {
        self.0.iter().all(|batches| least(batches) >= ENOUGH)
    }

    /// Of those that were disturbed least; and whether some were all the same.
    fn medians(mut self) -> ([f64; Kind::ALL.len()], bool) {
        let disturbed = !self.enough(Self::calm);
        let medians = self.0.each_mut().map(|batches| {
            batches.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
            let mut calls: Vec<f64> = batches[..ENOUGH].iter().map(|(_, ns)| *ns).collect();
            calls.sort_unstable_by(f64::total_cmp);
            percentile(&calls, 50)
        });
        (medians, disturbed)
    }
}

/// What one configuration has come to, a value for each round.
#[derive(Default)]
struct Rounds {
    calls: Vec<[f64; Kind::ALL.len()]>,
    /// ns of the tracer's own time for each policed call.
    tracer: Vec<f64>,
    /// Rounds in which there were not enough undisturbed batches.
    disturbed: usize,
}

impl Rounds {
    fn keep(&mut self, rounds: usize) {
        self.calls.truncate(rounds);
        self.tracer.truncate(rounds);
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = f64> {
        self.calls.iter().map(move |round| round[kind as usize])
    }
}

struct Bench {
    arena: Arena,
    /// The paces that were seen, sorted: PHP's, and this program's.
    paces: [Vec<u64>; 2],
}

impl Bench {
    fn new() -> Result<Self> {
        let arena = Arena::new()?;
        fs::write(arena.path("calls.php"), SCRIPT)?;
        let learning = arena.session(PHASE_1, "--profile", "calls.profile")?;
        let bench = Self { arena, paces: [Vec::new(), Vec::new()] };
        bench.php(1)?;
        learning.stop()?;
        Ok(bench)
    }

    fn php(&self, batches: usize) -> Result<Vec<Batch>> {
        let mut php = self.arena.php("calls.php");
        php.current_dir(self.arena.path("")).arg(batches.to_string());
        php.args(Kind::ALL.map(|kind| kind.calls().to_string()));
        let output = php.stdout(Stdio::piped()).output().context("run PHP")?;
        ensure!(output.status.success(), "PHP ended with {}", output.status);
        let text = String::from_utf8(output.stdout)?;
        let batch = |line: &str| {
            let mut fields = line.split(' ').map(str::parse);
            let mut next = || fields.next().with_context(|| format!("PHP wrote `{line}`"));
            Ok(Batch { kind: next()?? as usize, start: next()??, took: next()??, pace: next()?? })
        };
        text.lines().map(batch).collect()
    }

    fn visit(&mut self, config: Config, rounds: &mut Rounds) -> Result<()> {
        wait_until_alone()?;
        let (mut own, mut empty, mut session) = (0, None, None);
        match config {
            Config::Bare => {}
            Config::Empty { exit_too } => {
                empty = Some(Empty::attach(exit_too)?);
                own = 1 + usize::from(exit_too);
            }
            Config::Session { tracer, mode } => {
                let profile = if mode == "--profile" { "learning.profile" } else { "calls.profile" };
                session = Some(self.arena.session(tracer, mode, profile)?);
                own = 2;
            }
        }
        let mut batches = Batches::default();
        let (mut cpu, mut policed) = (0, 0);
        let (since, mut tries) = (Instant::now(), 0);
        while tries < TRIES && !batches.enough(Batches::calm) || !batches.enough(<[_]>::len) {
            interrupt::check()?;
            ensure!(
                since.elapsed() < PATIENCE,
                "others are attached to the system calls' tracepoints all the time"
            );
            tries += 1;
            let watch = Watch::start();
            let before = session.as_ref().map(Tracer::cpu).transpose()?;
            let mut measured = self.php(BATCHES)?;
            let after = session.as_ref().map(Tracer::cpu).transpose()?;
            cpu += after.unwrap_or(0) - before.unwrap_or(0);
            policed += (BATCHES as u64 + 1) * (Kind::Unlink.calls() + Kind::Open.calls());
            measured.extend((0..BATCHES).map(|_| stranger()));
            let seen = watch.end(own);
            for batch in &measured {
                self.paces[batch.whose()].push(batch.pace);
            }
            for paces in &mut self.paces {
                paces.sort_unstable();
            }
            for batch in measured {
                if seen.alone(batch.start, batch.start + batch.took) {
                    let usual = percentile(&self.paces[batch.whose()], UNDISTURBED);
                    let calls = Kind::ALL[batch.kind].calls();
                    batches.0[batch.kind].push((ratio(batch.pace, usual), ratio(batch.took, calls)));
                }
            }
        }
        drop(empty);
        if let Some(session) = session {
            session.stop()?;
            rounds.tracer.push(ratio(cpu, policed));
        }
        let (calls, disturbed) = batches.medians();
        rounds.calls.push(calls);
        rounds.disturbed += usize::from(disturbed);
        Ok(())
    }
}

/// A batch of who has nothing to do with PHP. The path is empty, so that nearly all of the time is the call's own.
fn stranger() -> Batch {
    let before = pace();
    let start = now();
    for _ in 0..Kind::Stranger.calls() {
        // SAFETY: the path is a C string that outlives the call.
        unsafe { libc::unlink(c"".as_ptr()) };
    }
    let took = now() - start;
    Batch { kind: Kind::Stranger as usize, start, took, pace: before.max(pace()) }
}

fn pace() -> u64 {
    let start = now();
    (0..200_000_u64).fold(0, |sum, i| black_box(sum ^ i));
    now() - start
}

/// A number that a session must not exceed, of what is compared with another configuration round by round.
struct Bar {
    kind: Kind,
    name: &'static str,
    than: usize,
    compare: fn(f64, f64) -> f64,
    most: f64,
    decimals: usize,
}

const BARS: [Bar; 5] = [
    Bar::over_empty(Kind::Unlink, "policed call, ns over empty: unlink", 2000.0),
    Bar::over_empty(Kind::Open, "policed call, ns over empty: openat", 2000.0),
    Bar::over_empty(Kind::Unpoliced, "unpoliced call, ns over empty", 50.0),
    Bar::over_empty(Kind::Stranger, "a stranger's policed call, ns over empty", 80.0),
    Bar {
        kind: Kind::Code,
        name: "PHP code without calls, times bare",
        than: BARE,
        compare: |value, bare| value / bare,
        most: 1.01,
        decimals: 3,
    },
];

impl Bar {
    const fn over_empty(kind: Kind, name: &'static str, most: f64) -> Self {
        Self { kind, name, than: EMPTY, compare: |value, empty| value - empty, most, decimals: 0 }
    }

    fn of(&self, rounds: &[Rounds], config: usize) -> Spread {
        let pairs = rounds[config].of(self.kind).zip(rounds[self.than].of(self.kind));
        Spread::of(pairs.map(|(value, than)| (self.compare)(value, than)))
    }
}

/// Measures and tells; also what was measured until it was interrupted.
pub fn measure(quick: bool) -> Result<()> {
    let mut bench = Bench::new()?;
    let mut rounds: Vec<Rounds> = CONFIGS.iter().map(|_| Rounds::default()).collect();
    let count = if quick { 3 } else { 21 };
    let mut done = 0;
    let ended = (0..count).try_for_each(|round| {
        eprint!("\rround {} of {count} ", round + 1);
        for turn in 0..CONFIGS.len() {
            // Nobody is always the first.
            let config = (turn + round) % CONFIGS.len();
            bench.visit(CONFIGS[config].1, &mut rounds[config])?;
        }
        done = round + 1;
        Ok(())
    });
    eprint!("\r");
    if done > 0 {
        for rounds in &mut rounds {
            rounds.keep(done);
        }
        tell(&rounds, done);
    }
    ended
}

fn tell(rounds: &[Rounds], count: usize) {
    let disturbed: usize = rounds.iter().map(|rounds| rounds.disturbed).sum();
    println!(
        "ns for each call: median and quartiles of {count} rounds; {disturbed} of {} measurements were disturbed by \
         others\n",
        count * rounds.len()
    );
    println!(
        "{:<38} {:>18} {:>18} {:>18} {:>18} {:>18} {:>18}",
        "", "unlink", "openat", "unpoliced", "stranger's unlink", "PHP function call", "tracer's own time"
    );
    for ((name, _), rounds) in CONFIGS.iter().zip(rounds) {
        print!("{name:<38}");
        for kind in [Kind::Unlink, Kind::Open, Kind::Unpoliced, Kind::Stranger] {
            print!(" {:>18}", Spread::of(rounds.of(kind)).told(0));
        }
        print!(" {:>18}", Spread::of(rounds.of(Kind::Code)).told(1));
        if rounds.tracer.is_empty() {
            println!(" {:>18}", "");
        } else {
            println!(" {:>18}", Spread::of(rounds.tracer.iter().copied()).told(0));
        }
    }
    for bar in &BARS {
        println!("\n{}; the bar is {}\n", bar.name, bar.most);
        for (config, (name, _)) in CONFIGS.iter().enumerate().skip(bar.than + 1) {
            let spread = bar.of(rounds, config);
            let verdict = match config {
                ..SESSIONS => String::new(),
                _ => spread.verdict(bar.most),
            };
            println!("{name:<38} {:>22}  {verdict}", spread.told(bar.decimals));
        }
    }
}
