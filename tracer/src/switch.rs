//! What the kernel side reads once at each decision: generation and mode, in one word.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use anyhow::{Context, Result};
use libbpf_rs::MapHandle;
use memmap2::{MmapOptions, MmapRaw};
use shared::intf;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd};

use crate::cli::Mode;
use crate::tables::wait_for_decisions;

/// The map `control`, mapped: stores are seen by the next decision, and by none in part.
pub struct Switch {
    memory: MmapRaw,
}

impl Switch {
    /// Maps it. Errors: the kernel refuses.
    pub fn new(control: &MapHandle) -> Result<Self> {
        let memory = MmapOptions::new()
            .len(size_of::<intf::control>())
            .map_raw(control.as_fd().as_raw_fd())
            .context("map the switch between generations")?;
        Ok(Self { memory })
    }

    /// From the next decision on.
    pub fn set(&self, generation: u32, mode: Mode, patterned: bool) {
        let patterned = if patterned { intf::MODE_PATTERNED } else { 0 };
        let word = u64::from(mode_number(mode) | patterned) << 32 | u64::from(generation);
        self.word().store(word, Ordering::SeqCst);
    }

    /// The mode alone; the generation stays.
    pub fn set_mode(&self, mode: Mode) {
        let change = |word: u64| {
            let patterned = word >> 32 & u64::from(intf::MODE_PATTERNED);
            Some((u64::from(mode_number(mode)) | patterned) << 32 | word & u64::from(u32::MAX))
        };
        let _ = self.word().fetch_update(Ordering::SeqCst, Ordering::SeqCst, change);
    }

    /// Whoever calls anything from now on is killed: the mode is set no more but to let go of everybody.
    pub fn end_everybody(&self) {
        self.word().fetch_or(u64::from(intf::MODE_ENDS) << 32, Ordering::SeqCst);
    }

    /// The generation that decides now; 0 where none ever did.
    pub fn generation(&self) -> u32 {
        self.word().load(Ordering::SeqCst) as u32
    }

    /// Which of the loaded objects acts.
    pub fn set_instance(&self, instance: u32) {
        self.half(offset_of!(intf::control, instance)).store(instance, Ordering::SeqCst);
    }

    /// If it is this one that acts, none does any more, and none of its decisions is still being made.
    pub fn end_acting(&self, instance: u32) {
        let acts = self.half(offset_of!(intf::control, instance));
        if acts.compare_exchange(instance, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            wait_for_decisions();
        }
    }

    /// Which of the loaded objects acts; 0 where none does.
    pub fn instance(&self) -> u32 {
        self.half(offset_of!(intf::control, instance)).load(Ordering::SeqCst)
    }

    /// The process that no subject may reach for; the one before it.
    pub fn set_tracer(&self, pid: u32) -> u32 {
        self.half(offset_of!(intf::control, tracer)).swap(pid, Ordering::SeqCst)
    }

    fn word(&self) -> &AtomicU64 {
        const { assert!(offset_of!(intf::control, generation) == 0 && offset_of!(intf::control, mode) == 4) };
        // SAFETY: the mapping is page-aligned, as long as the structure, lives as long as `self`, and everybody
        // who writes it does so atomically.
        unsafe { AtomicU64::from_ptr(self.memory.as_mut_ptr().cast()) }
    }

    fn half(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: as above; `offset` is that of a u32 in the structure.
        unsafe { AtomicU32::from_ptr(self.memory.as_mut_ptr().add(offset).cast()) }
    }
}

fn mode_number(mode: Mode) -> u32 {
    match mode {
        Mode::Profile => intf::MODE_PROFILE,
        Mode::Monitor => intf::MODE_MONITOR,
        Mode::Sandbox => intf::MODE_SANDBOX,
    }
}
