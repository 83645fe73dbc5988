//! The table in `docs/bypass.md`, from the results of the last runs (`tests/bypass/results/`).
//! `UPDATE=1 cargo test -p e2e --lib` writes it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Attempt, GROUPS, Strategy, folder};

/// Outcomes by (attempt, strategy).
pub type Results = BTreeMap<(String, String), String>;

/// Where the results of a strategy's last run are.
pub fn results_file(strategy: Strategy) -> PathBuf {
    folder().join(format!("results/{}.jsonl", strategy.name()))
}

/// The results of the last run of each strategy.
pub fn results() -> Results {
    let lines = |strategy| {
        let text = fs::read_to_string(results_file(strategy)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>()
    };
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let entry = |line: Value| ((text(&line, "attempt"), text(&line, "strategy")), text(&line, "outcome"));
    Strategy::ALL.into_iter().flat_map(lines).map(entry).collect()
}

fn row(attempt: &Attempt, results: &Results) -> String {
    let name = attempt.name.split('/').nth(1).unwrap_or_default();
    let tries = attempt.field("Tries").unwrap_or_default();
    let class =
        if attempt.class() == "in scope" { String::new() } else { format!(" *({})*", attempt.class()) };
    let mut row = format!("| `{name}` | {tries}{class} |");
    for strategy in Strategy::ALL {
        let key = (attempt.name.clone(), strategy.name().to_owned());
        let _ = write!(row, " {} |", results.get(&key).map_or("not run", String::as_str));
    }
    row
}

/// The tables of these attempts.
pub fn tables(attempts: &[Attempt], results: &Results) -> String {
    let mut text = String::new();
    for (group, title) in GROUPS {
        let _ = write!(
            text,
            "\n### {title}\n\n| `{group}/` | tries to | phase 1 | phase 2 | rewriting | LSM |\n|---|---|---|---|---|---|\n"
        );
        for attempt in attempts.iter().filter(|attempt| attempt.name.starts_with(&format!("{group}/"))) {
            let _ = writeln!(text, "{}", row(attempt, results));
        }
    }
    text
}

/// `docs/bypass.md`
pub fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/bypass.md")
}

/// What is between these marks is generated.
pub const MARKS: (&str, &str) = ("<!-- attempts -->\n", "<!-- end of attempts -->");

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{MARKS, page, results, tables};
    use crate::bypass::all;

    #[test]
    fn the_page_has_exactly_the_attempts_that_there_are() {
        let text = fs::read_to_string(page()).expect("read the page");
        let (before, rest) = text.split_once(MARKS.0).expect("the first mark");
        let (_, after) = rest.split_once(MARKS.1).expect("the last mark");
        let new = format!("{before}{}{}{}{after}", MARKS.0, tables(&all(), &results()), MARKS.1);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(page(), &new).expect("write the page");
        }
        let is_right = fs::read_to_string(page()).expect("read the page") == new;
        assert!(is_right, "the table is not that of the attempts: UPDATE=1 cargo test -p e2e --lib");
    }

    #[test]
    fn results_are_of_attempts_that_there_are() {
        let names: Vec<String> = all().into_iter().map(|attempt| attempt.name).collect();
        let gone: Vec<_> = results().into_keys().filter(|(attempt, _)| !names.contains(attempt)).collect();
        assert!(gone.is_empty(), "{gone:?}");
    }

    #[test]
    fn there_are_enough_and_each_says_what_it_tries() {
        let all = all();
        assert!(all.iter().filter(|attempt| attempt.is_in_scope()).count() >= 80);
        let mut tries: Vec<_> = all.iter().map(|attempt| attempt.field("Tries")).collect();
        tries.sort();
        tries.dedup();
        assert_eq!(tries.len(), all.len(), "two attempts try the same");
    }
}
