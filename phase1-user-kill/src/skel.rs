//! The kernel side: opened, configured, loaded.

use std::mem::MaybeUninit;

use anyhow::{Context, Result};
use libbpf_rs::Object;
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use tracer::kernel::{Loaded, ReadOnly, prepare_maps};

#[allow(clippy::all, clippy::pedantic, clippy::undocumented_unsafe_blocks, missing_docs)] // generated
mod generated {
    include!(concat!(env!("OUT_DIR"), "/skel.rs"));
}

struct UserKillObject(generated::Phase1UserKillSkel<'static>);

impl Loaded for UserKillObject {
    fn object(&mut self) -> &mut Object {
        self.0.object_mut()
    }
}

/// Loads the programs; nothing is attached.
pub fn load(config: &ReadOnly) -> Result<Box<dyn Loaded>> {
    // One for the life of the program.
    let storage = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut open =
        generated::Phase1UserKillSkelBuilder::default().open(storage).context("open the object")?;
    tracer::fill_read_only!(open, config);
    prepare_maps(open.open_object_mut(), config)?;
    Ok(Box::new(UserKillObject(open.load()?)))
}
