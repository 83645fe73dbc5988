//! Objects that a profile cannot open: profiled scripts against writing, and what belongs to the tracer.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use shared::intf;
use shared::op::Op;
use shared::policy::{ArgsView, Policy};

/// The tracer's own files, which a subject may not write, rename, delete or link, whatever the profile says.
///
/// They and the profile's scripts are told by where the path leads and by what `stat` says of it, looked up
/// after the call was seen: a strategy that acts after the fact can be late here like anywhere else.
pub struct Protected {
    files: HashSet<(u64, u64)>,
    paths: HashSet<PathBuf>,
    tracer: u32,
}

impl Protected {
    /// Protects the tracer's files at `paths`, and its process.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let id = |p: &PathBuf| fs::metadata(p).ok().map(|m| (m.dev(), m.ino()));
        Self {
            files: paths.iter().filter_map(id).collect(),
            paths: paths.into_iter().collect(),
            tracer: std::process::id(),
        }
    }

    /// Whether this call, allowed by the profile, reaches for one of them or for a script of the profile.
    pub fn reached(&self, policy: &Policy, op: Op, record: &intf::rec_call, args: &ArgsView<'_>) -> bool {
        if record.target_pid == self.tracer {
            return true;
        }
        if !policy.could_protect(op) {
            return false;
        }
        let pid = record.who.pid;
        let first = args.path.and_then(|p| locate(pid, directory(record, 0), p));
        let second = args.path2.and_then(|p| locate(pid, directory(record, 2), p));
        [first, second]
            .into_iter()
            .flatten()
            .any(|found| self.is_own(&found) || policy.is_protected(found.as_os_str().as_bytes()))
    }

    fn is_own(&self, found: &Path) -> bool {
        self.paths.contains(found)
            || fs::metadata(found).is_ok_and(|m| self.files.contains(&(m.dev(), m.ino())))
    }
}

/// The directory descriptor that a path argument is relative to, where the call takes one there.
fn directory(record: &intf::rec_call, arg: usize) -> Option<i32> {
    let call = shared::intf::call(record.nr)?;
    (call.args.as_bytes().get(arg) == Some(&b'd')).then(|| record.args[arg] as i32)
}

/// Where the subject's path leads in the tracer's file system: links resolved but for the last name, which may
/// be gone by now.
fn locate(pid: u32, dirfd: Option<i32>, path: &[u8]) -> Option<PathBuf> {
    let path = Path::new(OsStr::from_bytes(path));
    let start = match (path.strip_prefix("/"), dirfd) {
        (Ok(rest), _) => Path::new(&format!("/proc/{pid}/root")).join(rest),
        (_, Some(fd)) if fd != libc::AT_FDCWD => Path::new(&format!("/proc/{pid}/fd/{fd}")).join(path),
        _ => Path::new(&format!("/proc/{pid}/cwd")).join(path),
    };
    if let Ok(whole) = start.canonicalize() {
        return Some(whole);
    }
    Some(start.parent()?.canonicalize().ok()?.join(start.file_name()?))
}
