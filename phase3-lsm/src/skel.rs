//! The kernel sides: opened, configured, loaded.

use std::mem::MaybeUninit;

use anyhow::{Context, Result};
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{Object, libbpf_sys};
use tracer::cli::hinted;
use tracer::kernel::{Loaded, ReadOnly, prepare_maps};

#[allow(clippy::all, clippy::pedantic, clippy::undocumented_unsafe_blocks, missing_docs)] // generated
mod generated {
    include!(concat!(env!("OUT_DIR"), "/phase3_rewrite.rs"));
}

struct RewriteObject(generated::Phase3RewriteSkel<'static>);

impl Loaded for RewriteObject {
    fn object(&mut self) -> &mut Object {
        self.0.object_mut()
    }
}

/// Kernel lockdown takes the helper away that writes into a process' memory.
fn check_helper() -> Result<()> {
    let (program, helper) = (libbpf_sys::BPF_PROG_TYPE_RAW_TRACEPOINT, libbpf_sys::BPF_FUNC_probe_write_user);
    // SAFETY: it loads a program of two instructions, and takes no options.
    if unsafe { libbpf_sys::libbpf_probe_bpf_helper(program, helper, std::ptr::null()) } != 0 {
        return Ok(()); // an error of the probe itself: loading tells more
    }
    let text = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let level = text.split(['[', ']']).nth(1).unwrap_or("which level is not shown here");
    Err(hinted(
        format!("kernel lockdown ({level}) forbids rewriting (bpf_probe_write_user)"),
        "use phase2-kernel-kill, or phase3-lsm --lsm; or boot without lockdown=",
    ))
}

/// Loads the programs that rewrite; nothing is attached.
pub fn load_rewrite(config: &ReadOnly) -> Result<Box<dyn Loaded>> {
    check_helper()?;
    // One for the life of the program.
    let storage = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut open = generated::Phase3RewriteSkelBuilder::default().open(storage).context("open the object")?;
    tracer::fill_read_only!(open, config);
    tracer::fill_decision_data!(open, config);
    let data = open.maps.rodata_data.as_deref_mut().expect("the object has read-only data");
    data.action_deny = u32::from(config.actions.deny);
    prepare_maps(open.open_object_mut(), config)?;
    Ok(Box::new(RewriteObject(open.load()?)))
}
