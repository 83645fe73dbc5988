//! What developers run beside cargo.

mod apt;
mod cpio;
mod guest;
mod hint;
mod image;
mod inside;
mod kernels;
mod matrix;
mod protocol;
mod results;
mod suites;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use guest::{Ending, Machine};
use hint::Hinted;
use kernels::Cache;
use protocol::Job;

/// There is no exit status of the command.
const NO_VERDICT: u8 = 125;
/// The command took too long.
const TIMED_OUT: u8 = 124;

/// What developers run beside cargo: guests with other kernels, and the tests in them.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs a command under another kernel: this machine's files, read-only; what is written is gone afterwards.
    ///
    /// Ends with the command's exit status; 124 after --timeout; 125 without an exit status.
    Vm(Vm),
    /// Lists the kernels that are here, or fetches more.
    Kernels(Kernels),
    /// Runs the test suites under other kernels, each in a guest of its own, and prints a table.
    ///
    /// Ends with 1 if a test failed, or a guest gave no verdict.
    TestKernels(TestKernels),
    /// What runs in the guest.
    #[command(hide = true)]
    Inside,
}

#[derive(Args)]
struct Vm {
    /// The beginning of its version, e.g. 6.12; or `newest`.
    #[arg(long)]
    kernel: String,
    /// Seconds that all of it may take.
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    /// Processors.
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// Memory, MiB.
    #[arg(long, default_value_t = 4096)]
    memory: u32,
    /// More words for the kernel's command line.
    #[arg(long, default_value = "")]
    append: String,
    /// More environment for the command.
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    env: Vec<(String, String)>,
    /// An empty folder in memory in place of this one, e.g. /tmp.
    #[arg(long, value_name = "FOLDER")]
    tmpfs: Vec<PathBuf>,
    /// Says on standard error how long booting took.
    #[arg(long)]
    verbose: bool,
    /// Emulates, and lets a nanosecond of the guest's pass with each instruction: times in it are counts.
    #[arg(long)]
    count_instructions: bool,
    /// The command.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

#[derive(Args)]
struct Kernels {
    #[command(subcommand)]
    task: Option<KernelsTask>,
}

#[derive(Subcommand)]
enum KernelsTask {
    /// Fetches the newest builds of these kernels that are not here yet.
    Fetch {
        /// The beginning of a version, e.g. 6.12; or `newest`.
        #[arg(required = true)]
        names: Vec<String>,
    },
}

#[derive(Args)]
struct TestKernels {
    /// A kernel, by the beginning of its version; or `newest`. May be given more than once.
    #[arg(long, value_name = "NAME", default_values = matrix::KERNELS)]
    kernel: Vec<String>,
    /// A suite, by its title or its test binary. May be given more than once; without it, all.
    #[arg(long, value_name = "NAME")]
    suite: Vec<String>,
    /// Lists the suites.
    #[arg(long)]
    list: bool,
    /// Arguments of the test binaries, e.g. a part of tests' names.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("not NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Vm(options) => vm(options),
        Task::Kernels(Kernels { task: None }) => list(),
        Task::Kernels(Kernels { task: Some(KernelsTask::Fetch { names }) }) => fetch(&names),
        Task::TestKernels(options) => test_kernels(&options),
        Task::Inside => inside::main().map(|()| 0),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("xtask: {error:#}");
            if let Some(hinted) = error.chain().find_map(|e| e.downcast_ref::<Hinted>()) {
                eprintln!("Hint: {}", hinted.hint);
            }
            ExitCode::from(NO_VERDICT)
        }
    }
}

fn vm(options: Vm) -> Result<u8> {
    let kernel = Cache::open()?.kernel(&options.kernel)?;
    let machine = Machine {
        kernel,
        cpus: options.cpus,
        memory: options.memory,
        append: options.append,
        timeout: Duration::from_secs(options.timeout),
        verbose: options.verbose,
        count_instructions: options.count_instructions,
    };
    let job = Job {
        command: options.command,
        folder: std::env::current_dir().context("cannot tell the current folder")?,
        environment: environment(options.env),
        tmpfs: options.tmpfs,
    };
    let ending = guest::run(&machine, &job, &mut std::io::stdout().lock())?;
    Ok(match ending {
        Ending::Exited(status) => status,
        Ending::TimedOut(console) => {
            failed(&format!("not ended after {} s", options.timeout), &console);
            eprintln!("Hint: --timeout SECONDS allows more");
            TIMED_OUT
        }
        Ending::NoVerdict(why, console) => {
            failed(&why, &console);
            NO_VERDICT
        }
    })
}

fn test_kernels(options: &TestKernels) -> Result<u8> {
    let suites = suites::named(&options.suite)?;
    if options.list {
        for suite in &suites {
            println!("{}", suite.title);
        }
        return Ok(0);
    }
    let passed = matrix::run(&options.kernel, &suites, &options.arguments)?;
    Ok(u8::from(!passed))
}

fn failed(why: &str, console: &str) {
    eprintln!("xtask: no exit status: {why}; the end of the guest's console:\n{console}");
}

/// What of ours means the same in the guest; what is given comes last.
fn environment(given: Vec<(String, String)>) -> Vec<(OsString, OsString)> {
    let ours = ["PATH", "HOME", "PHP_CACHE", "CI"].into_iter();
    let ours = ours.filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
    let given = given.into_iter().map(|(name, value)| (name.into(), value.into()));
    ours.chain([("TERM".into(), "dumb".into())]).chain(given).collect()
}

fn list() -> Result<u8> {
    for (version, names) in Cache::open()?.list()? {
        println!("{version}\t{}", names.join(" "));
    }
    Ok(0)
}

fn fetch(names: &[String]) -> Result<u8> {
    let cache = Cache::open()?;
    for name in names {
        println!("{name}\t{}", cache.fetch(name)?.version);
    }
    Ok(0)
}
