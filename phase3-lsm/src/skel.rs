//! The kernel sides: opened, configured, loaded.

use std::mem::MaybeUninit;

use anyhow::{Context, Result};
use libbpf_rs::Object;
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
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

/// Loads the programs that rewrite; nothing is attached.
pub fn load_rewrite(config: &ReadOnly) -> Result<Box<dyn Loaded>> {
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
