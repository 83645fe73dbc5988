//! Calls on maps, each with no other thread in between ([`unpreempted`]).

use libbpf_rs::{MapCore, MapFlags, Result};

use crate::priority::unpreempted;

/// Of any map, one entry at a time.
pub trait MapCalls: MapCore {
    /// What is there.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        unpreempted(|| self.lookup(key, MapFlags::ANY))
    }

    /// Whatever was there.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        unpreempted(|| self.update(key, value, MapFlags::ANY))
    }

    /// Only where nothing is.
    fn put_new(&self, key: &[u8], value: &[u8]) -> Result<()> {
        unpreempted(|| self.update(key, value, MapFlags::NO_EXIST))
    }

    /// An entry less.
    fn remove(&self, key: &[u8]) -> Result<()> {
        unpreempted(|| self.delete(key))
    }
}

impl<M: MapCore> MapCalls for M {}
