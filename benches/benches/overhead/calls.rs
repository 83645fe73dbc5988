//! Time of calls; in a guest, instructions.

use std::collections::BTreeSet;
use std::fs;
use std::hint::black_box;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use benches::empty::Empty;
use benches::pace::{Timed, scaled_median};
use benches::record::Record;
use benches::strategy::{self, Strategy};
use benches::tracer::Tracer;
use benches::watch::{PATIENCE, Watch, attached, now, wait_until_alone};
use benches::{Spread, interrupt, percentile, programs, ratio};
use nix::time::{ClockId, clock_gettime};

use crate::{Arena, SECCOMP, modes};

/// What is measured; the first ones in PHP.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unlink,
    Open,
    Unpoliced,
    Code,
    File,
    Program,
    Stranger,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Unlink, Self::Open, Self::Unpoliced, Self::Code, Self::File, Self::Program, Self::Stranger];
    /// Those by which the tracer's own time for a call is told, and those that come to many calls.
    const CALLS: [Self; 4] = [Self::Unlink, Self::Open, Self::Unpoliced, Self::Code];
    const WORK: [Self; 2] = [Self::File, Self::Program];

    /// Which work its pace is of: PHP's, or this program's.
    fn whose(self) -> usize {
        usize::from(self == Self::Stranger)
    }

    /// Calls of a batch: a few milliseconds, so that few batches meet another process on their processor.
    fn calls(self) -> u64 {
        match self {
            Self::Unlink | Self::Open => 1500,
            Self::Unpoliced | Self::Stranger => 5000,
            Self::Code => 60_000,
            Self::File => 200,
            Self::Program => 5,
        }
    }
}

/// Functions that make one system call a turn, or none, or a file's whole life, or run a program; and the pace of the
/// processor, before and after each batch. The path is a relative one, so that little of the time is the file system's.
const SCRIPT: &str = r#"<?php
function remove($n) { for ($i = 0; $i < $n; $i++) @unlink('missing'); }
function look($n) { for ($i = 0; $i < $n; $i++) @opendir('there'); }
function ask($n) { for ($i = 0; $i < $n; $i++) posix_getppid(); }
function step($i, $sum) { return ($sum ^ $i) & 0xffff; }
function code($n) { for ($i = $sum = 0; $i < $n; $i++) $sum = step($i, $sum); return $sum; }
function file_life($n) {
    for ($i = 0; $i < $n; $i++) {
        file_put_contents("made/$i", 'x');
        rename("made/$i", "made/$i.new");
        unlink("made/$i.new");
    }
}
function program($n) { for ($i = 0; $i < $n; $i++) exec('/bin/true'); }
function cpu() { // ns, of this process and of those that it has waited for
    $us = 0;
    foreach ([0, 1] as $whose) {
        $used = getrusage($whose);
        $us += 1000000 * ($used['ru_utime.tv_sec'] + $used['ru_stime.tv_sec']);
        $us += $used['ru_utime.tv_usec'] + $used['ru_stime.tv_usec'];
    }
    return 1000 * $us;
}
function pace() {
    $start = hrtime(true);
    for ($i = $sum = 0; $i < 20000; $i++) $sum += $i;
    return hrtime(true) - $start;
}
$batches = $argv[1];
$out = '';
for ($batch = 0; $batch <= $batches; $batch++) {
    foreach (['remove', 'look', 'ask', 'code', 'file_life', 'program'] as $kind => $function) {
        if (!$argv[2 + $kind]) continue;
        $before = pace();
        $cpu = cpu();
        $start = hrtime(true);
        $function((int)$argv[2 + $kind]);
        $took = hrtime(true) - $start;
        $cpu = cpu() - $cpu;
        $pace = intdiv($before + pace(), 2);
        if ($batch) $out .= "$kind $start $took $pace $cpu\n"; // the first one is to warm up
    }
}
echo $out;
"#;

/// Batches of each kind that a process makes, and that a round needs: of three processes.
const BATCHES: usize = 5;
const ENOUGH: usize = 3 * BATCHES;
/// How many processes a round tries to get so many that were not disturbed.
const TRIES: usize = 3;
/// A processor that is slower than the undisturbed one by this is shared with somebody: its sibling is busy, or the machine below.
const DISTURBED: f64 = 1.1;
/// Percent of all batches that are taken for undisturbed.
const UNDISTURBED: usize = 10;

