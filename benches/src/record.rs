//! What was measured, a JSON line for each: the report is made of nothing else.
//!
//! `target/bench/NAME.jsonl`, and `NAME-before.jsonl` of the whole run before it; `NAME-quick.jsonl` of a quick one. In a
//! guest on standard output, each line after `@bench `.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::programs::IN_GUEST;

/// What lines of a guest begin with.
pub const MARK: &str = "@bench ";

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Line {
    /// Where and when; the first one.
    Run(Run),
    /// Values of one thing.
    Values(Values),
    /// What was not measured, and why.
    Missing {
        /// The strategy.
        name: String,
        /// The reason.
        why: String,
    },
    /// How long all of it took; the last one.
    Took {
        /// Of this machine's clock, also for a guest.
        seconds: f64,
    },
}

/// Where and when something was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// `leak`, `latency` or `overhead`.
    pub bench: String,
    /// The day, UTC.
    pub date: String,
    /// What was checked out.
    pub commit: String,
    /// The kernel.
    pub kernel: String,
    /// The processor, and how many.
    pub processor: String,
    /// PHP.
    pub php: String,
    /// The emulated machine, where it is one.
    pub guest: Option<String>,
    /// Fewer of everything: not to be quoted.
    pub quick: bool,
}

/// Values of one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Values {
    /// The table.
    pub group: String,
    /// The row.
    pub row: String,
    /// The column.
    pub column: String,
    /// Of each value.
    pub unit: String,
    /// As measured, in their order.
    pub values: Vec<f64>,
}

/// An open record. One that does not come to its end is removed.
pub struct Record {
    file: Option<File>,
    path: PathBuf,
    since: Instant,
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = fs::remove_file(part(&self.path));
        }
    }
}

impl Record {
    /// Begins it anew.
    pub fn begin(bench: &str, quick: bool) -> Result<Self> {
        let guest = std::env::var(IN_GUEST).ok();
        let path = folder()?.join(format!("{bench}{}.jsonl", if quick { "-quick" } else { "" }));
        let mut file = None;
        if guest.is_none() {
            fs::create_dir_all(path.parent().context("a folder")?)?;
            // Only a run that came to its end replaces the last one.
            file = Some(File::create(part(&path)).context("begin the record")?);
        }
        let mut record = Self { file, path, since: Instant::now() };
        record.line(&Line::Run(Run {
            bench: bench.into(),
            date: said("date", &["-u", "+%Y-%m-%d"]),
            commit: commit(),
            kernel: said("uname", &["-r"]),
            processor: processor(),
            php: said(
                "php8.2",
                &["-r", "echo PHP_VERSION, ' (', PHP_OS, ', ', PHP_ZTS ? 'ZTS' : 'NTS', ')';"],
            ),
            guest,
            quick,
        }))?;
        Ok(record)
    }

    /// Values of one thing.
    pub fn values(
        &mut self,
        group: &str,
        row: &str,
        column: &str,
        unit: &str,
        values: Vec<f64>,
    ) -> Result<()> {
        let (group, row, column, unit) = (group.into(), row.into(), column.into(), unit.into());
        self.line(&Line::Values(Values { group, row, column, unit, values }))
    }

    /// What is not measured here.
    pub fn missing(&mut self, name: &str, why: &str) -> Result<()> {
        eprintln!("{name}: not measured here: {why}");
        self.line(&Line::Missing { name: name.into(), why: why.into() })
    }

    fn line(&mut self, line: &Line) -> Result<()> {
        let text = serde_json::to_string(line)?;
        if let Some(file) = &mut self.file {
            return writeln!(file, "{text}").context("write the record");
        }
        println!("{MARK}{text}");
        Ok(())
    }

    /// The run came to its end: the last one is the one before.
    pub fn end(mut self) -> Result<()> {
        if self.file.is_none() {
            // Time is another in there: who has started the guest tells how long it took.
            return Ok(());
        }
        self.line(&Line::Took { seconds: self.since.elapsed().as_secs_f64().round() })?;
        if self.path.exists() {
            fs::rename(&self.path, before(&self.path)).context("keep the record before")?;
        }
        fs::rename(part(&self.path), &self.path).context("keep the record")?;
        self.file = None;
        Ok(())
    }
}

/// Where a record is until it is whole.
fn part(path: &Path) -> PathBuf {
    path.with_extension("part")
}

/// Where the record of the run before is.
pub fn before(path: &Path) -> PathBuf {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}-before.jsonl"))
}

/// Where records are: below the folder that cargo builds in.
pub fn folder() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target =
        own.ancestors().find(|path| path.join("CACHEDIR.TAG").exists()).unwrap_or(Path::new("target"));
    Ok(target.join("bench"))
}

/// The lines of a record.
pub fn read(path: &Path) -> Result<Vec<Line>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    text.lines()
        .map(|l| serde_json::from_str(l).with_context(|| format!("{}: {l}", path.display())))
        .collect()
}

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or_else(|_| "unknown".into(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

fn commit() -> String {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let commit = said("git", &["-C", here, "rev-parse", "--short=10", "HEAD"]);
    let changed = said("git", &["-C", here, "status", "--porcelain", "--untracked-files=no"]);
    if changed.is_empty() { commit } else { format!("{commit} and changes") }
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("model name")).collect();
    let name = models.first().and_then(|l| l.split_once(':')).map_or("unknown", |(_, name)| name.trim());
    format!("{} × {name}", models.len())
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let lines = [
            Line::Took { seconds: 12.0 },
            Line::Missing { name: "phase 3, LSM".into(), why: "no hooks".into() },
            Line::Values(Values {
                group: "a loop".into(),
                row: "unlink".into(),
                column: "phase 1".into(),
                unit: "calls".into(),
                values: vec![1.0, 0.0],
            }),
        ];
        for line in lines {
            assert_eq!(serde_json::from_str::<Line>(&serde_json::to_string(&line).unwrap()).unwrap(), line);
        }
    }

    fn record(path: &Path, text: &str) -> Record {
        fs::write(part(path), text).unwrap();
        let file = OpenOptions::new().append(true).open(part(path)).unwrap();
        Record { file: Some(file), path: path.into(), since: Instant::now() }
    }

    #[test]
    fn a_run_that_does_not_come_to_its_end_leaves_the_last_one_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("leak.jsonl");
        record(&path, "first\n").end().unwrap();
        drop(record(&path, "second\n"));
        assert!(fs::read_to_string(&path).unwrap().starts_with("first\n"));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn the_record_before_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("leak.jsonl");
        for run in ["first\n", "second\n", "third\n"] {
            record(&path, run).end().unwrap();
        }
        let took = "{\"what\":\"took\",\"seconds\":0.0}\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("third\n{took}"));
        assert_eq!(fs::read_to_string(before(&path)).unwrap(), format!("second\n{took}"));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    }
}
