//! Stream wrappers of PHP code whose includes are no forgery, as the profile lists them.

use std::mem::offset_of;

use anyhow::Result;
use libbpf_rs::{MapCore, MapHandle};
use shared::intf;
use shared::profile::{Profile, check_wrapper};

use crate::cli::{Args, Mode, hinted};
use crate::kernel::{Kernel, bytes_of, read_as};
use crate::maps::MapCalls;
use crate::tables::wait_for_decisions;

/// Those of `--wrapper`. Errors: one that is never excused; what is enforced is the profile's alone.
pub fn check(args: &Args, mode: Mode) -> Result<()> {
    if mode != Mode::Profile && !args.wrappers.is_empty() {
        return Err(hinted(
            "--wrapper is for --profile: what is excused stands in the profile",
            "learn it: --profile --merge --wrapper vfs; or write it into the profile: `php-profile export`, edit, `php-profile import`",
        ));
    }
    args.wrappers.iter().try_for_each(|scheme| {
        check_wrapper(scheme)
            .map_err(|why| hinted(format!("--wrapper: {why}"), "name a wrapper of PHP code: --wrapper vfs"))
    })
}

/// What is asked for and what the profile has already, each once.
pub fn asked(args: &Args, profile: Option<&Profile>) -> Vec<String> {
    let known = profile.into_iter().flat_map(|profile| &profile.wrappers);
    let mut all: Vec<String> = known.chain(&args.wrappers).cloned().collect();
    all.sort();
    all.dedup();
    all
}

/// The kernel side's list.
pub struct Wrappers {
    map: MapHandle,
}

impl Wrappers {
    /// Of this kernel side.
    pub fn new(kernel: &mut Kernel) -> Result<Self> {
        Ok(Self { map: kernel.map("wrappers")? })
    }

    /// Lists them for a generation that is not in use yet.
    pub fn load(&self, schemes: &[String], generation: u32) -> Result<()> {
        self.drop_if(|of| of == generation); // of a start that failed half way
        for scheme in schemes {
            self.map.put(bytes_of(&key_of(scheme, generation)), &1u32.to_ne_bytes())?;
        }
        Ok(())
    }

    /// Forgets those of other generations, once nobody can be asking for them any more.
    pub fn keep_only(&self, generation: u32) {
        if self.map.keys().any(|key| generation_of(&key) != Some(generation)) {
            wait_for_decisions();
            self.drop_if(|of| of != generation);
        }
    }

    fn drop_if(&self, unwanted: impl Fn(u32) -> bool) {
        let old: Vec<_> = self.map.keys().filter(|key| generation_of(key).is_some_and(&unwanted)).collect();
        for key in old {
            // Gone already is as good.
            let _ = self.map.remove(&key);
        }
    }
}

fn generation_of(key: &[u8]) -> Option<u32> {
    key.get(offset_of!(intf::wrapper_key, generation)..).and_then(read_as::<u32>)
}

fn key_of(scheme: &str, generation: u32) -> intf::wrapper_key {
    let mut key = intf::wrapper_key { generation, ..Default::default() };
    for (to, from) in key.scheme.iter_mut().zip(scheme.bytes()) {
        *to = from as i8;
    }
    key
}