/// Some calls of one kind, without a pause.
struct Batch {
    kind: usize,
    start: u64,
    took: u64,
    /// ns that a fixed piece of work took beside it: the mean of before and after.
    pace: u64,
    /// ns that its process ran for.
    cpu: u64,
}

impl Batch {
    fn timed(&self) -> Timed {
        let calls = Kind::ALL[self.kind].calls();
        if programs::is_guest() {
            // Instructions are counted there: no processor is slower than another, but who watches is on the same one.
            return Timed { each: ratio(self.cpu, calls), pace: 1 };
        }
        Timed { each: ratio(self.took, calls), pace: self.pace }
    }
}

/// What is attached.
#[derive(Clone, Copy)]
enum Config {
    Bare,
    Empty {
        exit_too: bool,
    },
    Session {
        strategy: Strategy,
        mode: &'static str,
        usdt: bool,
    },
    /// PHP is started by it.
    Under(&'static [&'static str]),
}

/// What is compared here.
fn configs(here: &[Strategy]) -> Vec<(String, Config)> {
    let mut configs = vec![
        ("nothing attached".to_owned(), Config::Bare),
        ("empty program at sys_enter".to_owned(), Config::Empty { exit_too: false }),
        ("empty programs at sys_enter, sys_exit".to_owned(), Config::Empty { exit_too: true }),
    ];
    for strategy in here.iter().filter(|s| **s != strategy::PLAIN) {
        for mode in modes() {
            let name = format!("{}, {}", strategy.name, &mode[2..]);
            configs.push((name, Config::Session { strategy: *strategy, mode, usdt: false }));
        }
    }
    if programs::is_guest() {
        return configs;
    }
    let usdt = Config::Session { strategy: strategy::USER_KILL, mode: "--sandbox", usdt: true };
    configs.extend([
        ("phase 1, sandbox, USDT".to_owned(), usdt),
        (
            "strace -f, of these two".to_owned(),
            Config::Under(&["strace", "-f", "--seccomp-bpf", "-e", "trace=unlink,openat", "-o", "/dev/null"]),
        ),
        ("seccomp, whole process".to_owned(), Config::Under(&[SECCOMP, "allow", "allowlist"])),
        ("seccomp, notified of these two".to_owned(), Config::Under(&[SECCOMP, "notify", "unlink,openat"])),
    ]);
    configs
}
const BARE: usize = 0;
const EMPTY: usize = 1;

/// What undisturbed batches' paces are: of PHP's, and of this program's.
type Usual = [u64; 2];

/// The batches of one round, by what they are of.
#[derive(Default)]
struct Batches([Vec<Timed>; Kind::ALL.len()]);

impl Batches {
    fn calm(&self, usual: Usual) -> bool {
        let calm = |(timed, kind): (&Vec<Timed>, Kind)| {
            timed.iter().filter(|t| t.slower(usual[kind.whose()]) <= DISTURBED).count() >= ENOUGH
        };
        self.0.iter().zip(Kind::ALL).all(calm)
    }

    fn enough(&self) -> bool {
        self.0.iter().all(|timed| timed.len() >= ENOUGH)
    }

    fn medians(&self, usual: Usual) -> [f64; Kind::ALL.len()] {
        Kind::ALL.map(|kind| scaled_median(&self.0[kind as usize], ENOUGH, usual[kind.whose()]))
    }
}

/// What one configuration has come to, a value for each round.
#[derive(Default)]
struct Rounds {
    batches: Vec<Batches>,
    /// ns for each call.
    calls: Vec<[f64; Kind::ALL.len()]>,
    /// ns of the tracer's own time for each policed call.
    tracer: Vec<f64>,
    /// Bytes of the tracer, and of its maps.
    memory: Vec<[u64; 2]>,
    /// Rounds in which there were not enough undisturbed batches.
    disturbed: usize,
}

impl Rounds {
    fn of(&self, kind: Kind) -> impl Iterator<Item = f64> {
        self.calls.iter().map(move |round| round[kind as usize])
    }

