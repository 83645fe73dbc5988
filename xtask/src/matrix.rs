//! Every suite under every kernel: a guest for each pair.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::guest::{self, Ending, Machine};
use crate::kernels::{Cache, Kernel};
use crate::protocol::Job;
use crate::results::{self, End, Run, Table};
use crate::suites::Suite;

/// The kernels without --kernel.
pub const KERNELS: &[&str] = &["5.10", "6.1", "6.12", "6.18", "newest"];

const CPUS: u32 = 2;
const MEMORY: u32 = 4096;

/// Runs them, and prints the table. Whether all passed.
pub fn run(kernels: &[String], suites: &[Suite], arguments: &[OsString]) -> Result<bool> {
    let cache = Cache::open()?;
    let kernels: Vec<_> = kernels.iter().map(|name| cache.kernel(name)).collect::<Result<_>>()?;
    let built = build(suites)?;
    let logs = built.folder.join("guest-logs");
    fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let mut runs = Vec::new();
    for kernel in &kernels {
        for suite in suites.iter().filter(|suite| suite.is_for(&kernel.version)) {
            let log = logs.join(format!("{}-{}.log", kernel.version, suite.title));
            runs.push(one(kernel, suite, &built, arguments, &log)?);
        }
    }
    let table = Table::of(&runs);
    print!("\n{}logs: {}\n", table.text(), logs.display());
    Ok(table.passed())
}

fn one(kernel: &Kernel, suite: &Suite, built: &Built, arguments: &[OsString], log: &Path) -> Result<Run> {
    let begin = Instant::now();
    eprintln!("== {} on {}: {}", suite.title, kernel.version, log.display());
    let machine = Machine {
        kernel: kernel.clone(),
        cpus: CPUS,
        memory: MEMORY,
        append: suite.append.into(),
        timeout: Duration::from_secs(suite.seconds),
        verbose: false,
        count_instructions: false,
    };
    let mut file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let end = match guest::run(&machine, &built.job(suite, arguments)?, &mut file)? {
        Ending::Exited(status) => End::Status(status),
        Ending::TimedOut(console) => {
            without(&mut file, &format!("not ended after {} s", suite.seconds), &console)?
        }
        Ending::NoVerdict(why, console) => without(&mut file, &why, &console)?,
    };
    let output = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    let tests = results::read(&String::from_utf8_lossy(&output));
    eprintln!("== {} on {}: {end}, {:.0} s", suite.title, kernel.version, begin.elapsed().as_secs_f64());
    Ok(Run { suite: suite.title, kernel: kernel.version.clone(), tests, end })
}

fn without(log: &mut File, why: &str, console: &str) -> Result<End> {
    writeln!(log, "\nno verdict: {why}; the end of the guest's console:\n{console}")
        .context("cannot write a log")?;
    Ok(End::NoVerdict(why.to_owned()))
}

/// What cargo has built.
struct Built {
    /// `target`, or where it is.
    folder: PathBuf,
    /// Where the programs are.
    programs: PathBuf,
    /// Test binaries: package and test, the file, and the folder in which cargo would run it.
    tests: Vec<((&'static str, &'static str), PathBuf, PathBuf)>,
}

impl Built {
    fn job(&self, suite: &Suite, arguments: &[OsString]) -> Result<Job> {
        let (_, file, folder) =
            self.tests.iter().find(|(test, ..)| *test == suite.test).context("a suite was not built")?;
        let mut environment = crate::environment(Vec::new());
        if let Some(tracer) = suite.tracer {
            environment.push(("TRACER".into(), self.programs.join(tracer).into()));
        }
        let more = suite.environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        environment.extend(more);
        let command = [file.clone().into()].into_iter().chain(arguments.iter().cloned()).collect();
        Ok(Job { command, folder: folder.clone(), environment, tmpfs: Vec::new() })
    }
}

fn build(suites: &[Suite]) -> Result<Built> {
    let programs = cargo(&["build", "--workspace", "--bins"])?;
    let mut tests: Vec<((&str, &str), PathBuf, PathBuf)> = Vec::new();
    for suite in suites {
        if tests.iter().any(|(test, ..)| *test == suite.test) {
            continue;
        }
        let (package, name) = suite.test;
        let built = cargo(&["test", "--no-run", "--package", package, "--test", name])?;
        let test = built
            .iter()
            .find(|artifact| artifact["target"]["name"] == name && artifact["target"]["kind"][0] == "test");
        let test = test.with_context(|| format!("cargo built no test {name} of {package}"))?;
        let manifest = path(&test["manifest_path"])?;
        let folder = manifest.parent().context("a package without a folder")?;
        tests.push((suite.test, path(&test["executable"])?, folder.to_owned()));
    }
    let own = programs.iter().find(|artifact| artifact["target"]["name"] == env!("CARGO_PKG_NAME"));
    let own = path(&own.context("cargo did not build this program")?["executable"])?;
    let programs = own.parent().context("a program without a folder")?;
    let folder = programs.parent().context("no target folder")?;
    Ok(Built { folder: folder.to_owned(), programs: programs.to_owned(), tests })
}

fn path(value: &Value) -> Result<PathBuf> {
    Ok(value.as_str().context("cargo tells no path")?.into())
}

/// What it built, as it says itself.
fn cargo(words: &[&str]) -> Result<Vec<Value>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(words)
        .args(["--quiet", "--message-format=json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo {} failed", words.join(" "));
    let lines = String::from_utf8(output.stdout).context("cargo printed no text")?;
    let messages = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(messages
        .filter(|message| message["reason"] == "compiler-artifact" && message["executable"].is_string())
        .collect())
}
