//! Objects that a profile cannot open: profiled scripts against writing, and what belongs to the tracer.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use shared::intf;
use shared::op::Op;
use shared::policy::Policy;

use crate::consumer::bytes;
use crate::late;
use crate::persist::FOLDERS;

/// The tracer's own files, which a subject may not write, rename, delete or link, whatever the profile says.
///
/// They and the profile's scripts are told by where the path leads and by what `stat` says of it, looked up
/// after the call was seen: a strategy that acts after the fact can be late here like anywhere else.
pub struct Protected {
    files: HashSet<(u64, u64)>,
    paths: HashSet<PathBuf>,
    tracer: u32,
    /// Somebody but root may remove one of them, or subjects may be root.
    exposed: bool,
}

impl Protected {
    /// Protects the tracer's files at `paths`, and its process.
    pub fn new(paths: Vec<PathBuf>, privileged_subjects: bool) -> Self {
        let id = |p: &PathBuf| fs::metadata(p).ok().map(|m| (m.dev(), m.ino()));
        Self {
            exposed: privileged_subjects || paths.iter().any(|p| p.ancestors().skip(1).any(others_write)),
            files: paths.iter().filter_map(id).collect(),
            paths: paths.into_iter().collect(),
            tracer: std::process::id(),
        }
    }

    /// What this call, allowed by the profile, reaches for.
    pub fn reached(&self, policy: &Policy, op: Op, record: &intf::rec_call) -> Reached {
        if self.is_tracer(record) {
            return Reached::Protected;
        }
        if !self.may_reach(policy, op) {
            return Reached::Nothing;
        }
        let mut reached = Reached::Nothing;
        for argument in PathArgument::of(record) {
            match argument.followed(record) {
                Followed::To(found)
                    if self.is_one(policy, op, &found, stays(op, record, argument.second)) =>
                {
                    return Reached::Protected;
                }
                Followed::TooLong => return Reached::Protected, // fails closed, as in the kernel
                Followed::Nobody => reached = Reached::Untold,
                Followed::To(_) | Followed::Nowhere => {}
            }
        }
        reached
    }

    /// Whether this is one of them, or, unless what is found stays what it is, a folder that one is in.
    fn is_one(&self, policy: &Policy, op: Op, found: &Found, stays: bool) -> bool {
        let path = found.path.as_os_str().as_bytes();
        let changes = policy.could_protect(op) || policy.could_move(op);
        // Moving, removing or covering a folder takes what is in it along.
        let takes = !stays;
        self.paths.contains(&found.path)
            || found.file.is_some_and(|file| self.files.contains(&file))
            || FOLDERS
                .iter()
                .any(|own| found.path.starts_with(own) || (takes && Path::new(own).starts_with(&found.path)))
            || (takes && self.paths.iter().any(|own| own.starts_with(&found.path)))
            || (changes && (policy.is_protected(path) || (takes && policy.is_above_protected(path))))
    }

    /// Whether somebody but root may remove one of them.
    pub fn exposed(&self) -> bool {
        self.exposed
    }

    /// The tracer's files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().map(PathBuf::as_path)
    }

    /// Whether that depends on the call's paths at all.
    pub fn may_reach(&self, policy: &Policy, op: Op) -> bool {
        policy.could_protect(op) || policy.could_move(op) || (self.exposed && policy.could_remove(op))
    }

    /// Calls whose argument is a process, and signals to everybody from who may signal the tracer.
    fn is_tracer(&self, record: &intf::rec_call) -> bool {
        if record.target_pid == self.tracer {
            return true;
        }
        let Some(call) = intf::call(record.nr) else { return false };
        let mut processes = call.args.bytes().zip(record.args).filter(|(letter, _)| *letter == PROCESS);
        processes.any(|(_, pid)| {
            let pid = pid as u32;
            let everybody = u32::from(call.class_kind) == intf::CLASS_KILL && pid.cast_signed() < 0;
            pid == self.tracer || (everybody && record.who.uid == 0)
        })
    }
}

/// What an allowed call reaches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// Nothing that is protected.
    Nothing,
    /// The tracer, something of its own, or a script of the profile.
    Protected,
    /// Its process has ended, and a path of it cannot be followed any more.
    Untold,
}

/// A path among a call's arguments.
struct PathArgument {
    second: bool,
    at: u64,
}

/// Where it leads.
enum Followed {
    To(Found),
    /// Into a folder that is not there.
    Nowhere,
    TooLong,
    Nobody,
}

impl PathArgument {
    fn of(record: &intf::rec_call) -> impl Iterator<Item = Self> {
        let desc = shared::op::desc(record.nr);
        let given = [(desc.path_arg, false), (desc.path2_arg, true)];
        given
            .into_iter()
            .filter(|(number, _)| *number != 0)
            .map(|(number, second)| Self { second, at: record.args[usize::from(number) - 1] })
    }