    /// With every pace that was seen: of the first rounds it was not known which were undisturbed.
    fn settle(&mut self, usual: Usual) {
        self.calls = self.batches.iter().map(|batches| batches.medians(usual)).collect();
        self.disturbed = self.batches.iter().filter(|batches| !batches.calm(usual)).count();
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
        for folder in ["there", "made"] {
            fs::create_dir(arena.path(folder))?;
            fs::set_permissions(arena.path(folder), fs::Permissions::from_mode(0o777))?;
        }
        let bench = Self { arena, paces: [Vec::new(), Vec::new()] };
        if !programs::is_guest() {
            programs::compile_seccomp(&bench.arena.path(SECCOMP))?;
            fs::write(bench.arena.path("allowlist"), programs::allowlist(&bench.called()?))?;
        }
        Ok(bench)
    }

    /// The calls that such a PHP makes.
    fn called(&self) -> Result<BTreeSet<String>> {
        let log = self.arena.path("strace");
        fs::write(&log, "")?;
        fs::set_permissions(&log, fs::Permissions::from_mode(0o666))?;
        let log_text = log.display().to_string();
        self.php(&Kind::ALL, 1, &["strace", "-f", "-qq", "-o", &log_text], false)?;
        Ok(programs::calls_in(&fs::read_to_string(&log)?))
    }

    /// Learnt once, in the way in which it is used: by USDT nobody sees which internal function starts a program.
    fn learn(&self, strategy: Strategy, options: &[&str], usdt: bool, profile: &str) -> Result<()> {
        if self.arena.path(profile).exists() {
            return Ok(());
        }
        let learning = self.arena.session(strategy.binary, options, "--profile", profile)?;
        self.php(&Kind::ALL, 1, &[], usdt)?;
        learning.stop()
    }

    fn php(&self, kinds: &[Kind], batches: usize, under: &[&str], usdt: bool) -> Result<Vec<Batch>> {
        let mut php = self.arena.php("calls.php", under);
        if usdt {
            php.env("USE_ZEND_DTRACE", "1");
        }
        php.current_dir(self.arena.path("")).arg(batches.to_string());
        let asked = |kind: Kind| if kinds.contains(&kind) { kind.calls() } else { 0 };
        php.args(Kind::ALL.map(|kind| asked(kind).to_string()));
        let output = php.stdout(Stdio::piped()).output().context("run PHP")?;
        ensure!(output.status.success(), "PHP ended with {}", output.status);
        let text = String::from_utf8(output.stdout)?;
        let batch = |line: &str| {
            let mut fields = line.split(' ').map(str::parse);
            let mut next = || fields.next().with_context(|| format!("PHP wrote `{line}`"));
            let kind = next()?? as usize;
            Ok(Batch { kind, start: next()??, took: next()??, pace: next()??, cpu: next()?? })
        };
        text.lines().map(batch).collect()
    }

