//! What the three binaries share while they run.
//!
//! A binary is a [`Phase`]: its kernel-side object and its enforcer. Everything else is here: the command
//! line, attaching, the consumer that decides, and the reporter that tells.

pub mod cli;
pub mod command;
pub mod consumer;
pub mod context;
mod control;
mod demo;
pub mod doctor;
mod drift;
pub mod enforce;
pub mod events;
pub mod files;
mod filters;
pub mod follow;
pub mod images;
pub mod kernel;
pub mod late;
pub mod layout;
pub mod live;
mod maps;
mod moved;
pub mod names;
pub mod persist;
mod priority;
mod privilege;
pub mod probe;
pub mod process;
pub mod protect;
mod protected_files;
mod queue;
pub mod report;
pub mod selfcheck;
pub mod session;
pub mod switch;
pub mod tables;
mod unwatched;
pub mod wrappers;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches};

use shared::profile::View;

use crate::cli::{Actions, Args, STATUS_ERROR, hinted_of};
use crate::enforce::Enforcer;
use crate::kernel::{Loaded, ReadOnly};
use crate::probe::Strategy;

/// One strategy of a binary.
pub trait Phase {
    /// The binary: `phase1-user-kill`
    fn name(&self) -> &'static str;
    /// The binary with what chooses this strategy: `phase3-lsm --lsm`
    fn title(&self) -> &'static str {
        self.name()
    }
    /// Where operations are seen.
    fn view(&self) -> View {
        View::Syscall
    }
    /// What it does about a violation where nothing else is asked for.
    fn default_actions(&self) -> Actions {
        Actions { deny: false, kill: true }
    }
    /// Whether it can do that about a violation. Errors: what it would take.
    fn check_actions(&self, actions: Actions) -> Result<()> {
        if actions.deny {
            return Err(cli::hinted(
                format!("{} can only kill", self.title()),
                "leave --action out, or use phase3-lsm, which can deny",
            ));
        }
        Ok(())
    }
    /// Whether it contains subjects that are root: where one call that gets through is enough, it does not.
    fn contains_root(&self, _actions: Actions) -> bool {
        false
    }
    /// What it cannot do, said where a profile is in force.
    fn warning(&self, _actions: Actions) -> Option<&'static str> {
        None
    }
    /// Opens, configures and loads its object.
    fn load(&self, config: &ReadOnly) -> Result<Box<dyn Loaded>>;
    /// Its programs that see calls, in the order in which those that are loaded are attached.
    fn call_programs(&self) -> Vec<&'static str> {
        let killed = self.decides_in_kernel().then_some(KILLED_PROGRAM);
        let working =
            (self.returns() == Returns::OfTasks).then_some(["sys_enter_work", "sys_enter_work_held"]);
        killed
            .into_iter()
            .chain(["sys_enter", "sys_enter_held"])
            .chain(working.into_iter().flatten())
            .collect()
    }
    /// When it needs to see calls return.
    fn returns(&self) -> Returns {
        Returns::OfTasks
    }
    /// Whether the kernel side decides; user space then only hears of it.
    fn decides_in_kernel(&self) -> bool {
        false
    }
    /// Which of the strategies that `--doctor` tells about is its own.
    fn strategy(&self) -> Strategy;
    /// What it does about violations.
    fn enforcer(&self) -> Box<dyn Enforcer>;
}

/// What sees calls return.
pub const RETURN_PROGRAMS: [&str; 2] = ["sys_exit", "sys_exit_held"];
/// Programs that see a thread end. By an end that was not seen nothing gets through: what is left of the process goes when
/// its number is had again.
pub const END_PROGRAMS: [&str; 2] = ["process_exit", "process_exit_held"];

/// What sees the end of calls whose task was killed there; before anybody is.
pub const KILLED_PROGRAM: &str = "signal_delivered";

/// When a strategy needs [`RETURN_PROGRAMS`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Returns {
    /// Of those that may be violations, which are told before anybody decides: by their tasks' own work where the kernel
    /// can ([`kernel::has_return_work`]), else from the start.
    OfTasks,
    /// To tell what became of calls whose process goes on: from the first such violation on, which is told as not
    /// seen. Where a process is killed at a call, [`KILLED_PROGRAM`] tells.
    OfSurvivors,
}

/// A line for people, on stderr.
pub fn say(text: &str) {
    live::say(text);
}

/// The whole program: `lsm` is the strategy behind `--lsm`, in the one binary that has it.
pub fn main(phase: &dyn Phase, lsm: Option<&dyn Phase>) -> ExitCode {
    let given: Vec<_> = std::env::args_os().skip(1).collect();
    if given.first().is_some_and(|first| first == "ctl") {
        return exit(phase, control::client(phase.name(), &given[1..]));
    }
    let command = Args::command()
        .name(phase.name())
        .mut_args(|arg| {
            let chooses = ["lsm", "action"].contains(&arg.get_id().as_str());
            if chooses { arg.hide(lsm.is_none()) } else { arg }
        })
        .override_usage(format!(
            "{} [--profile | --monitor | --sandbox] [OPTIONS] [-- COMMAND [ARGS]...]",
            phase.name()
        ));
    let args = match command.try_get_matches().and_then(|found| Args::from_arg_matches(&found)) {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            if error.use_stderr() {
                say("Hint: --help lists the modes and their options");
            }
            return ExitCode::from(if error.use_stderr() { STATUS_ERROR } else { 0 });
        }
    };
    let chosen = match (args.lsm, lsm) {
        (false, _) => phase,
        (true, Some(lsm)) => lsm,
        (true, None) => {
            let error = cli::hinted(format!("{} has no LSM hooks", phase.name()), "use phase3-lsm --lsm");
            return exit(phase, Err(error));
        }
    };
    exit(chosen, dispatch(chosen, &args))
}

/// The exit status; an error is told with its hint.
fn exit(phase: &dyn Phase, result: Result<u8>) -> ExitCode {
    // After an error the reporter's thread may still run.
    live::end();
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let hinted = hinted_of(&error);
            say(&format!("{}: {error:#}", phase.title()));
            if let Some(hint) = hinted.map(|h| &h.hint) {
                say(&format!("Hint: {hint}"));
            }
            ExitCode::from(hinted.map_or(STATUS_ERROR, |h| h.status))
        }
    }
}

fn dispatch(phase: &dyn Phase, args: &Args) -> Result<u8> {
    if args.doctor {
        return doctor::run(phase);
    }
    if args.unpersist {
        return unpersist(phase);
    }
    match args.mode() {
        Some(mode) => session::run(phase, args, mode),
        None if std::env::args_os().len() <= 1 + usize::from(args.lsm) => demo::run(phase),
        None => Err(cli::hinted(
            "no mode given",
            "--profile learns, --monitor logs, --sandbox blocks; --help tells more",
        )),
    }
}

fn unpersist(phase: &dyn Phase) -> Result<u8> {
    session::check_environment()?;
    let title = phase.title();
    if persist::unpersist(title)? {
        say("enforcement has ended");
    } else {
        say(&format!("nothing was left by an earlier session of {title}"));
    }
    for other in persist::Pins::others(title) {
        say(&format!("notice: what {other} left goes on enforcing: {other} --unpersist ends it"));
    }
    Ok(0)
}
