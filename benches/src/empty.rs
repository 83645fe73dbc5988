//! Programs that do nothing, at the system calls' tracepoints.

use std::mem::MaybeUninit;

use anyhow::{Context, Result};
use libbpf_rs::Link;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};

#[allow(clippy::all, clippy::pedantic, clippy::undocumented_unsafe_blocks, missing_docs)] // generated
mod generated {
    include!(concat!(env!("OUT_DIR"), "/skel.rs"));
}

/// Attached until it is dropped.
pub struct Empty {
    _links: Vec<Link>,
}

impl Empty {
    /// At `sys_enter`, and at `sys_exit` where that is asked for: at the tracepoints of the kind that the strategies use here.
    pub fn attach(exit_too: bool) -> Result<Self> {
        let mut storage = MaybeUninit::uninit();
        let open = generated::EmptySkelBuilder::default().open(&mut storage)?;
        let skel = open.load().context("load the empty programs")?;
        let (enter, exit) = if tracer::kernel::holds_calls() {
            (&skel.progs.empty_enter_held, &skel.progs.empty_exit_held)
        } else {
            (&skel.progs.empty_enter, &skel.progs.empty_exit)
        };
        let mut links = vec![enter.attach().context("attach to sys_enter")?];
        if exit_too {
            links.push(exit.attach().context("attach to sys_exit")?);
        }
        // The links keep their programs.
        Ok(Self { _links: links })
    }
}
