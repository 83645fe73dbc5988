//! What test binaries print (libtest's form), and the table of it: a test a line, a kernel a column.

use std::collections::BTreeMap;
use std::fmt::Write;

/// How a test went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Ok,
    /// It failed.
    Failed,
    /// It was not run, and why.
    Skipped(String),
    /// It was running, or had not begun, when its guest ended.
    NoVerdict,
}

/// What a test binary has printed: each test in its order. One without an outcome had begun when the output ended.
pub fn read(output: &str) -> Vec<(String, Outcome)> {
    let mut all: Vec<(String, Outcome)> = Vec::new();
    // Whether the last test printed something itself before its outcome, which is then the last of the lines that
    // look like one.
    let mut open = false;
    for line in output.lines() {
        let begun = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "));
        if let Some((name, rest)) = begun {
            let outcome = outcome(rest);
            open = outcome.is_none();
            all.push((name.trim_end().to_owned(), outcome.unwrap_or(Outcome::NoVerdict)));
        } else if line == "failures:" || line.starts_with("test result: ") {
            open = false;
        } else if let (true, Some((_, last)), Some(outcome)) = (open, all.last_mut(), outcome(line)) {
            *last = outcome;
        }
    }
    all
}

fn outcome(text: &str) -> Option<Outcome> {
    match text.trim_end() {
        "ok" => Some(Outcome::Ok),
        "FAILED" => Some(Outcome::Failed),
        "ignored" => Some(Outcome::Skipped("no reason given".into())),
        other => reason(other).map(|why| Outcome::Skipped(why.to_owned())),
    }
}

/// As libtest tells it, or libtest-mimic.
fn reason(text: &str) -> Option<&str> {
    let in_brackets = || text.strip_prefix("ignored (")?.strip_suffix(')');
    text.strip_prefix("ignored, ").or_else(in_brackets)
}

/// How the guest of a suite ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// With this exit status of the test binary.
    Status(u8),
    /// Without one, and why.
    NoVerdict(String),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::NoVerdict(why) => write!(f, "no verdict: {why}"),
        }
    }
}

/// One suite under one kernel.
pub struct Run {
    /// The suite.
    pub suite: &'static str,
    /// The kernel's version.
    pub kernel: String,
    /// What the tests said.
    pub tests: Vec<(String, Outcome)>,
    /// How it ended.
    pub end: End,
}

