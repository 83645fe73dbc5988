//! Phase 2: decided in the kernel, killed from the kernel.

mod enforcer;
mod skel;

use std::process::ExitCode;

use anyhow::Result;
use tracer::enforce::Enforcer;
use tracer::kernel::{Loaded, ReadOnly};
use tracer::probe::Strategy;
use tracer::{Phase, Returns};

struct KernelKill;

impl Phase for KernelKill {
    fn name(&self) -> &'static str {
        env!("CARGO_PKG_NAME")
    }

    fn load(&self, config: &ReadOnly) -> Result<Box<dyn Loaded>> {
        skel::load(config)
    }

    fn decides_in_kernel(&self) -> bool {
        true
    }

    fn returns(&self) -> Returns {
        Returns::OfSurvivors
    }

    fn strategy(&self) -> Strategy {
        Strategy::KernelKill
    }

    fn enforcer(&self) -> Box<dyn Enforcer> {
        Box::new(enforcer::KernelKill)
    }
}

fn main() -> ExitCode {
    tracer::main(&KernelKill, None)
}
