//! Whether two runs in a row agree: what a reader may take for the strategy's, and what for the machine's.

use std::fmt::Write;

use benches::Spread;
use benches::record::Values;

use crate::tables::{APP, CALLS, CPU, LOOP, SHAPES, Table};
use crate::{Bench, Benches};

/// A figure of both runs.
struct Pair<'a> {
    values: &'a Values,
    first: Spread,
    second: Spread,
}

/// The figures that both have, of these groups.
fn pairs<'a>(before: &Bench, now: &'a Bench, is_figure: fn(&Values) -> bool) -> Vec<Pair<'a>> {
    let figures = now.values.iter().filter(|values| is_figure(values) && !values.values.is_empty());
    let pair = |values: &'a Values| {
        let first = before.cell(&values.group, &values.row, &values.column)?;
        let of = |values: &[f64]| Spread::of(values.iter().copied());
        Some(Pair { values, first: of(first), second: of(&values.values) })
    };
    figures.filter_map(pair).collect()
}

type Kind = (&'static str, fn(&Values) -> bool);

/// What is compared. Not what took how long: that is the machine's.
const KINDS: [Kind; 3] = [
    ("calls let through", |values| [LOOP, SHAPES].contains(&&values.group[..])),
    ("a call, over an empty program or times bare", |values| values.group == CALLS),
    ("DokuWiki, CPU per request", |values| values.group == APP && values.column == CPU),
];

/// The section; nothing where there was no run before.
pub fn told(text: &mut String, all: &Benches) {
    let mut agree = Table::new(&["what".into(), "figures in both runs".into(), "that agree".into()]);
    let mut differ = Table::new(&["what differs".into(), "the run before".into(), "this run".into()]);
    let (mut any, mut differs) = (false, false);
    for (name, is_figure) in KINDS {
        let found = all.before.iter().flat_map(|before| {
            [&all.leak, &all.overhead]
                .into_iter()
                .filter(|now| now.run.bench == before.run.bench)
                .flat_map(|now| pairs(before, now, is_figure))
        });
        let found: Vec<Pair> = found.collect();
        any |= !found.is_empty();
        let (same, other): (Vec<_>, Vec<_>) = found.iter().partition(|pair| pair.first.meets(&pair.second));
        agree.row(&[name.into(), found.len().to_string(), same.len().to_string()]);
        for Pair { values, first, second } in other {
            differs = true;
            let what = format!("{}: {}", values.column, values.row);
            let decimals = if values.unit == "× bare" { 3 } else { 0 };
            differ.row(&[what, first.told(decimals), second.told(decimals)]);
        }
    }
    if !any {
        return;
    }
    let _ = write!(
        text,
        "## Twice\n\nThe same commit, in two runs one after the other. A figure agrees where the middle halves of both, as told in brackets, overlap.\n\n{}\n",
        agree.0
    );
    if differs {
        let _ = writeln!(text, "{}", differ.0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use benches::record::Run;

    use super::*;

    fn bench(name: &str, values: &[(&str, &[f64])]) -> Bench {
        let cell = |(group, values): &(&str, &[f64])| Values {
            group: (*group).into(),
            row: "unlink".into(),
            column: "phase 2".into(),
            unit: String::new(),
            values: values.to_vec(),
        };
        let run = Run { bench: name.into(), ..Run::default() };
        Bench { run, values: values.iter().map(cell).collect(), missing: BTreeMap::new(), took: None }
    }

    fn section(before: Vec<Bench>) -> String {
        let mut text = String::new();
        let leak = bench("leak", &[(LOOP, &[1.0, 1.0, 2.0])]);
        let overhead = bench("overhead", &[(CALLS, &[5.0, 6.0, 7.0])]);
        told(
            &mut text,
            &Benches { leak, latency: bench("latency", &[]), overhead, guests: Vec::new(), before },
        );
        text
    }

    #[test]
    fn one_run_is_not_compared() {
        assert_eq!(section(Vec::new()), "");
    }

    #[test]
    fn figures_whose_middle_halves_overlap_agree() {
        let before = vec![bench("leak", &[(LOOP, &[2.0, 2.0])]), bench("overhead", &[(CALLS, &[7.0, 9.0])])];
        let text = section(before);
        assert!(text.contains("| calls let through | 1 | 1 |"), "{text}");
        assert!(text.contains("or times bare | 1 | 1 |"), "{text}");
        assert!(!text.contains("what differs"), "{text}");
    }

    #[test]
    fn what_differs_is_told_with_both() {
        let text = section(vec![bench("overhead", &[(CALLS, &[8.0, 9.0])])]);
        assert!(text.contains("or times bare | 1 | 0 |"), "{text}");
        assert!(text.contains("| phase 2: unlink | 8 (8..9) | 6 (5..7) |"), "{text}");
    }

    #[test]
    fn what_only_one_run_has_is_not_compared() {
        let text = section(vec![bench("overhead", &[(LOOP, &[1.0])])]);
        assert_eq!(text, "");
    }
}
