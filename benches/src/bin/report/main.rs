//! `make report`: writes docs/results.md and its plots from what `cargo bench` recorded, and from nothing else.

mod bars;
mod missing;
mod plots;
mod tables;
mod twice;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use benches::record::{self, Line, Run, Values};
use clap::Parser;

/// Writes the report of the last benchmarks.
#[derive(Parser)]
struct Args {
    /// Where their records are
    #[arg(long)]
    records: Option<PathBuf>,
    /// Where the report goes
    #[arg(long, default_value = "docs")]
    docs: PathBuf,
}

/// The record of one benchmark, here or in a guest.
pub struct Bench {
    /// Where and when.
    pub run: Run,
    /// What was measured.
    pub values: Vec<Values>,
    /// What was not, and why.
    pub missing: BTreeMap<String, String>,
    /// Seconds that it took; of older records that is not known.
    pub took: Option<f64>,
}

impl Bench {
    fn read(path: &Path) -> Result<Self> {
        let mut lines = record::read(path)?.into_iter();
        let Some(Line::Run(run)) = lines.next() else {
            anyhow::bail!("{} does not begin with what it is of", path.display());
        };
        let mut bench = Self { run, values: Vec::new(), missing: BTreeMap::new(), took: None };
        for line in lines {
            match line {
                Line::Values(values) => bench.values.push(values),
                Line::Missing { name, why } => drop(bench.missing.insert(name, why)),
                Line::Took { seconds } => bench.took = Some(seconds),
                Line::Run(_) => anyhow::bail!("{}: two runs in one record", path.display()),
            }
        }
        Ok(bench)
    }

    /// The values of a cell; none where it was not measured.
    pub fn cell(&self, group: &str, row: &str, column: &str) -> Option<&[f64]> {
        let is = |v: &&Values| v.group == group && v.row == row && v.column == column && !v.values.is_empty();
        self.values.iter().find(is).map(|v| &v.values[..])
    }

    /// The rows of a table, in the order in which they were measured; columns likewise.
    pub fn names(&self, group: &str, of: fn(&Values) -> &String) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in self.values.iter().filter(|v| v.group == group).map(of) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }
}

/// All records.
pub struct Benches {
    /// How many calls got through.
    pub leak: Bench,
    /// How soon it ended.
    pub latency: Bench,
    /// What it cost.
    pub overhead: Bench,
    /// What was measured in guests.
    pub guests: Vec<Bench>,
    /// `leak` and `overhead` of the run before, where that was of the same commit.
    pub before: Vec<Bench>,
}

impl Benches {
    fn read(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            Bench::read(&folder.join(format!("{name}.jsonl")))
                .with_context(|| format!("there is no whole run of `{name}`\nHint: cargo bench, as root"))
        };
        let mut guests = Vec::new();
        let mut paths: Vec<PathBuf> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
        paths.sort_unstable_by_key(|path| path.file_stem().map(ToOwned::to_owned));
        for path in paths {
            let name = path.file_stem().and_then(|n| n.to_str()).unwrap_or_default();
            if name.starts_with("guest-") && path.extension().is_some_and(|e| e == "jsonl") {
                guests.push(Bench::read(&path)?);
            }
        }
        let mut guests = joined(guests);
        guests.sort_by_key(|g| (g.run.kernel.clone(), g.run.bench.clone()));
        let (leak, latency, overhead) = (read("leak")?, read("latency")?, read("overhead")?);
        let mut before = Vec::new();
        for now in [&leak, &overhead] {
            let path = record::before(&folder.join(format!("{}.jsonl", now.run.bench)));
            let read = path.exists().then(|| Bench::read(&path)).transpose()?;
            before.extend(read.filter(|bench| bench.run.commit == now.run.commit));
        }
        let all = Self { leak, latency, overhead, guests, before };
        for bench in [&all.leak, &all.latency, &all.overhead] {
            ensure!(
                !bench.run.quick,
                "{}: a quick run is not to be quoted\nHint: cargo bench",
                bench.run.bench
            );
        }
        Ok(all)
    }

    /// The record of a benchmark in each guest.
    pub fn in_guests<'a>(&'a self, bench: &'a str) -> impl Iterator<Item = &'a Bench> {
        self.guests.iter().filter(move |g| g.run.bench == bench)
    }
}

fn names_of(guest: &Bench) -> String {
    guest.names("a loop in php-cli", |v| &v.column).join(", ")
}

/// A strategy may have had a guest of its own: calls let through are counts, and need no other run beside them.
fn joined(guests: Vec<Bench>) -> Vec<Bench> {
    let mut all: Vec<Bench> = Vec::new();
    for guest in guests {
        let same = |other: &&mut Bench| {
            other.run.kernel == guest.run.kernel && other.run.bench == "leak" && guest.run.bench == "leak"
        };
        match all.iter_mut().find(same) {
            Some(other) => {
                if other.run.commit != guest.run.commit {
                    other.run.commit =
                        format!("{} ({} alone: {})", other.run.commit, names_of(&guest), guest.run.commit);
                }
                other.values.extend(guest.values);
                other.took = other.took.zip(guest.took).map(|(one, two)| one + two);
            }
            None => all.push(guest),
        }
    }
    all
}

fn main() -> Result<()> {
    let args = Args::parse();
    let folder = args.records.map_or_else(record::folder, Ok)?;
    let all = Benches::read(&folder)?;
    let plots = args.docs.join("plots");
    fs::create_dir_all(&plots)?;
    plots::leak(&all.leak, &plots.join("leak.svg"))?;
    plots::latency(&all.latency, &plots.join("latency.svg"))?;
    plots::app(&all.overhead, &plots.join("app.svg"))?;
    let path = args.docs.join("results.md");
    let part = args.docs.join("results.md.part");
    fs::write(&part, tables::report(&all)).context("write the report")?;
    fs::rename(&part, &path)?;
    println!("{}", path.display());
    Ok(())
}