    fn visit(&mut self, config: Config, rounds: &mut Rounds) -> Result<()> {
        wait_until_alone()?;
        let (mut empty, mut session, mut under, mut with_usdt) = (None, None, &[][..], false);
        match config {
            Config::Bare => {}
            Config::Empty { exit_too } => empty = Some(Empty::attach(exit_too)?),
            Config::Under(program) => under = program,
            Config::Session { strategy, mode, usdt } => {
                let mut options = strategy.options.to_vec();
                if usdt {
                    options.extend(["--attribution", "usdt"]);
                }
                let learnt = format!("{}{}", strategy.profile(), if usdt { ".usdt" } else { "" });
                self.learn(strategy, &options, usdt, &learnt)?;
                let again = format!("{learnt}.again");
                let profile = if mode == "--profile" { &again } else { &learnt };
                with_usdt = usdt;
                session = Some(self.arena.session(strategy.binary, &options, mode, profile)?);
            }
        }
        let own = attached();
        let mut batches = Batches::default();
        let (mut cpu, mut policed) = (0, 0);
        let (since, mut tries) = (Instant::now(), 0);
        while !batches.enough() || tries < TRIES && !batches.calm(self.usual()) {
            interrupt::check()?;
            // Where instructions are counted an hour passes while nobody has anything to do.
            ensure!(
                programs::is_guest() || since.elapsed() < PATIENCE,
                "others are attached to the system calls' tracepoints all the time"
            );
            tries += 1;
            // Nobody else is in a guest, and looking takes a good part of its processor.
            let watch = (!programs::is_guest()).then(Watch::start);
            let before = session.as_ref().map(Tracer::cpu).transpose()?;
            let mut measured = self.php(&Kind::CALLS, BATCHES, under, with_usdt)?;
            let after = session.as_ref().map(Tracer::cpu).transpose()?;
            measured.extend(self.php(&Kind::WORK, BATCHES, under, with_usdt)?);
            cpu += after.unwrap_or(0) - before.unwrap_or(0);
            policed += (BATCHES as u64 + 1) * (Kind::Unlink.calls() + Kind::Open.calls());
            measured.extend((0..BATCHES).map(|_| stranger()));
            let seen = watch.map(|watch| watch.end(own));
            for batch in &measured {
                self.paces[Kind::ALL[batch.kind].whose()].push(batch.timed().pace);
            }
            for paces in &mut self.paces {
                paces.sort_unstable();
            }
            for batch in measured {
                if seen.as_ref().is_none_or(|seen| seen.alone(batch.start, batch.start + batch.took)) {
                    batches.0[batch.kind].push(batch.timed());
                }
            }
        }
        drop(empty);
        if let Some(session) = session {
            rounds.tracer.push(ratio(cpu, policed));
            rounds.memory.push(session.resident()?);
            session.stop()?;
        }
        rounds.batches.push(batches);
        Ok(())
    }

    fn usual(&self) -> Usual {
        self.paces.each_ref().map(|paces| percentile(paces, UNDISTURBED))
    }
}

/// A batch of who has nothing to do with PHP. The path is empty, so that nearly all of the time is the call's own.
fn stranger() -> Batch {
    let before = pace();
    let (start, cpu) = (now(), own_cpu());
    for _ in 0..Kind::Stranger.calls() {
        // SAFETY: the path is a C string that outlives the call.
        unsafe { libc::unlink(c"".as_ptr()) };
    }
    let (took, cpu) = (now() - start, own_cpu() - cpu);
    Batch { kind: Kind::Stranger as usize, start, took, pace: u64::midpoint(before, pace()), cpu }
}

/// ns that this thread has run for.
fn own_cpu() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every Linux has this clock");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
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

    fn values(&self, rounds: &[Rounds], config: usize) -> Vec<f64> {
        let pairs = rounds[config].of(self.kind).zip(rounds[self.than].of(self.kind));
        pairs.map(|(value, than)| (self.compare)(value, than)).collect()
    }

    fn of(&self, rounds: &[Rounds], config: usize) -> Spread {
        Spread::of(self.values(rounds, config))
    }
}

/// Measures and tells.
pub fn measure(quick: bool, here: &[Strategy], record: &mut Record) -> Result<()> {
    let mut bench = Bench::new()?;
    let configs = configs(here);
    let mut rounds: Vec<Rounds> = configs.iter().map(|_| Rounds::default()).collect();
    let count = match (quick, programs::is_guest()) {
        (true, _) => 1,
        // What is counted differs by little from round to round, and loading all hooks takes a minute.
        (_, true) => 3,
        _ => 5,
    };
    for round in 0..count {
        for turn in 0..configs.len() {
            // Nobody is always the first.
            let config = (turn + round) % configs.len();
            eprint!("\rround {} of {count}: {:<50}", round + 1, configs[config].0);
            bench.visit(configs[config].1, &mut rounds[config])?;
        }
    }
    eprintln!();
    for rounds in &mut rounds {
        rounds.settle(bench.usual());
    }
    if programs::is_guest() {
        return keep_ratios(&configs, &rounds, record);
    }
    keep(&configs, &rounds, record)?;
    tell(&configs, &rounds, count);
    Ok(())
}

