//! The profile in the kernel: written beside the old one, and forgotten after the last decision by it.

use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType, libbpf_sys};
use shared::intf;
use shared::policy::Policy;
use shared::policy::table::{Tables, op_info as compiled_op_info};
use shared::site::Name;

use crate::cli::hinted;
use crate::kernel::{Kernel, bytes_of, read_as};
use crate::maps::MapCalls;
use crate::priority::unpreempted;

/// `enum op_info` of every operation.
pub fn op_info() -> Box<[u16; intf::OPS_MAX as usize]> {
    compiled_op_info()
}

/// The maps of a kernel side that decides.
pub struct KernelTables {
    policies: MapHandle,
    rules: MapHandle,
    nodes: MapHandle,
    /// An array for each generation.
    automata: MapHandle,
    heads: MapHandle,
    key: [u64; 2],
    own: Vec<Name>,
}

impl KernelTables {
    /// `own`: absolute paths of the tracer's own files, which no subject may change.
    pub fn new(kernel: &mut Kernel, key: [u64; 2], own: Vec<Name>) -> Result<Self> {
        Ok(Self {
            policies: kernel.map("policies")?,
            rules: kernel.map("rules")?,
            nodes: kernel.map("nodes")?,
            automata: kernel.map("automata")?,
            heads: kernel.map("heads")?,
            key,
            own,
        })
    }

    /// Writes a policy under a generation that nothing reads yet; whether names have to be resolved under it.
    ///
    /// Errors: it does not fit. Then nothing of it is left.
    pub fn load(&self, policy: &Policy, generation: u32) -> Result<bool> {
        let tables = Tables::new(policy, self.key, generation, &self.own)
            .map_err(|e| hinted(e.to_string(), e.hint()))?;
        // Of a start that failed half way: together they would grant what neither does.
        self.drop_if(|of| of == generation);
        let written = self.write(&tables, generation);
        if written.is_err() {
            self.drop_if(|of| of == generation);
        }
        written.context("write the profile into the kernel")?;
        Ok(tables.head.patterned != 0)
    }

    fn write(&self, tables: &Tables, generation: u32) -> Result<()> {
        self.write_automaton(&tables.automaton, generation)?;
        write_all(&self.rules, &tables.rules)?;
        write_all(&self.nodes, &tables.nodes)?;
        write_all(&self.policies, &tables.policies)?;
        write_all(&self.heads, &[(generation, tables.head)])
    }

    fn write_automaton(&self, rows: &[intf::automaton_row], generation: u32) -> Result<()> {
        let len = rows.len() as u32;
        // Of another length than the kernel side's own declaration says, which only BPF_F_INNER_MAP allows.
        let options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as _,
            map_flags: libbpf_sys::BPF_F_INNER_MAP,
            ..Default::default()
        };
        let row = size_of::<intf::automaton_row>() as u32;
        let automaton = MapHandle::create(MapType::Array, Some("automaton"), 4, row, len, &options)
            .context("make an array for the patterns")?;
        let numbered: Vec<(u32, intf::automaton_row)> = (0..).zip(rows.iter().copied()).collect();
        write_all(&automaton, &numbered)?;
        write_all(&self.automata, &[(generation, automaton.as_fd().as_raw_fd())])
    }

    /// Everything but one generation, once no decision can be reading it any more.
    pub fn keep_only(&self, generation: u32) {
        wait_for_decisions();
        self.drop_if(|of| of != generation);
    }

    fn drop_if(&self, unwanted: impl Fn(u32) -> bool) {
        let at = [
            (&self.policies, offset_of!(intf::policy_key, generation)),
            (&self.rules, offset_of!(intf::rule_key, generation)),
            (&self.nodes, offset_of!(intf::node_key, generation)),
            (&self.automata, 0),
            (&self.heads, 0),
        ];
        for (map, offset) in at {
            let of = |key: &Vec<u8>| key.get(offset..).and_then(read_as::<u32>);
            // All keys first: a deleted one cannot tell the next.
            let keys = || map.keys().filter(|key| of(key).is_some_and(&unwanted)).collect();
            let old: Vec<Vec<u8>> = unpreempted(keys);
            for key in old {
                // Gone already is as good.
                let _ = map.remove(&key);
            }
        }
    }
}

fn write_all<K: Copy, V: Copy>(map: &MapHandle, entries: &[(K, V)]) -> Result<()> {
    const AT_ONCE: usize = 4096;
    for chunk in entries.chunks(AT_ONCE) {
        let keys: Vec<u8> = chunk.iter().flat_map(|(key, _)| bytes_of(key).iter().copied()).collect();
        let values: Vec<u8> = chunk.iter().flat_map(|(_, value)| bytes_of(value).iter().copied()).collect();
        unpreempted(|| map.update_batch(&keys, &values, chunk.len() as u32, MapFlags::ANY, MapFlags::ANY))?;
    }
    Ok(())
}

/// Until every decision that runs now has ended: they are read-side sections of RCU, and this waits for those.
pub(crate) fn wait_for_decisions() {
    const GLOBAL: i32 = 1; // MEMBARRIER_CMD_GLOBAL
    /// Many times what a decision can take, for kernels that refuse (some processors without ticks).
    const LONG_ENOUGH: Duration = Duration::from_millis(500);
    // SAFETY: takes plain integers only.
    if unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) } != 0 {
        std::thread::sleep(LONG_ENOUGH);
    }
}
