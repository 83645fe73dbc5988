//! Phase 3: decided in the kernel, blocked before it happens.

mod enforcer;
mod skel;

use std::process::ExitCode;

use anyhow::Result;
use shared::op::lsm::{BY_FUNCTION, HOOKS};
use shared::profile::View;
use tracer::cli::{Actions, hinted};
use tracer::enforce::Enforcer;
use tracer::kernel::{Loaded, ReadOnly};
use tracer::probe::Strategy;
use tracer::{KILLED_PROGRAM, Phase, Returns};

/// At the system call: its argument is rewritten, so that it fails.
struct Rewrite;

impl Phase for Rewrite {
    fn name(&self) -> &'static str {
        env!("CARGO_PKG_NAME")
    }

    fn default_actions(&self) -> Actions {
        Actions { deny: true, kill: true }
    }

    fn check_actions(&self, actions: Actions) -> Result<()> {
        if actions.kill {
            return Ok(());
        }
        Err(hinted(
            "rewriting cannot deny every call: without the kill, what is passed by value would get through",
            "use --action deny,kill (the default), or --lsm, whose hooks can deny them all",
        ))
    }

    fn warning(&self, actions: Actions) -> Option<&'static str> {
        Some(if actions.deny {
            "rewriting cannot stop what is passed by value or lies in memory that is shared or not writable at that \
             moment: there the kill comes after one call; and a second thread can undo it (--lsm has no such limits)"
        } else {
            "nothing is rewritten: the kill comes after one call"
        })
    }

    fn load(&self, config: &ReadOnly) -> Result<Box<dyn Loaded>> {
        skel::load_rewrite(config)
    }

    fn returns(&self) -> Returns {
        Returns::OfSurvivors
    }

    fn decides_in_kernel(&self) -> bool {
        true
    }

    fn strategy(&self) -> Strategy {
        Strategy::Rewrite
    }

    fn enforcer(&self) -> Box<dyn Enforcer> {
        Box::new(enforcer::Blocked { strategy: "rewrite" })
    }
}

/// At the LSM hook, which returns an error.
struct Lsm;

impl Phase for Lsm {
    fn name(&self) -> &'static str {
        env!("CARGO_PKG_NAME")
    }

    fn title(&self) -> &'static str {
        "phase3-lsm --lsm"
    }

    fn view(&self) -> View {
        View::Lsm
    }

    fn strategy(&self) -> Strategy {
        Strategy::Lsm
    }

    fn default_actions(&self) -> Actions {
        Actions { deny: true, kill: false }
    }

    fn check_actions(&self, _actions: Actions) -> Result<()> {
        Ok(())
    }

    fn contains_root(&self, actions: Actions) -> bool {
        actions.deny
    }

    fn load(&self, config: &ReadOnly) -> Result<Box<dyn Loaded>> {
        skel::load_lsm(config)
    }

    fn call_programs(&self) -> Vec<&'static str> {
        let functions = BY_FUNCTION.iter().map(|(_, program)| *program);
        [KILLED_PROGRAM].into_iter().chain(HOOKS.iter().map(|hook| hook.name)).chain(functions).collect()
    }

    fn returns(&self) -> Returns {
        Returns::OfSurvivors
    }

    fn decides_in_kernel(&self) -> bool {
        true
    }

    fn enforcer(&self) -> Box<dyn Enforcer> {
        Box::new(enforcer::Blocked { strategy: "lsm" })
    }
}

fn main() -> ExitCode {
    tracer::main(&Rewrite, Some(&Lsm))
}
