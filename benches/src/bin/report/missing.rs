//! What was not measured, and why: nothing is left out quietly.

use std::collections::BTreeMap;
use std::fmt::Write;

use benches::record::Values;
use benches::strategy;

use crate::tables::{APP, CALLS, COUNTED, LOOP, MEMORY};
use crate::{Bench, Benches};

/// A table: what it is of, and whether a value in it is of this strategy.
type Table = (&'static str, fn(&Values, &str) -> bool);

const TABLES: [Table; 5] = [
    ("calls let through", |values, strategy| values.group == LOOP && values.column == strategy),
    ("how soon it ends", |values, strategy| values.group == "from the call" && values.row == strategy),
    ("an application", |values, strategy| values.group == APP && is_of(&values.row, strategy)),
    ("a call", |values, strategy| {
        [CALLS, COUNTED].contains(&&values.group[..]) && is_of(&values.row, strategy)
    }),
    ("a session's memory", |values, strategy| values.group == MEMORY && is_of(&values.row, strategy)),
];

/// What no run of these benchmarks measures, on any machine.
const NEVER: &str = "- In a guest only sandboxes, one after the other, and nothing enforced: profile and monitor, USDT probes, strace and seccomp run on this machine.\n\
- Other shapes of an attack than a loop: of `unlink` alone. How soon it ends: of `unlink` alone.\n\
- A large profile: in phase 2's sandbox alone, the others read it by the same code.\n";

/// `STRATEGY, MODE`.
fn is_of(row: &str, strategy: &str) -> bool {
    row.strip_prefix(strategy).is_some_and(|rest| rest.starts_with(", "))
}

/// The section.
pub fn told(text: &mut String, all: &Benches) {
    text.push_str("## What was not measured on this machine, and why\n\n");
    let here = [&all.leak, &all.latency, &all.overhead];
    let missing: BTreeMap<&String, &String> = here.iter().flat_map(|bench| &bench.missing).collect();
    for (name, why) in missing {
        let _ = writeln!(text, "- {name}: {why}{}", instead(all, &here, name));
    }
    let _ = writeln!(text, "{NEVER}");
}

/// For a strategy that does not work here, which tables have it of a guest, and which do not.
fn instead(all: &Benches, here: &[&Bench], name: &str) -> String {
    if !strategy::ALL.iter().any(|strategy| strategy.name == name) {
        return String::new();
    }
    let has = |bench: &Bench, table: &Table| bench.values.iter().any(|values| (table.1)(values, name));
    let absent = TABLES.iter().filter(|table| !here.iter().any(|bench| has(bench, table)));
    let (guest, nowhere): (Vec<_>, Vec<_>) =
        absent.partition(|table| all.guests.iter().any(|guest| has(guest, table)));
    let list = |tables: &[&Table]| tables.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let told = |what: &str, tables: &[&Table]| {
        if tables.is_empty() { String::new() } else { format!("; {what}: {}", list(tables)) }
    };
    told("measured in a guest", &guest) + &told("not measured at all", &nowhere)
}

#[cfg(test)]
mod tests {
    use benches::record::Run;

    use super::*;

    fn bench(of: &str, cells: &[(&str, &str, &str)]) -> Bench {
        let cell = |(group, row, column): &(&str, &str, &str)| Values {
            group: (*group).into(),
            row: (*row).into(),
            column: (*column).into(),
            unit: String::new(),
            values: vec![1.0],
        };
        let run = Run { bench: of.into(), ..Run::default() };
        Bench { run, values: cells.iter().map(cell).collect(), missing: BTreeMap::new(), took: None }
    }

    #[test]
    fn a_strategy_that_does_not_work_here_is_named_for_each_table() {
        let mut leak = bench("leak", &[(LOOP, "unlink", "phase 2")]);
        leak.missing.insert("phase 3, LSM".into(), "no hooks".into());
        leak.missing.insert("a thing".into(), "too slow".into());
        let guests = vec![
            bench("leak", &[(LOOP, "unlink", "phase 3, LSM"), (LOOP, "unlink", "phase 3, rewriting")]),
            bench("overhead", &[(COUNTED, "phase 3, LSM, sandbox", "a PHP function call")]),
        ];
        let (latency, overhead) = (bench("latency", &[]), bench("overhead", &[]));
        let mut text = String::new();
        told(&mut text, &Benches { leak, latency, overhead, guests, before: Vec::new() });
        assert!(text.contains("- a thing: too slow\n"), "{text}");
        let line = "- phase 3, LSM: no hooks; measured in a guest: calls let through, a call; \
                    not measured at all: how soon it ends, an application, a session's memory\n";
        assert!(text.contains(line), "{text}");
    }
}
