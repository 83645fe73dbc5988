//! Where the kernel has all memory, for its side: names in pages of the opcode cache that a process has not touched
//! yet are read from there.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use libbpf_rs::MapHandle;
use memmap2::MmapOptions;
use nix::sys::memfd::{MFdFlags, memfd_create};
use shared::intf;

use crate::kernel::{Kernel, bytes_of, read_as};
use crate::maps::MapCalls;

const PAGE: u64 = 4096;

/// Finds it, by means of a page whose frame and content are known.
///
/// Errors: this process may not know frames (`CAP_SYS_ADMIN`); the kernel's memory is laid out as never seen. Then such
/// names stay unreadable, and their sites `{unknown}`.
pub fn find(kernel: &mut Kernel) -> Result<()> {
    let map = kernel.map("memory_layout")?;
    if is_known(&map) {
        return Ok(()); // to the session that is adopted, which goes on reading it
    }
    let file = File::from(memfd_create("page", MFdFlags::MFD_CLOEXEC).context("memfd_create")?);
    file.set_len(PAGE)?;
    // SAFETY: nobody else has the file.
    let mut page = unsafe { MmapOptions::new().len(PAGE as usize).map_mut(&file) }.context("map a page")?;
    File::open("/dev/urandom")?.read_exact(&mut page[..16]).context("read /dev/urandom")?;
    let asked = intf::memory_layout {
        addr: page.as_ptr() as u64,
        frame: frame_of(page.as_ptr() as u64)?,
        content: [word(&page[..8]), word(&page[8..16])],
        ..Default::default()
    };
    map.put(&0u32.to_ne_bytes(), bytes_of(&asked))?;
    kernel.iterate("find_memory")?;
    ensure!(is_known(&map), "the kernel's memory was not found");
    Ok(())
}

fn is_known(map: &MapHandle) -> bool {
    let value = map.get(&0u32.to_ne_bytes()).ok().flatten();
    value.and_then(|value| read_as::<intf::memory_layout>(&value)).is_some_and(|layout| layout.memory != 0)
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// The page frame behind an address of this process, which it has touched.
fn frame_of(addr: u64) -> Result<u64> {
    const PRESENT: u64 = 1 << 63;
    const FRAME: u64 = (1 << 55) - 1;
    let mut entry = [0; 8];
    let pagemap = File::open("/proc/self/pagemap").context("open /proc/self/pagemap")?;
    pagemap.read_exact_at(&mut entry, addr / PAGE * 8).context("read /proc/self/pagemap")?;
    let entry = u64::from_le_bytes(entry);
    let frame = entry & FRAME;
    ensure!(entry & PRESENT != 0 && frame != 0, "page frames are not told (CAP_SYS_ADMIN)");
    Ok(frame)
}
