//! The text of the report.

use std::fmt::Write;

use benches::record::Values;
use benches::strategy::{KERNEL_KILL, LSM, REWRITING, USER_KILL};
use benches::{Spread, percentile};

use crate::{Bench, Benches, bars, missing, twice};

pub const LOOP: &str = "a loop in php-cli";
pub const SHAPES: &str = "other shapes, of unlink";
pub const APP: &str = "DokuWiki, php-fpm";
pub const CPU: &str = "CPU per request";
pub const CALLS: &str = "a call, compared";
pub const COUNTED: &str = "a call, counted";
pub const FUNCTION_CALL: &str = "a PHP function call";
pub const MEMORY: &str = "a session's memory";
/// One where the attack had its effect, else none.
const GONE: &str = "the file is gone";
pub const TIMES: &str = "phase 2, sandbox: times";

/// The sandbox of each strategy, and what it is called where there is little room.
pub const SANDBOXES: [(&str, &str); 4] = [
    ("phase 1, sandbox", "phase 1"),
    ("phase 2, sandbox", "phase 2"),
    ("phase 3, rewriting, sandbox", "rewriting"),
    ("phase 3, LSM, sandbox", "LSM"),
];

/// A table in Markdown.
pub struct Table(pub String);

impl Table {
    /// With these columns.
    pub fn new(columns: &[String]) -> Self {
        let head = columns.iter().fold("|".to_owned(), |mut text, c| {
            let _ = write!(text, " {c} |");
            text
        });
        Self(format!("{head}\n|{}\n", "---|".repeat(columns.len())))
    }