const NAMES: [(Kind, &str, &str); 7] = [
    (Kind::Unlink, "unlink of a missing file", "ns"),
    (Kind::Open, "open of a directory", "ns"),
    (Kind::Unpoliced, "an unpoliced call", "ns"),
    (Kind::File, "a file made, renamed, deleted", "ns"),
    (Kind::Program, "a program run by exec()", "ns"),
    (Kind::Stranger, "a stranger's unlink", "ns"),
    (Kind::Code, "a PHP function call", "ns"),
];

const MEMORY: [&str; 2] = ["the tracer", "its maps"];

fn keep(configs: &[(String, Config)], rounds: &[Rounds], record: &mut Record) -> Result<()> {
    for ((name, _), rounds_here) in configs.iter().zip(rounds) {
        for (kind, column, unit) in NAMES {
            record.values("a call", name, column, unit, rounds_here.of(kind).collect())?;
        }
        if !rounds_here.tracer.is_empty() {
            record.values("a call", name, "the tracer's own time", "ns", rounds_here.tracer.clone())?;
            for (whose, column) in MEMORY.into_iter().enumerate() {
                let bytes = rounds_here.memory.iter().map(|bytes| ratio(bytes[whose], 1 << 20)).collect();
                record.values("a session's memory", name, column, "MiB", bytes)?;
            }
        }
    }
    for bar in &BARS {
        for (config, (name, _)) in configs.iter().enumerate().skip(bar.than + 1) {
            let unit = if bar.decimals == 0 { "ns over an empty program" } else { "× bare" };
            record.values("a call, compared", name, bar.name, unit, bar.values(rounds, config))?;
        }
    }
    Ok(())
}

/// What a guest is good for: how it compares with another configuration of the same round.
fn keep_ratios(configs: &[(String, Config)], rounds: &[Rounds], record: &mut Record) -> Result<()> {
    println!("instructions of each call's process, times bare; median and quartiles\n");
    for ((name, _), rounds_here) in configs.iter().zip(rounds).skip(BARE + 1) {
        for (kind, column, _) in NAMES {
            let pairs = rounds_here.of(kind).zip(rounds[BARE].of(kind));
            let times: Vec<f64> = pairs.map(|(value, bare)| value / bare).collect();
            println!("{name:<38} {column:>29} {:>22}", Spread::of(times.iter().copied()).told(3));
            record.values("a call, counted", name, column, "× bare", times)?;
        }
    }
    let kernel_kill = format!("{}, sandbox", strategy::KERNEL_KILL.name);
    let Some(least) = configs.iter().position(|(name, _)| *name == kernel_kill) else { return Ok(()) };
    for ((name, _), rounds_here) in configs.iter().zip(rounds).filter(|(_, r)| !r.memory.is_empty()) {
        for (whose, column) in MEMORY.into_iter().enumerate() {
            let pairs = rounds_here.memory.iter().zip(&rounds[least].memory);
            let times = pairs.map(|(value, least)| ratio(value[whose], least[whose])).collect();
            record.values("a session's memory", name, column, "× phase 2", times)?;
        }
    }
    Ok(())
}

fn tell(configs: &[(String, Config)], rounds: &[Rounds], count: usize) {
    let disturbed: usize = rounds.iter().map(|rounds| rounds.disturbed).sum();
    println!(
        "ns for each call, scaled to the pace of the undisturbed processor: median and quartiles (rounds: {count}); \
         {disturbed} of {} measurements were disturbed by others\n",
        count * rounds.len()
    );
    print!("{:<38}", "");
    for (_, name, _) in NAMES {
        print!(" {name:>29}");
    }
    println!();
    for ((name, _), rounds) in configs.iter().zip(rounds) {
        print!("{name:<38}");
        for (kind, ..) in NAMES {
            print!(" {:>29}", Spread::of(rounds.of(kind)).told(usize::from(kind == Kind::Code)));
        }
        println!();
    }
    for bar in &BARS {
        println!("\n{}; the bar is {}\n", bar.name, bar.most);
        for (config, (name, how)) in configs.iter().enumerate().skip(bar.than + 1) {
            let spread = bar.of(rounds, config);
            let verdict = match how {
                Config::Session { mode: "--sandbox", usdt: false, .. } => spread.verdict(bar.most),
                _ => "",
            };
            println!("{name:<38} {:>22}  {verdict}", spread.told(bar.decimals));
        }
    }
}
