//! Attempts to get past the sandbox (`tests/bypass/`): what each says of itself, what came of it, and the table of
//! all of them in `docs/bypass.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::session::{Session, tracer};

pub mod table;

/// Folders of attempts, in the order of the table, with what they have in common.
pub const GROUPS: &[(&str, &str)] = &[
    ("coverage", "Other ways to the same effect"),
    ("identity", "Passing for granted code"),
    ("escape", "Out of sight"),
    ("tracer", "Against the tracer"),
];

/// How calls are stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strategy {
    /// `phase1-user-kill`
    Phase1,
    /// `phase2-kernel-kill`
    Phase2,
    /// `phase3-lsm`
    Rewriting,
    /// `phase3-lsm --lsm`
    Lsm,
}

impl Strategy {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Phase1, Self::Phase2, Self::Rewriting, Self::Lsm];

    /// As in a header's `Expect:`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Phase1 => "phase1",
            Self::Phase2 => "phase2",
            Self::Rewriting => "rewriting",
            Self::Lsm => "lsm",
        }
    }
}

/// The one that is tested (`$TRACER`, `$LSM`).
pub fn strategy() -> Strategy {
    let lsm = std::env::var_os("LSM").is_some();
    match tracer().file_name().and_then(|name| name.to_str()) {
        Some("phase1-user-kill") => Strategy::Phase1,
        Some("phase2-kernel-kill") => Strategy::Phase2,
        _ if lsm => Strategy::Lsm,
        _ => Strategy::Rewriting,
    }
}

/// A session of it.
pub fn with_hooks(session: Session) -> Session {
    if strategy() == Strategy::Lsm { session.arg("--lsm") } else { session }
}

/// What may come of an attempt under a strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// No more effects than this, and a violation is told.
    AtMost(usize),
    /// A race: what is told is killed, when it can be. How much got through is counted.
    Race,
    /// It has all its effects.
    Open,
}

impl Expect {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "race" => Some(Self::Race),
            "open" => Some(Self::Open),
            number => number.parse().ok().map(Self::AtMost),
        }
    }
}

/// An attempt, as its header tells it.
pub struct Attempt {
    /// `GROUP/NAME`
    pub name: String,
    header: BTreeMap<String, Vec<String>>,
    /// By strategy.
    pub expect: BTreeMap<&'static str, Expect>,
}

impl Attempt {
    fn read(group: &str, path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut attempt =
            Self { name: format!("{group}/{stem}"), header: header_of(&text), expect: BTreeMap::new() };
        for key in ["Tries", "Effect", "Class", "Expect"] {
            attempt.required(key)?;
        }
        let expectations = attempt.required("Expect")?.to_owned();
        for strategy in Strategy::ALL {
            let told = expectations.split("; ").find_map(|part| part.strip_prefix(strategy.name()));
            let expect = told.and_then(|told| Expect::parse(told.trim()));
            let expect = expect.ok_or(format!("nothing is expected of {}", strategy.name()))?;
            attempt.expect.insert(strategy.name(), expect);
        }
        Ok(attempt)
    }

    fn required(&self, key: &str) -> Result<&str, String> {
        self.field(key).ok_or(format!("no `{key}:` in the header"))
    }

    /// A line of the header.
    pub fn field(&self, key: &str) -> Option<&str> {
        self.header.get(key).and_then(|all| all.first()).map(String::as_str)
    }

    /// All lines of that key that have a name: `KEY: NAME: TEXT`.
    pub fn named(&self, key: &str) -> impl Iterator<Item = (&str, &str)> {
        self.header.get(key).into_iter().flatten().filter_map(|text| text.split_once(": "))
    }

    /// What proves that it worked: a word, and the name of what it is about if that is one thing.
    pub fn effect(&self) -> &str {
        self.field("Effect").unwrap_or_default()
    }

    /// Likewise of the twin; nothing where there is none, because it is never granted.
    pub fn twin_effect(&self) -> Option<&str> {
        let twin = self.field("Twin").unwrap_or(self.effect());
        (!twin.starts_with("none")).then_some(twin)
    }

    /// Whether a profile can stop it at all.
    pub fn is_in_scope(&self) -> bool {
        self.class().starts_with("in scope")
    }

    /// In or out of scope, and why.
    pub fn class(&self) -> &str {
        self.field("Class").unwrap_or_default()
    }

    /// What is expected of it under a strategy.
    pub fn expected(&self, strategy: Strategy) -> Expect {
        self.expect[strategy.name()]
    }
}

/// `KEY: text` lines of the first comment; what is indented more goes on.
fn header_of(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut header: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut last = None;
    let comment = text.split("/*").nth(1).and_then(|rest| rest.split("\n */").next()).unwrap_or_default();
    for line in comment.lines() {
        let line = line.strip_prefix(" *").unwrap_or(line);
        if let Some(more) = line.strip_prefix("     ") {
            let text = last.as_ref().and_then(|key| header.get_mut(key)).and_then(|all| all.last_mut());
            if let Some(text) = text {
                text.push(' ');
                text.push_str(more);
            }
        } else if let Some((key, text)) = line.trim_start().split_once(": ") {
            header.entry(key.into()).or_default().push(text.into());
            last = Some(key.to_owned());
        }
    }
    header
}

/// Where they are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bypass")
}

/// All attempts, by group and name.
pub fn all() -> Vec<Attempt> {
    let of_group = |group: &str| {
        let entries = fs::read_dir(folder().join(group)).expect("read a folder of attempts");
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    let read = |group: &'static str| {
        of_group(group).into_iter().map(move |path| {
            Attempt::read(group, &path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
        })
    };
    GROUPS.iter().flat_map(|(group, _)| read(group)).collect()
}

/// What came of an attempt under a strategy.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// `GROUP/NAME`
    pub attempt: String,
    /// Effects that were counted.
    pub leaks: usize,
    /// That there could have been.
    pub of: usize,
    /// Violations that were told.
    pub violations: usize,
    /// Their reasons.
    pub reasons: Vec<String>,
    /// What they were about.
    pub operations: Vec<String>,
    /// Whether it has an effect on this kernel where nobody watches.
    pub is_possible: bool,
}

impl Outcome {
    /// In the table.
    pub fn word(&self) -> String {
        match (self.leaks, self.violations) {
            _ if !self.is_possible => "not on this kernel".into(),
            (0, 0) => "no effect".into(),
            (0, _) => "stopped".into(),
            (_, 0) => "not stopped".into(),
            (leaks, _) if leaks < self.of || self.of == 1 => format!("after {leaks}"),
            (leaks, _) => format!("told, {leaks} of {}", self.of),
        }
    }

    /// A line of the results.
    pub fn to_json(&self, strategy: Strategy, kernel: &str) -> Value {
        json!({
            "attempt": self.attempt, "strategy": strategy.name(), "kernel": kernel, "outcome": self.word(),
            "leaks": self.leaks, "of": self.of, "violations": self.violations, "reasons": self.reasons, "operations": self.operations,
        })
    }
}