    /// One more row.
    pub fn row(&mut self, cells: &[String]) {
        let _ = writeln!(self.0, "| {} |", cells.join(" | "));
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

pub fn at(values: &[f64], percent: usize) -> f64 {
    percentile(&sorted(values), percent)
}

/// Counts: median, 95th percentile, maximum, of how many.
fn counts(values: &[f64]) -> String {
    let told = |percent| format!("{:.0}", at(values, percent));
    let (half, most, all) = (told(50), told(95), told(100));
    let sum: f64 = values.iter().sum();
    if sum == 0.0 {
        format!("**0** of {}", values.len())
    } else {
        format!("{half} / {most} / {all} ({})", values.len())
    }
}

pub fn spread(values: &[f64], decimals: usize) -> String {
    Spread::of(values.iter().copied()).told(decimals)
}

/// Every value of these groups, of one strategy.
fn all_of(bench: &Bench, groups: &[&str], column: &str) -> Vec<f64> {
    let is = |v: &&Values| groups.contains(&&v.group[..]) && v.column == column;
    bench.values.iter().filter(is).flat_map(|v| v.values.iter().copied()).collect()
}

fn table(bench: &Bench, group: &str, first: &str, tell: &dyn Fn(&[f64], &str) -> String) -> String {
    let columns = bench.names(group, |v| &v.column);
    let mut head = vec![first.to_owned()];
    head.extend(columns.iter().cloned());
    let mut table = Table::new(&head);
    for row in bench.names(group, |v| &v.row) {
        let mut cells = vec![row.clone()];
        cells
            .extend(columns.iter().map(|c| bench.cell(group, &row, c).map_or(String::new(), |v| tell(v, c))));
        table.row(&cells);
    }
    table.0
}

/// The whole text.
pub fn report(all: &Benches) -> String {
    let mut text = String::from("# Results\n\nWritten by `make report`; do not edit.\n\n");
    summary(&mut text, all);
    machine(&mut text, all);
    leak(&mut text, all);
    latency(&mut text, all);
    overhead(&mut text, all);
    bars::told(&mut text, all);
    twice::told(&mut text, all);
    missing::told(&mut text, all);
    text.push_str(REPEAT);
    text
}

/// What it means, in three sentences.
fn summary(text: &mut String, all: &Benches) {
    let groups = [LOOP, SHAPES];
    let of = |strategy: &str| all_of(&all.leak, &groups, strategy);
    let (one, two) = (of(USER_KILL.name), of(KERNEL_KILL.name));
    let guest = |strategy: &str| -> Vec<f64> {
        all.in_guests("leak").flat_map(|g| all_of(g, &groups, strategy)).collect()
    };
    let (lsm, rewriting) = (guest(LSM.name), guest(REWRITING.name));
    let tell = |values: &[f64]| format!("at most {:.0} in {} attacking tasks", at(values, 100), values.len());
    let _ = write!(
        text,
        "**What gets through.** Calls that the profile does not allow and that had their effect: phase 1 {} (median {:.0}), phase 2 {}",
        tell(&one),
        at(&one, 50),
        tell(&two)
    );
    if !rewriting.is_empty() {
        let _ = write!(text, ", rewriting {}", tell(&rewriting));
    }
    if !lsm.is_empty() {
        let _ = write!(text, ", LSM {}", tell(&lsm));
    }
    text.push_str("; a seccomp allowlist of the whole process stops none of them, because the program makes those calls honestly elsewhere.\n\n");
    let app = |row: &str| {
        all.overhead.cell(APP, row, CPU).map_or("not measured".into(), |v| format!("{} ×", spread(v, 2)))
    };
    let _ = write!(
        text,
        "**What it costs.** A request to DokuWiki takes php-fpm {} the CPU time of a bare one under phase 2 and {} under phase 1{}; attributed by USDT probes, as the original design does, {}, under strace {}.\n\n",
        app("phase 2, sandbox"),
        app("phase 1, sandbox"),
        counted(all).unwrap_or_default(),
        app("phase 1, monitor, USDT, its twenty calls"),
        app("strace -f, of files"),
    );
    let ran = |row: &str| {
        all.latency.cell("from the call", row, "PHP code ran on").map_or("not measured".into(), |v| {
            format!("{:.0} µs (p99 {:.0}, at most {:.0})", at(v, 50), at(v, 99), at(v, 100))
        })
    };
    let _ = write!(
        text,
        "**How soon it ends.** After the call, PHP code of the attacker runs on for {} under phase 1 and {} under phase 2.\n\n",
        ran(USER_KILL.name),
        ran(KERNEL_KILL.name)
    );
}

/// The same in instructions, which nobody else on the machine changes.
fn counted(all: &Benches) -> Option<String> {
    let guest = all.in_guests("overhead").next()?;
    let of = |(row, name): (&str, &str)| {
        guest.cell(APP, row, CPU).map(|values| format!("{name} {:.3} ×", at(values, 50)))
    };
    let told: Vec<String> = SANDBOXES.into_iter().filter_map(of).collect();
    (!told.is_empty())
        .then(|| format!(" (in instructions, counted in a guest on one processor: {})", told.join(", ")))
}

fn machine(text: &mut String, all: &Benches) {
    let run = &all.leak.run;
    let _ = write!(
        text,
        "## Where and when\n\n{}; Linux {}; PHP {}; {}; commit {}.\n",
        run.processor, run.kernel, run.php, run.date, run.commit
    );
    for other in [&all.latency.run, &all.overhead.run] {
        if (&other.commit, &other.date) != (&run.commit, &run.date) {
            let _ = writeln!(text, "`{}` is of {} and commit {}.", other.bench, other.date, other.commit);
        }
    }
    let here = [&all.leak, &all.latency, &all.overhead];
    let durations: Vec<String> =
        here.iter().filter_map(|bench| Some(format!("`{}`{}", bench.run.bench, took(bench)?))).collect();
    if !durations.is_empty() {
        let _ = writeln!(text, "{}.", durations.join(", "));
    }
    for guest in &all.guests {
        let run = &guest.run;
        let _ = writeln!(
            text,
            "Guest: `{}` under Linux {}, {}, commit {}{}{}: an emulated machine, of which only counts and ratios mean anything.",
            run.bench,
            run.kernel,
            run.date,
            run.commit,
            if run.quick { ", a quick run" } else { "" },
            took(guest).map_or(String::new(), |took| format!(",{took}"))
        );
    }
    text.push_str("\nNumbers are medians with quartiles in brackets, unless a table says otherwise.\n\n");
}

fn took(bench: &Bench) -> Option<String> {
    bench.took.map(|seconds| format!(" took {seconds:.0} s"))
}

fn leak(text: &mut String, all: &Benches) {
    let tell = |values: &[f64], _: &str| counts(values);
    let _ = write!(
        text,
        "## What gets through\n\nCalls that had their effect (files gone, bytes received, signals taken) for each attacking task: median / p95 / maximum (attacking tasks). \
         Every attack has its effect each time where nothing is enforced; what is honest was learnt beside it, and works.\n\n{}\n{}\n![Distribution of the calls let through](plots/leak.svg)\n\n",
        table(&all.leak, LOOP, "a loop in php-cli of", &tell),
        table(&all.leak, SHAPES, "unlink, by", &tell)
    );
    text.push_str(
        "`execve` and `fork` leave nothing behind under phase 1 or 2 because the process is killed before what it became, or its child, did anything; the call itself was made.\n\n",
    );
    for guest in all.in_guests("leak") {
        let _ = write!(
            text,
            "### In a guest, Linux {}\n\n{}\n{}\n",
            guest.run.kernel,
            table(guest, LOOP, "a loop in php-cli of", &tell),
            table(guest, SHAPES, "unlink, by", &tell)
        );
    }
}

/// Times: median, 99th percentile, maximum, of how many; of a hundred or fewer the second would be the third.
fn tail(values: &[f64], unit: f64, decimals: usize) -> String {
    let told = |percent| format!("{:.decimals$}", at(values, percent) / unit);
    let most = if values.len() > 100 { told(99) } else { "–".into() };
    format!("{} / {most} / {} ({})", told(50), told(100), values.len())
}

fn tail_or_gone(values: &[f64], column: &str, unit: f64, decimals: usize) -> String {
    if column != GONE {
        return tail(values, unit, decimals);
    }
    format!("{:.0} of {}", values.iter().sum::<f64>(), values.len())
}

fn latency(text: &mut String, all: &Benches) {
    let _ = write!(
        text,
        "## How soon it ends\n\nµs after an unauthorized `unlink` was called: p50 / p99 / maximum (attacks), without p99 of a hundred or fewer. *The call came back*: PHP code went on (empty: it never did). *PHP code ran on*: until it last did anything. *Its parent knows it dead*: with the end of the process and the wake-up of its parent. *The file is gone*: after how many of all attacks.\n\n{}\n![Distribution of the time to death](plots/latency.svg)\n\n",
        table(&all.latency, "from the call", "strategy", &|v, column| tail_or_gone(v, column, 1.0, 0))
    );
    for guest in all.in_guests("latency") {
        let bare =
            guest.cell("from the call", "nothing enforced", "the call came back").map_or(1.0, |v| at(v, 50));
        let _ = write!(
            text,
            "### In a guest, Linux {}\n\nTimes the median of the same call where nothing is enforced.\n\n{}\n",
            guest.run.kernel,
            table(guest, "from the call", "strategy", &|v, column| tail_or_gone(v, column, bare, 1))
        );
    }
}

fn overhead(text: &mut String, all: &Benches) {
    let told = |values: &[f64], _: &str| spread(values, 2);
    let ms = all
        .overhead
        .cell(APP, "nothing", "CPU per request, absolute")
        .map_or(String::new(), |v| spread(v, 2));
    let _ = write!(
        text,
        "## What it costs\n\n### An application\n\nDokuWiki under php-fpm 8.2 (opcache, two workers), nginx, wrk with two connections: eight pages in turn, reading, searching and editing. \
         Times what the same pool took when nobody watched, just before and just after ({ms} ms of CPU for each request); `nothing` is when nobody watched then either, so its spread is that of the machine. What must be there when a pool starts (the probes, strace, who is notified) is a new pool between two others. The CPU per request is the figure; requests per second depend on who else runs on two processors.\n\n{}\n![CPU for each request](plots/app.svg)\n\n",
        table(&without(&all.overhead, "CPU per request, absolute"), APP, "attached", &told)
    );
    for guest in all.in_guests("overhead").filter(|guest| has(guest, APP)) {
        let _ = write!(
            text,
            "{}:\n\n{}\n",
            in_guest(guest),
            table(&without(guest, "CPU per request, absolute"), APP, "attached", &|v, _| spread(v, 3))
        );
    }
    let calls = |values: &[f64], column: &str| spread(values, usize::from(column == FUNCTION_CALL));
    let _ = write!(
        text,
        "### A call\n\nns, in a loop of a PHP function; the last ones of a process that has nothing to do with PHP, and of PHP code without system calls. \
         Each is scaled by how long a fixed piece of work took beside it, because a processor whose sibling is busy does everything a third slower.\n\n{}\n",
        table(&all.overhead, "a call", "attached", &calls)
    );
    let counted = "the time of the process itself and of those that it waits for, times bare in the same round. A missing file's `unlink` reaches no hook";
    guests(text, all, COUNTED, &format!(": {counted}."), 3);
    memory(text, all);
}

fn memory(text: &mut String, all: &Benches) {
    let _ = write!(
        text,
        "### Memory, and large profiles\n\nMiB. First of the sessions by which calls were measured, whose profile is small.\n\n{}\n",
        table(&all.overhead, MEMORY, "attached", &|v, _| spread(v, 1))
    );
    guests(text, all, MEMORY, ", times that of phase 2:", 2);
    let _ = write!(
        text,
        "{}\n{}\n",
        table(&all.overhead, "phase 2, sandbox: memory", "phase 2, sandbox", &|v, _| spread(v, 1)),
        table(&all.overhead, TIMES, "", &|v, _| spread(v, 0))
    );
}

/// What guests have of a group of `overhead`: how each is introduced, and how many decimals its numbers have.
fn guests(text: &mut String, all: &Benches, group: &str, told: &str, decimals: usize) {
    for guest in all.in_guests("overhead").filter(|guest| has(guest, group)) {
        let rows = table(guest, group, "attached", &|v, _| spread(v, decimals));
        let _ = write!(text, "{}{told}\n\n{rows}\n", in_guest(guest));
    }
}

fn in_guest(guest: &Bench) -> String {
    format!("In a guest, Linux {} ({})", guest.run.kernel, guest.run.guest.as_deref().unwrap_or_default())
}

fn has(bench: &Bench, group: &str) -> bool {
    bench.values.iter().any(|values| values.group == group)
}

fn without(bench: &Bench, column: &str) -> Bench {
    let values = bench.values.iter().filter(|v| v.column != column).cloned().collect();
    Bench { run: bench.run.clone(), values, missing: bench.missing.clone(), took: bench.took }
}

const REPEAT: &str = "## How to repeat it\n\n    make bench          # as root, a quarter of an hour; twice, to see what agrees\n    make bench-guest    # phase 3, in an emulated guest\n    make report\n\n\
Records are in `target/bench/`, criterion's own analysis in `target/criterion/`. `cargo bench -- --quick` takes three minutes and cannot be reported.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_needs_more_than_a_hundred() {
        let values: Vec<f64> = (1..=101).map(f64::from).collect();
        assert_eq!(tail(&values, 1.0, 0), "51 / 100 / 101 (101)");
        assert_eq!(tail(&values[..100], 10.0, 1), "5.0 / – / 10.0 (100)");
        assert_eq!(tail_or_gone(&[0.0, 1.0, 1.0], GONE, 10.0, 1), "2 of 3");
    }

    #[test]
    fn counts_tell_the_worst_and_none() {
        assert_eq!(counts(&[1.0, 1.0, 7.0]), "1 / 7 / 7 (3)");
        assert_eq!(counts(&[0.0, 0.0]), "**0** of 2");
    }
}