/// All runs, as a table.
#[derive(Default)]
pub struct Table {
    kernels: Vec<String>,
    /// The tests of each suite, in the order in which they ran.
    suites: Vec<(&'static str, Vec<String>)>,
    cells: BTreeMap<(&'static str, String, String), Outcome>,
    /// What is said about a whole run.
    notes: Vec<String>,
}

/// The line of a whole suite: its exit status, or that there was none.
const ALL: &str = "(exit status)";

impl Table {
    /// Of all runs.
    pub fn of(runs: &[Run]) -> Self {
        let mut table = Self::default();
        for run in runs {
            table.add(run);
        }
        for run in runs.iter().filter(|run| matches!(run.end, End::NoVerdict(_))) {
            table.fill(run);
        }
        table
    }

    fn add(&mut self, run: &Run) {
        if !self.kernels.contains(&run.kernel) {
            self.kernels.push(run.kernel.clone());
        }
        let failed = run.tests.iter().any(|(_, outcome)| *outcome == Outcome::Failed);
        let (all, note) = match &run.end {
            End::Status(0) => (Outcome::Ok, None),
            End::Status(status) if failed => (Outcome::Failed, Some(format!("exit status {status}"))),
            End::Status(status) => {
                (Outcome::Failed, Some(format!("exit status {status}, and no test that failed")))
            }
            End::NoVerdict(why) => (Outcome::NoVerdict, Some(format!("no verdict: {why}"))),
        };
        self.notes.extend(note.map(|note| format!("{} on {}: {note}", run.suite, run.kernel)));
        for (name, outcome) in &run.tests {
            // Who says nothing more has no verdict; who has one keeps it only if its guest came to an end.
            let outcome =
                if matches!(run.end, End::NoVerdict(_)) { Outcome::NoVerdict } else { outcome.clone() };
            self.set(run, name, outcome);
        }
        self.set(run, ALL, all);
    }

    /// Tests that this run did not come to, but another did.
    fn fill(&mut self, run: &Run) {
        let names = self.suites.iter().find(|(suite, _)| *suite == run.suite).map(|(_, names)| names.clone());
        for name in names.unwrap_or_default() {
            let key = (run.suite, name, run.kernel.clone());
            self.cells.entry(key).or_insert(Outcome::NoVerdict);
        }
    }

    fn set(&mut self, run: &Run, name: &str, outcome: Outcome) {
        let place = self.suites.iter().position(|(suite, _)| *suite == run.suite).unwrap_or_else(|| {
            self.suites.push((run.suite, Vec::new()));
            self.suites.len() - 1
        });
        let names = &mut self.suites[place].1;
        if !names.iter().any(|other| other == name) {
            names.push(name.to_owned());
        }
        self.cells.insert((run.suite, name.to_owned(), run.kernel.clone()), outcome);
    }

    /// Whether everything passed or was skipped. Where nothing was run, nothing passed.
    pub fn passed(&self) -> bool {
        let is_good = |outcome: &Outcome| matches!(outcome, Outcome::Ok | Outcome::Skipped(_));
        self.counts().iter().sum::<usize>() > 0 && self.cells.values().all(is_good)
    }

    fn counts(&self) -> [usize; 4] {
        let count = |is: fn(&Outcome) -> bool| {
            self.cells.iter().filter(|((_, name, _), outcome)| name != ALL && is(outcome)).count()
        };
        [
            count(|o| *o == Outcome::Ok),
            count(|o| *o == Outcome::Failed),
            count(|o| matches!(o, Outcome::Skipped(_))),
            count(|o| *o == Outcome::NoVerdict),
        ]
    }

    /// For people: the table, why tests were skipped, how suites ended, and the counts.
    pub fn text(&self) -> String {
        let mut reasons: Vec<&str> = Vec::new();
        let mut lines = vec![[vec![String::new()], self.kernels.clone()].concat()];
        for (suite, names) in &self.suites {
            lines.push(vec![(*suite).to_owned()]);
            for name in names.iter().filter(|name| *name != ALL).chain([&ALL.to_owned()]) {
                let cells = self.kernels.iter().map(|kernel| {
                    let key = (*suite, name.clone(), kernel.clone());
                    self.cells.get(&key).map_or("-".to_owned(), |outcome| cell(outcome, &mut reasons))
                });
                lines.push([format!("  {name}")].into_iter().chain(cells).collect());
            }
        }
        let mut text = columns(&lines);
        if !reasons.is_empty() {
            text.push('\n');
        }
        for (number, reason) in reasons.iter().enumerate() {
            let _ = writeln!(text, "[{}] {reason}", number + 1);
        }
        if !self.notes.is_empty() {
            let _ = writeln!(text, "\n{}", self.notes.join("\n"));
        }
        let [ok, failed, skipped, none] = self.counts();
        let _ = writeln!(
            text,
            "\ntest-kernels: {ok} passed, {failed} failed, {skipped} skipped, {none} without verdict"
        );
        text
    }
}

fn cell<'a>(outcome: &'a Outcome, reasons: &mut Vec<&'a str>) -> String {
    match outcome {
        Outcome::Ok => "ok".into(),
        Outcome::Failed => "FAILED".into(),
        Outcome::NoVerdict => "no verdict".into(),
        Outcome::Skipped(why) => {
            let number = reasons.iter().position(|other| other == why).unwrap_or_else(|| {
                reasons.push(why);
                reasons.len() - 1
            });
            format!("skipped [{}]", number + 1)
        }
    }
}

fn columns(lines: &[Vec<String>]) -> String {
    let count = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        // A suite's own line has nothing beside it.
        let texts = lines.iter().filter(|line| line.len() > 1).filter_map(|line| line.get(column));
        texts.map(|text| text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..count).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{End, Outcome, Run, Table, read};

    const OUTPUT: &str = "\nrunning 7 tests\ntest short           ... ok\ntest longer_than_that ... FAILED\n\
        test by_itself ... \n1000 honest requests: ok\nFAILED\nok\ntest left_out ... ignored, no BPF LSM here\n\
        test cannot ... \nsaid\nignored (it has no call (6.17 has))\ntest x ... ignored\ntest cut_off ... \nfailures:\nok\n";

    #[test]
    fn each_test_has_the_outcome_that_it_printed() {
        let skipped = |why: &str| Outcome::Skipped(why.into());
        let expected = [
            ("short", Outcome::Ok),
            ("longer_than_that", Outcome::Failed),
            ("by_itself", Outcome::Ok),
            ("left_out", skipped("no BPF LSM here")),
            ("cannot", skipped("it has no call (6.17 has)")),
            ("x", skipped("no reason given")),
            ("cut_off", Outcome::NoVerdict),
        ];
        assert_eq!(read(OUTPUT), expected.map(|(name, outcome)| (name.to_owned(), outcome)));
        assert!(read("").is_empty());
    }

    fn run(kernel: &str, output: &str, end: End) -> Run {
        Run { suite: "cli", kernel: kernel.into(), tests: read(output), end }
    }

    #[test]
    fn a_guest_without_a_verdict_has_none_for_any_test() {
        let runs = [
            run("6.1", "test a ... ok\ntest b ... ok\n", End::Status(0)),
            run("7.3", "test a ... ok\n", End::NoVerdict("it panicked".into())),
        ];
        let table = Table::of(&runs);
        assert!(!table.passed());
        let expected = "                 6.1  7.3
cli
  a              ok   no verdict
  b              ok   no verdict
  (exit status)  ok   no verdict

cli on 7.3: no verdict: it panicked

test-kernels: 2 passed, 0 failed, 0 skipped, 2 without verdict
";
        assert_eq!(table.text(), expected);
    }

    #[test]
    fn reasons_are_told_exactly_and_do_not_fail() {
        let output = "test a ... ignored, no lsm=bpf\ntest b ... ignored, no lsm=bpf\n";
        let table = Table::of(&[run("6.1", output, End::Status(0))]);
        assert!(table.passed());
        assert!(table.text().contains("  b              skipped [1]\n"), "{}", table.text());
        assert!(table.text().contains("\n[1] no lsm=bpf\n"), "{}", table.text());
    }

    #[test]
    fn no_test_at_all_is_a_failure() {
        assert!(!Table::of(&[run("6.1", "running 0 tests\n", End::Status(0))]).passed());
        let one = run("6.12", "test a ... ok\n", End::Status(0));
        assert!(Table::of(&[run("6.1", "running 0 tests\n", End::Status(0)), one]).passed());
    }

    #[test]
    fn a_status_without_a_failed_test_is_a_failure() {
        let table = Table::of(&[run("6.1", "test a ... ok\n", End::Status(101))]);
        assert!(!table.passed());
        assert!(table.text().contains("exit status 101, and no test that failed"));
        assert!(!Table::of(&[run("6.1", "test a ... FAILED\n", End::Status(101))]).passed());
        assert!(!Table::of(&[run("6.1", "test a ... ok\ntest b ... ", End::Status(0))]).passed());
    }
}
