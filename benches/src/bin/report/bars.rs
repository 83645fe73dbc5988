//! What was to be reached, and was it.

use std::fmt::Write;

use benches::Spread;
use benches::attack::OPERATIONS;
use benches::record::Values;
use benches::strategy::{KERNEL_KILL, LSM, PLAIN, REWRITING, USER_KILL};

use crate::tables::{
    APP, CALLS, COUNTED, CPU, FUNCTION_CALL, LOOP, SANDBOXES, SHAPES, TIMES, Table, at, spread,
};
use crate::{Bench, Benches};

/// What is attached where a strategy looks at calls alone, without doing anything there.
const EMPTY: &str = "empty program at sys_enter";
/// Likewise at returns, too.
const BOTH_EMPTY: &str = "empty programs at sys_enter, sys_exit";
/// Operations without an argument in memory that rewriting could make invalid, and what their arguments are instead.
const BY_VALUE: [(&str, &str); 2] = [
    ("write", "its data is written whatever it is, and the rest are numbers"),
    ("kill", "its arguments are numbers"),
];
/// Attacks by which phase 1's distribution is told.
const DISTRIBUTION: usize = 200;
/// ns of a call over an empty program at `sys_enter`.
const OVER_EMPTY: [(&str, f64); 4] = [
    ("policed call, ns over empty: unlink", 2000.0),
    ("policed call, ns over empty: openat", 2000.0),
    ("unpoliced call, ns over empty", 50.0),
    ("a stranger's policed call, ns over empty", 80.0),
];
const CODE: (&str, f64) = ("PHP code without calls, times bare", 1.01);
/// ms for a profile of 50,000 sites: how the rows of a larger one begin, and what it does.
const LARGE_PROFILE: [(&str, &str); 2] = [("loading", "loads"), ("showing", "shows")];
const MILLIS: f64 = 1000.0;
/// Seconds for all benchmarks.
const WHOLE: f64 = 900.0;

/// The section.
pub fn told(text: &mut String, all: &Benches) {
    let mut rows = Rows::new();
    distribution(&mut rows, all);
    kernel_kill(&mut rows, all);
    rewriting(&mut rows, all);
    hooks(&mut rows, all);
    calls(&mut rows, all);
    application(&mut rows, all);
    large_profile(&mut rows, all);
    duration(&mut rows, all);
    let _ = write!(
        text,
        "## What was to be reached\n\n`met`: by three quarters of what was measured, of calls let through by all of it; `within its spread`: by half. \
         Phase 1's race is judged here alone: emulated processors take turns.\n\n{}\n\
         Where the time goes, and why a bar is missed: [costs.md](costs.md).\n\n",
        rows.0.0
    );
}

struct Rows(Table);

impl Rows {
    fn new() -> Self {
        Self(Table::new(&["what".into(), "bar".into(), "measured".into(), String::new()]))
    }

    fn row(&mut self, what: &str, bar: &str, measured: &str, verdict: &str) {
        self.0.row(&[what.into(), bar.into(), measured.into(), verdict.replace("missed", "**missed**")]);
    }

    /// What has a spread; `beside` what was measured.
    fn spread(&mut self, what: &str, limit: &Limit, values: Option<&[f64]>, beside: &str) {
        let Some(values) = values else { return self.row(what, &limit.told(), "", "not measured") };
        let measured = format!("{}{}{beside}", spread(values, limit.decimals), limit.unit);
        let verdict = Spread::of(values.iter().copied()).verdict(limit.most);
        self.row(what, &limit.told(), &measured, verdict);
    }

    /// What each attacking task got through, wherever it was measured.
    fn leaks(&mut self, all: &Benches, strategy: &str, what: &str, limit: &Leaks) {
        let name = format!("calls let through by {strategy}{what}");
        let mut measured = false;
        for bench in std::iter::once(&all.leak).chain(all.in_guests("leak")) {
            let seen = Seen::of(bench, strategy, &limit.operations);
            if seen.leaks.is_empty() {
                continue;
            }
            measured = true;
            let enough = if bench.run.guest.is_some() { limit.enough_in_guest } else { limit.enough };
            let bar = format!("{}{}", limit.told(), enough.told());
            self.row(
                &format!("{name}{}", place(bench)),
                &bar,
                &seen.told(),
                &seen.verdict(limit.most, enough),
            );
        }
        if !measured {
            self.row(&name, &limit.told(), "", "not measured");
        }
    }
}

