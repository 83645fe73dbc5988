//! Names that the kernel side could not read, read once more from user space.
//!
//! A worker's page tables do not have every page of the opcode cache that its scripts live in, and a hook that
//! may not sleep cannot fetch one: seen for one call in some hundreds. Reading through `/proc/PID/mem` fetches
//! the page, so the next walk finds it.
//!
//! The process has gone on meanwhile, so only bytes that cannot have changed are believed: those in a mapping
//! that is shared and belongs to no file on disk that others write, which is the opcode cache (its strings stay
//! until it restarts). Anything else stays `{unknown}` (fails closed).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use shared::intf;

const ZSTR_LEN: u64 = 16;
const ZSTR_VAL: u64 = 24;
const CE_NAME: u64 = 8;

struct Memory {
    file: File,
    shared: Vec<(u64, u64)>,
}

impl Memory {
    fn open(pid: u32) -> io::Result<Self> {
        let file = File::open(format!("/proc/{pid}/mem"))?;
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        Ok(Self { file, shared: maps.lines().filter_map(shared_range).collect() })
    }

    fn read(&self, at: u64, to: &mut [u8]) -> Option<()> {
        let end = at.checked_add(to.len() as u64)?;
        let inside = self.shared.iter().any(|(from, until)| *from <= at && end <= *until);
        (inside && self.file.read_exact_at(to, at).is_ok()).then_some(())
    }

    fn read_u64(&self, at: u64) -> Option<u64> {
        let mut word = [0; 8];
        self.read(at, &mut word)?;
        Some(u64::from_ne_bytes(word))
    }

    /// The `zend_string` at `at`, into a name's field.
    fn read_name(&self, at: u64, field: &mut [i8]) -> Option<u16> {
        let len = self.read_u64(at.checked_add(ZSTR_LEN)?)?;
        if len > u64::from(intf::NAME_CAP) {
            return None;
        }
        let mut bytes = vec![0; len as usize];
        self.read(at + ZSTR_VAL, &mut bytes)?;
        for (to, from) in field.iter_mut().zip(&bytes) {
            *to = *from as i8;
        }
        Some(len as u16)
    }
}

/// The range of a line of `/proc/PID/maps` that is a shared mapping without a file of its own on disk.
fn shared_range(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_ascii_whitespace();
    let (from, until) = words.next()?.split_once('-')?;
    let shared = words.next()?.ends_with('s');
    let name = words.nth(3).unwrap_or("");
    // The opcode cache is an anonymous shared mapping, System V or POSIX shared memory.
    let anonymous = name == "/dev/zero" || name.starts_with("/SYSV") || name.starts_with("/dev/shm/");
    (shared && anonymous)
        .then(|| Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(until, 16).ok()?)))
        .flatten()
}

/// The site's names, complete, or `None`.
pub fn complete(partial: &intf::rec_partial) -> Option<intf::site_name> {
    let memory = Memory::open(partial.pid).ok()?;
    let mut name = partial.name;
    if partial.fault_file != 0 {
        name.file_len = memory.read_name(partial.fault_file, &mut name.file)?;
    }
    if partial.fault_function != 0 {
        name.function_len = memory.read_name(partial.fault_function, &mut name.function)?;
    }
    let class = match partial.fault_class_entry {
        0 => partial.fault_class,
        entry => memory.read_u64(entry.checked_add(CE_NAME)?)?,
    };
    if class != 0 {
        name.class_len = memory.read_name(class, &mut name.class_name)?;
        let nul = name.class_name[..name.class_len as usize].iter().position(|c| *c == 0);
        name.class_len = nul.map_or(name.class_len, |at| at as u16);
    }
    Some(name)
}

/// The text at `at` in the memory of a process, as it is now: as much as a path may have.
pub fn text(pid: u32, at: u64) -> Option<Vec<u8>> {
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut text = vec![0; libc::PATH_MAX as usize];
    let len = memory.read_at(&mut text, at).ok()?;
    let end = text[..len].iter().position(|byte| *byte == 0)?;
    text.truncate(end);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_opcode_cache_is_believed() {
        let cache = "7f0000000000-7f0008000000 rw-s 00000000 00:01 1024  /dev/zero (deleted)";
        assert_eq!(shared_range(cache), Some((0x7f00_0000_0000, 0x7f00_0800_0000)));
        assert_eq!(shared_range("7f0000000000-7f0008000000 rw-p 00000000 00:00 0 "), None);
        assert_eq!(shared_range("7f0000000000-7f0008000000 rw-s 00000000 08:01 12 /srv/data.mmap"), None);
        assert_eq!(shared_range(""), None);
    }

    #[test]
    fn a_path_is_what_is_there_now() {
        let path = c"/srv/app/a.php";
        assert_eq!(text(std::process::id(), path.as_ptr() as u64).as_deref(), Some(path.to_bytes()));
        assert_eq!(text(std::process::id(), 8), None);
        assert_eq!(text(u32::MAX, path.as_ptr() as u64), None);
    }

    #[test]
    fn private_memory_is_refused() {
        let text = *b"0123456789abcdef\x03\0\0\0\0\0\0\0foo";
        let partial = intf::rec_partial {
            pid: std::process::id(),
            fault_function: text.as_ptr() as u64,
            ..Default::default()
        };
        assert!(complete(&partial).is_none());
    }
}
