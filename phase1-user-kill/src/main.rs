//! Phase 1: decided in user space, killed from user space.

mod enforcer;
mod skel;

use std::process::ExitCode;

use anyhow::Result;
use tracer::Phase;
use tracer::enforce::Enforcer;
use tracer::kernel::{Loaded, ReadOnly};
use tracer::probe::Strategy;

struct UserKill;

impl Phase for UserKill {
    fn name(&self) -> &'static str {
        env!("CARGO_PKG_NAME")
    }

    fn load(&self, config: &ReadOnly) -> Result<Box<dyn Loaded>> {
        skel::load(config)
    }

    fn strategy(&self) -> Strategy {
        Strategy::UserKill
    }

    fn enforcer(&self) -> Box<dyn Enforcer> {
        Box::new(enforcer::UserKill)
    }
}

fn main() -> ExitCode {
    tracer::main(&UserKill, None)
}