/// Where something was measured, if not here.
fn place(bench: &Bench) -> String {
    if bench.run.guest.is_some() {
        format!("; in a guest, Linux {}", bench.run.kernel)
    } else {
        String::new()
    }
}

/// What must not be exceeded.
struct Limit {
    most: f64,
    unit: &'static str,
    of: &'static str,
    decimals: usize,
}

impl Limit {
    fn told(&self) -> String {
        format!("≤ {}{}{}", self.most, self.unit, self.of)
    }
}

/// Attacks that a verdict needs.
#[derive(Clone, Copy, Default)]
struct Enough {
    all: usize,
    each_operation: usize,
}

impl Enough {
    fn told(self) -> String {
        match (self.all, self.each_operation) {
            (0, _) => String::new(),
            (all, 0) => format!(", in ≥ {all}"),
            (all, each) => format!(", in ≥ {all}, ≥ {each} of each operation"),
        }
    }
}

/// Calls that an attacking task may get through.
struct Leaks {
    most: f64,
    operations: Vec<&'static str>,
    reason: Option<&'static str>,
    enough: Enough,
    enough_in_guest: Enough,
}

impl Leaks {
    fn told(&self) -> String {
        let most = if self.most == 0.0 { "0".to_owned() } else { format!("≤ {:.0}", self.most) };
        let reason = self.reason.map_or(String::new(), |reason| format!(" ({reason})"));
        format!("{most} for each attacking task{reason}")
    }
}