    /// The text that was read at the call, or, where its page was not there then, what is there now.
    fn text<'a>(&self, record: &'a intf::rec_call) -> Option<Cow<'a, [u8]>> {
        let (fault, field, len) = match self.second {
            false => (intf::CALL_PATH_FAULT, &record.path, record.path_len),
            true => (intf::CALL_PATH2_FAULT, &record.path2, record.path2_len),
        };
        if record.flags & fault == 0 {
            return Some(bytes(field, len).into());
        }
        late::text(record.who.pid, self.at).map(Cow::from)
    }

    fn followed(&self, record: &intf::rec_call) -> Followed {
        let too_long = if self.second { intf::CALL_PATH2_TRUNCATED } else { intf::CALL_PATH_TRUNCATED };
        if record.flags & too_long != 0 {
            return Followed::TooLong;
        }
        if self.at == 0 {
            return Followed::Nowhere;
        }
        let pid = record.who.pid;
        let text = self.text(record);
        let dirfd = directory(record, if self.second { 2 } else { 0 });
        if let Some(found) = text.as_ref().and_then(|text| locate(pid, dirfd, text)) {
            return Followed::To(found);
        }
        let sees = |pid: u32| fs::read_link(format!("/proc/{pid}/root")).is_ok();
        match text {
            Some(_) if sees(pid) => Followed::Nowhere,
            // By the root of who started it, or else the tracer's: a process seldom has one of its own.
            Some(text) if text.starts_with(b"/") => {
                let other = if sees(record.who.ppid) { record.who.ppid } else { std::process::id() };
                locate(other, None, &text).map_or(Followed::Nowhere, Followed::To)
            }
            _ => Followed::Nobody, // fails open, and is counted: who did it has ended
        }
    }
}

/// An argument that is a process, among those of a call.
const PROCESS: u8 = b'i';

/// Whether an argument of the operation is a process, which may be the tracer.
pub fn names_a_process(op: Op) -> bool {
    intf::call(op.nr().into()).is_some_and(|call| call.args.bytes().any(|letter| letter == PROCESS))
}

/// Whether anybody but root can take names away in this folder.
fn others_write(folder: &Path) -> bool {
    const STICKY: u32 = 0o1000;
    fs::metadata(folder).is_ok_and(|m| m.uid() != 0 || (m.mode() & 0o022 != 0 && m.mode() & STICKY == 0))
}

/// Which paths of a call stay where and what they are: of mount, in the order in which the kernel tells its kinds.
fn stays(op: Op, record: &intf::rec_call, second: bool) -> bool {
    const FLAGS: usize = 3; // of mount
    const PROPAGATION: u64 = libc::MS_UNBINDABLE | libc::MS_PRIVATE | libc::MS_SLAVE | libc::MS_SHARED;
    let flags = record.args[FLAGS];
    op.call().is_some_and(|call| call.name == "mount")
        && (flags & libc::MS_REMOUNT != 0
            || match (flags & libc::MS_BIND != 0, flags & PROPAGATION != 0) {
                (true, _) => !second,
                (_, true) => true,
                _ => !second && flags & libc::MS_MOVE == 0,
            })
}

/// The directory descriptor that a path argument is relative to, where the call takes one there.
fn directory(record: &intf::rec_call, arg: usize) -> Option<i32> {
    let call = shared::intf::call(record.nr)?;
    (call.args.as_bytes().get(arg) == Some(&b'd')).then(|| record.args[arg] as i32)
}

/// Where a path leads, and what is there, by device and inode, if anything is.
struct Found {
    path: PathBuf,
    file: Option<(u64, u64)>,
}

/// What a descriptor is open on, where its name leads there: a mount that is nowhere yet is called `/`.
fn itself(descriptor: &Path) -> Option<Found> {
    let id = |path: &Path| fs::metadata(path).ok().map(|about| (about.dev(), about.ino()));
    let named = fs::read_link(descriptor).ok()?;
    let file = id(&named);
    (file.is_some() && file == id(descriptor)).then_some(Found { path: named, file })
}

/// Opened, whatever it is, without doing anything to it.
fn open(path: &Path) -> Option<OwnedFd> {
    nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()
}

/// Its path, links resolved.
fn name_of(descriptor: &OwnedFd) -> Option<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).ok()
}

fn resolved(path: &Path) -> Option<Found> {
    let descriptor = open(path)?;
    let about = fstat(&descriptor).ok()?;
    Some(Found { path: name_of(&descriptor)?, file: Some((about.st_dev, about.st_ino)) })
}

/// Where the subject's path leads in the tracer's file system: links resolved, also that of the last name, which may
/// be gone by now. Few system calls: this is done for each allowed call that could change a script.
fn locate(pid: u32, dirfd: Option<i32>, path: &[u8]) -> Option<Found> {
    let path = Path::new(OsStr::from_bytes(path));
    if let (Some(fd), "") = (dirfd, path.to_str().unwrap_or("?")) {
        return itself(Path::new(&format!("/proc/{pid}/fd/{fd}")));
    }
    let start = match (path.strip_prefix("/"), dirfd) {
        (Ok(rest), _) => Path::new(&format!("/proc/{pid}/root")).join(rest),
        (_, Some(fd)) if fd != libc::AT_FDCWD => Path::new(&format!("/proc/{pid}/fd/{fd}")).join(path),
        _ => Path::new(&format!("/proc/{pid}/cwd")).join(path),
    };
    let (Some(parent), Some(name)) = (start.parent(), start.file_name()) else { return resolved(&start) };
    let folder = open(parent)?;
    let about = fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok();
    let is_link = |mode| SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == SFlag::S_IFLNK;
    if about.is_some_and(|about| is_link(about.st_mode))
        && let Some(found) = resolved(&start)
    {
        return Some(found);
    }
    let file = about.map(|about| (about.st_dev, about.st_ino));
    Some(Found { path: name_of(&folder)?.join(name), file })
}