/// What was seen of some operations.
struct Seen {
    leaks: Vec<f64>,
    /// Attacks of the operation that was tried least often.
    least: (usize, &'static str),
}

impl Seen {
    fn of(bench: &Bench, strategy: &str, operations: &[&'static str]) -> Self {
        let of = |operation: &str| -> Vec<f64> {
            // The other shapes are of one operation.
            let is_it = |v: &&Values| match &v.group[..] {
                LOOP => v.row == operation,
                SHAPES => operation == "unlink",
                _ => false,
            };
            let its = bench.values.iter().filter(|v| v.column == strategy).filter(is_it);
            its.flat_map(|v| v.values.iter().copied()).collect()
        };
        let each = operations.iter().map(|operation| (of(operation), *operation));
        let least = each.clone().map(|(leaks, operation)| (leaks.len(), operation)).min();
        Self { leaks: each.flat_map(|(leaks, _)| leaks).collect(), least: least.unwrap_or_default() }
    }

    fn told(&self) -> String {
        format!("at most {:.0} in {} attacking tasks", at(&self.leaks, 100), self.leaks.len())
    }

    fn verdict(&self, most: f64, enough: Enough) -> String {
        let (least, operation) = self.least;
        if at(&self.leaks, 100) > most {
            "missed".into()
        } else if least < enough.each_operation {
            format!("too few: {least} of `{operation}`")
        } else if self.leaks.len() < enough.all {
            format!("too few: {}", self.leaks.len())
        } else {
            "met".into()
        }
    }
}

fn distribution(rows: &mut Rows, all: &Benches) {
    const WHAT: &str = "calls let through by phase 1, a loop of unlink";
    let bar = format!("p95 and maximum ≤ a third of a plain consumer's, of ≥ {DISTRIBUTION} attacks");
    let cell = |name: &str| all.leak.cell(LOOP, "unlink", name);
    let (Some(plain), Some(ours)) = (cell(PLAIN.name), cell(USER_KILL.name)) else {
        return rows.row(WHAT, &bar, "", "not measured");
    };
    let worst = |values| (at(values, 95), at(values, 100));
    let (p, o) = (worst(plain), worst(ours));
    let told = format!(
        "p95 {:.0}, maximum {:.0}; a plain consumer's {:.0} and {:.0} (attacks: {}, {})",
        o.0,
        o.1,
        p.0,
        p.1,
        ours.len(),
        plain.len()
    );
    let fewest = ours.len().min(plain.len());
    let verdict = if 3.0 * o.0 > p.0 || 3.0 * o.1 > p.1 {
        "missed".into()
    } else if fewest < DISTRIBUTION {
        format!("too few: {fewest}")
    } else {
        "met".into()
    };
    rows.row(WHAT, &bar, &told, &verdict);
}

fn every_operation() -> Vec<&'static str> {
    OPERATIONS.iter().map(|(name, ..)| *name).collect()
}

fn kernel_kill(rows: &mut Rows, all: &Benches) {
    let limit = Leaks {
        most: 1.0,
        operations: every_operation(),
        reason: None,
        enough: Enough { all: 1000, each_operation: 0 },
        enough_in_guest: Enough::default(),
    };
    rows.leaks(all, KERNEL_KILL.name, "", &limit);
}

fn rewriting(rows: &mut Rows, all: &Benches) {
    let (enough, enough_in_guest) = (Enough::default(), Enough::default());
    let mut operations = every_operation();
    operations.retain(|name| BY_VALUE.iter().all(|(by_value, _)| by_value != name));
    let limit = Leaks { most: 0.0, operations, reason: None, enough, enough_in_guest };
    rows.leaks(all, REWRITING.name, "", &limit);
    for (name, reason) in BY_VALUE {
        let limit =
            Leaks { most: 1.0, operations: vec![name], reason: Some(reason), enough, enough_in_guest };
        rows.leaks(all, REWRITING.name, &format!(": `{name}`"), &limit);
    }
}

fn hooks(rows: &mut Rows, all: &Benches) {
    let enough = Enough { all: 1000, each_operation: 100 };
    let limit =
        Leaks { most: 0.0, operations: every_operation(), reason: None, enough, enough_in_guest: enough };
    rows.leaks(all, LSM.name, "", &limit);
}

fn calls(rows: &mut Rows, all: &Benches) {
    let nanos = OVER_EMPTY.map(|(bar, most)| (bar, Limit { most, unit: "", of: "", decimals: 0 }));
    let code = (CODE.0, Limit { most: CODE.1, unit: "", of: "", decimals: 3 });
    for (bar, limit) in nanos.iter().chain([&code]) {
        for (phase, _) in &SANDBOXES[..2] {
            let second = all.overhead.cell(CALLS, BOTH_EMPTY, bar).filter(|_| *phase == SANDBOXES[0].0);
            let beside = second.map_or(String::new(), |empty| {
                format!("; a second empty program, at `sys_exit`, {}", spread(empty, limit.decimals))
            });
            rows.spread(&format!("{bar}; {phase}"), limit, all.overhead.cell(CALLS, phase, bar), &beside);
        }
    }
    for guest in all.in_guests("overhead") {
        for (row, _) in SANDBOXES {
            if let Some(counted) = guest.cell(COUNTED, row, FUNCTION_CALL) {
                let what = format!("{} (instructions); {row}{}", CODE.0, place(guest));
                rows.spread(&what, &code.1, Some(counted), "");
            }
        }
    }
}

fn application(rows: &mut Rows, all: &Benches) {
    for ((row, _), most) in SANDBOXES.into_iter().zip([1.02, 1.02, 1.02, 1.01]) {
        let limit = Limit { most, unit: "", of: " × bare", decimals: 3 };
        // The hooks have none.
        let beside = |bench: &Bench| {
            let empty = bench.cell(APP, EMPTY, CPU).filter(|_| row != SANDBOXES[3].0);
            empty.map_or(String::new(), |empty| {
                format!("; with an empty program at `sys_enter` {}", spread(empty, limit.decimals))
            })
        };
        let counted: Vec<_> =
            all.in_guests("overhead").filter_map(|guest| Some((guest, guest.cell(APP, row, CPU)?))).collect();
        let time = all.overhead.cell(APP, row, CPU);
        if time.is_some() || counted.is_empty() {
            let what = format!("DokuWiki, CPU per request (time): {row}");
            rows.spread(&what, &limit, time, &beside(&all.overhead));
        }
        for (guest, values) in counted {
            let what = format!("DokuWiki, CPU per request (instructions): {row}{}", place(guest));
            rows.spread(&what, &limit, Some(values), &beside(guest));
        }
    }
}

fn large_profile(rows: &mut Rows, all: &Benches) {
    let limit = Limit { most: MILLIS, unit: " ms", of: " for 50,000", decimals: 0 };
    let measured = all.overhead.names(TIMES, |v| &v.row);
    for (begin, does) in LARGE_PROFILE {
        let row = measured.iter().find(|row| row.starts_with(begin));
        let values = row.and_then(|row| all.overhead.cell(TIMES, row, "ms"));
        rows.spread(&format!("a profile of 65,536 sites {does} in"), &limit, values, "");
    }
}

fn duration(rows: &mut Rows, all: &Benches) {
    let each = [&all.leak, &all.latency, &all.overhead].map(|bench| bench.took);
    let Some(sum) = each.into_iter().sum::<Option<f64>>() else { return };
    let verdict = if sum <= WHOLE { "met" } else { "missed" };
    rows.row("`cargo bench`, built", &format!("≤ {WHOLE} s"), &format!("{sum:.0} s"), verdict);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use benches::record::Run;

    use super::*;

    type Cell<'a> = (&'a str, &'a str, &'a str, &'a [f64]);

    fn bench(values: &[Cell]) -> Bench {
        let cell = |(group, row, column, values): &Cell| Values {
            group: (*group).into(),
            row: (*row).into(),
            column: (*column).into(),
            unit: String::new(),
            values: values.to_vec(),
        };
        Bench {
            run: Run::default(),
            values: values.iter().map(cell).collect(),
            missing: BTreeMap::new(),
            took: None,
        }
    }

    fn guest(of: &str, kernel: &str, values: &[Cell]) -> Bench {
        let mut guest = bench(values);
        (guest.run.bench, guest.run.kernel) = (of.into(), kernel.into());
        guest.run.guest = Some("emulated".into());
        guest
    }

    fn all(leak: Bench, overhead: Bench) -> Benches {
        Benches { leak, latency: bench(&[]), overhead, guests: Vec::new(), before: Vec::new() }
    }

    /// The verdict of the row that begins so.
    fn verdict(all: &Benches, row: &str) -> String {
        let mut text = String::new();
        told(&mut text, all);
        let found = text.lines().find(|line| line.starts_with(&format!("| {row}")));
        let found = found.unwrap_or_else(|| panic!("no `{row}` in\n{text}"));
        found.trim_end_matches(" |").rsplit("| ").next().unwrap().to_owned()
    }

    #[test]
    fn one_call_too_many_in_a_thousand_attacks_misses_a_bar() {
        let leaks = |count, most| {
            let mut values = vec![1.0; count];
            values.push(most);
            all(bench(&[(LOOP, "unlink", "phase 2", &values)]), bench(&[]))
        };
        assert_eq!(verdict(&leaks(999, 1.0), "calls let through by phase 2"), "met");
        assert_eq!(verdict(&leaks(999, 2.0), "calls let through by phase 2"), "**missed**");
        assert_eq!(verdict(&leaks(998, 1.0), "calls let through by phase 2"), "too few: 999");
        assert_eq!(verdict(&leaks(998, 2.0), "calls let through by phase 2"), "**missed**");
    }

    #[test]
    fn phase_1_needs_two_hundred_attacks_of_both_consumers() {
        let leaks = |ours: &[f64], plain: &[f64]| {
            let cells = [(LOOP, "unlink", USER_KILL.name, ours), (LOOP, "unlink", PLAIN.name, plain)];
            verdict(&all(bench(&cells), bench(&[])), "calls let through by phase 1")
        };
        assert_eq!(leaks(&[2.0; 200], &[6.0; 200]), "met");
        assert_eq!(leaks(&[2.0; 200], &[5.0; 200]), "**missed**");
        assert_eq!(leaks(&[2.0; 199], &[6.0; 200]), "too few: 199");
        assert_eq!(leaks(&[2.0; 200], &[6.0; 150]), "too few: 150");
    }

    #[test]
    fn rewriting_lets_nothing_through_but_what_is_listed() {
        const ROW: &str = "calls let through by phase 3, rewriting; in a guest";
        const KILL: &str = "calls let through by phase 3, rewriting: `kill`; in a guest";
        let leaks = |operation, most| {
            let cells = [
                (LOOP, "unlink", REWRITING.name, &[0.0][..]),
                (SHAPES, "one call", REWRITING.name, &[0.0]),
                (LOOP, operation, REWRITING.name, most),
            ];
            Benches { guests: vec![guest("leak", "6.12", &cells)], ..all(bench(&[]), bench(&[])) }
        };
        assert_eq!(verdict(&leaks("rename", &[0.0]), ROW), "met");
        assert_eq!(verdict(&leaks("rename", &[1.0]), ROW), "**missed**");
        assert_eq!(verdict(&leaks("kill", &[1.0]), ROW), "met");
        assert_eq!(verdict(&leaks("kill", &[1.0]), KILL), "met");
        assert_eq!(verdict(&leaks("kill", &[2.0]), KILL), "**missed**");
    }

    #[test]
    fn the_hooks_need_a_hundred_attacks_of_each_operation() {
        let leaks = |connects: usize, most: f64| {
            let (hundred, connects, others) = (vec![0.0; 100], vec![0.0; connects], vec![0.0; 300]);
            let mut cells: Vec<Cell> =
                every_operation().into_iter().map(|name| (LOOP, name, LSM.name, &hundred[..])).collect();
            cells.iter_mut().find(|cell| cell.1 == "connect").unwrap().3 = &connects;
            let last = [most];
            cells.extend([(SHAPES, "one call", LSM.name, &others[..]), (SHAPES, "forks", LSM.name, &last)]);
            let guests = vec![guest("leak", "6.1", &cells)];
            verdict(&Benches { guests, ..all(bench(&[]), bench(&[])) }, "calls let through by phase 3, LSM")
        };
        assert_eq!(leaks(100, 0.0), "met");
        assert_eq!(leaks(99, 0.0), "too few: 99 of `connect`");
        assert_eq!(leaks(0, 0.0), "too few: 0 of `connect`");
        assert_eq!(leaks(100, 1.0), "**missed**");
    }

    #[test]
    fn every_guest_is_judged() {
        let leaks = |kernel: &str, most: f64| guest("leak", kernel, &[(LOOP, "unlink", LSM.name, &[most])]);
        let cost =
            |kernel: &str, times: f64| guest("overhead", kernel, &[(APP, SANDBOXES[3].0, CPU, &[times])]);
        let guests = vec![leaks("6.1", 0.0), leaks("6.12", 1.0), cost("6.1", 1.005), cost("6.12", 1.015)];
        let all = Benches { guests, ..all(bench(&[]), bench(&[])) };
        let leak = |kernel| {
            verdict(&all, &format!("calls let through by phase 3, LSM; in a guest, Linux {kernel} "))
        };
        assert_eq!(leak("6.1"), "too few: 0 of `connect`");
        assert_eq!(leak("6.12"), "**missed**");
        let what = "DokuWiki, CPU per request (instructions): phase 3, LSM, sandbox; in a guest, Linux";
        assert_eq!(verdict(&all, &format!("{what} 6.1 ")), "met");
        assert_eq!(verdict(&all, &format!("{what} 6.12 ")), "**missed**");
    }

    #[test]
    fn a_bar_that_was_not_measured_is_neither_met_nor_missed() {
        let mut text = String::new();
        told(&mut text, &all(bench(&[]), bench(&[])));
        assert!(!text.contains("| met |") && !text.contains("**missed**"), "{text}");
        assert!(text.contains("not measured"), "{text}");
    }

    #[test]
    fn three_quarters_decide() {
        let cost = |values| all(bench(&[]), bench(&[(APP, "phase 2, sandbox", CPU, values)]));
        let of = |values| verdict(&cost(values), "DokuWiki, CPU per request (time): phase 2");
        assert_eq!(of(&[1.0, 1.01, 1.02, 1.5]), "met");
        assert_eq!(of(&[1.0, 1.01, 1.03, 1.5]), "within its spread");
        assert_eq!(of(&[1.0, 1.03, 1.05, 1.5]), "**missed**, within its spread");
        assert_eq!(of(&[1.03, 1.03, 1.05, 1.5]), "**missed**");
    }

    #[test]
    fn php_code_is_judged_by_instructions_too() {
        let of = |times: f64| {
            let guests =
                vec![guest("overhead", "6.12", &[(COUNTED, SANDBOXES[3].0, FUNCTION_CALL, &[times])])];
            let all = Benches { guests, ..all(bench(&[]), bench(&[])) };
            verdict(
                &all,
                "PHP code without calls, times bare (instructions); phase 3, LSM, sandbox; in a guest",
            )
        };
        assert_eq!(of(1.009), "met");
        assert_eq!(of(1.011), "**missed**");
    }

    #[test]
    fn all_benchmarks_together_take_a_quarter_of_an_hour() {
        let mut all = all(bench(&[]), bench(&[]));
        for (bench, took) in [(&mut all.leak, 200.0), (&mut all.latency, 100.0), (&mut all.overhead, 600.0)] {
            bench.took = Some(took);
        }
        assert_eq!(verdict(&all, "`cargo bench`"), "met");
        all.latency.took = Some(101.0);
        assert_eq!(verdict(&all, "`cargo bench`"), "**missed**");
    }

    #[test]
    fn a_large_profile_is_judged_by_loading_and_showing() {
        let cells = [
            (TIMES, "loading 65536 sites", "ms", &[900.0][..]),
            (TIMES, "showing 65536 sites", "ms", &[1200.0]),
        ];
        let all = all(bench(&[]), bench(&cells));
        assert_eq!(verdict(&all, "a profile of 65,536 sites loads"), "met");
        assert_eq!(verdict(&all, "a profile of 65,536 sites shows"), "**missed**");
    }

    #[test]
    fn what_a_second_empty_program_costs_stands_beside_phase_1() {
        let bar = "unpoliced call, ns over empty";
        let cells = [
            (CALLS, BOTH_EMPTY, bar, &[61.0][..]),
            (CALLS, "phase 1, sandbox", bar, &[76.0]),
            (CALLS, "phase 2, sandbox", bar, &[28.0]),
        ];
        let mut text = String::new();
        told(&mut text, &all(bench(&[]), bench(&cells)));
        let line = |of: &str| text.lines().find(|l| l.starts_with(&format!("| {bar}; {of}")));
        assert!(
            line("phase 1").is_some_and(|l| l.contains("sys_exit`, 61") && l.contains("**missed**")),
            "{text}"
        );
        assert!(line("phase 2").is_some_and(|l| !l.contains("sys_exit") && l.contains("| met |")), "{text}");
    }

    #[test]
    fn time_and_instructions_are_judged_each() {
        let time = bench(&[(APP, "phase 2, sandbox", CPU, &[1.05])]);
        let counted = guest("overhead", "6.12", &[(APP, "phase 2, sandbox", CPU, &[1.01])]);
        let all = Benches { guests: vec![counted], ..all(bench(&[]), time) };
        assert_eq!(verdict(&all, "DokuWiki, CPU per request (time): phase 2"), "**missed**");
        assert_eq!(verdict(&all, "DokuWiki, CPU per request (instructions): phase 2"), "met");
    }
}
