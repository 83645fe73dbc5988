//! Objects that a profile cannot open: profiled scripts against writing, and what belongs to the tracer.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shared::intf;
use shared::op::Op;
use shared::policy::Policy;

use crate::consumer::bytes;
use crate::follow::{Base, FileId, Found, Lost, Whose, file_at, follow, without_dots};
use crate::late;
use crate::persist::FOLDERS;

/// The tracer's own files, which a subject may not write, rename, delete or link, whatever the profile says.
///
/// They and the profile's scripts are told by where the path leads and by what `stat` says of it, looked up
/// after the call was seen: a strategy that acts after the fact can be late here like anywhere else.
pub struct Protected {
    files: HashSet<FileId>,
    paths: HashSet<PathBuf>,
    /// What the profile's scripts were at the last look: another name (a hard link, a mount) may lead there.
    scripts: HashMap<FileId, PathBuf>,
    looked: Instant,
    tracer: u32,
    /// Somebody but root may remove one of them, or subjects may be root.
    exposed: bool,
}

impl Protected {
    /// Protects the tracer's files at `paths`, and its process.
    pub fn new(paths: Vec<PathBuf>, privileged_subjects: bool) -> Self {
        Self {
            exposed: privileged_subjects || paths.iter().any(|p| p.ancestors().skip(1).any(others_write)),
            files: paths.iter().filter_map(file_at).collect(),
            paths: paths.into_iter().collect(),
            scripts: HashMap::new(),
            looked: Instant::now(),
            tracer: std::process::id(),
        }
    }

    /// Another profile decides which scripts are protected, also by other names that lead to them.
    pub fn look_at_scripts(&mut self, policy: &Policy) {
        let known = |path: &Path| file_at(path).map(|id| (id, path.to_owned()));
        self.scripts = scripts_of(policy).filter_map(known).collect();
        self.looked = Instant::now();
    }

    /// What this call, allowed by the profile, reaches for.
    pub fn reached(&mut self, policy: &Policy, op: Op, record: &intf::rec_call, begun: Begun<'_>) -> Reached {
        if self.is_tracer(record) || record.flags & intf::CALL_REACHES != 0 {
            return Reached::Protected;
        }
        if !self.may_reach(policy, op) {
            return Reached::Nothing;
        }
        let changes = policy.could_protect(op) || policy.could_move(op);
        let mut reached = Reached::Nothing;
        for argument in PathArgument::of(record) {
            let found = match begun.opened {
                Some(opened) => Ok(opened.found()),
                None => argument.followed(op, record, begun.folder, changes),
            };
            match found {
                Ok(found) => {
                    // Moving, removing or covering a folder takes what is in it along.
                    let takes = !stays(op, record, argument.second);
                    // PHP code that writes there changes what runs, past everything that is looked at.
                    let is_memory = changes && runs_php(record) && found.memory;
                    if is_memory
                        || self.is_own(&found, takes)
                        || (changes && self.is_script(policy, op, &found, takes))
                    {
                        return Reached::Protected;
                    }
                }
                Err(Lost::Nowhere) => {}
                Err(Lost::TooFar) => return Reached::Protected, // fails closed, as in the kernel
                Err(Lost::NoRoom) => return Reached::NoRoom,
                Err(Lost::Ended) => reached = Reached::Untold, // fails open, and is counted
            }
        }
        reached
    }

    /// Whether nothing in the folder of this file, nor below it, is protected, whatever it is called.
    pub fn is_harmless_folder(&self, policy: &Policy, opened: &Opened) -> bool {
        let found = opened.found();
        let own = || FOLDERS.iter().map(Path::new).chain(self.paths());
        found.names().all(|file| {
            let Some(folder) = file.parent().filter(|folder| folder.parent().is_some()) else { return false };
            let name = folder.as_os_str().as_bytes();
            let has_scripts = policy.is_above_protected(name) || policy.is_above_root(name);
            !has_scripts && own().all(|own| !own.starts_with(folder) && !folder.starts_with(own))
        })
    }

    /// Whether this is the tracer's, or, if what is in it is taken along, a folder that something of its own is in.
    fn is_own(&self, found: &Found, takes: bool) -> bool {
        self.paths.contains(&found.path)
            || found.file.is_some_and(|file| self.files.contains(&file))
            || FOLDERS
                .iter()
                .any(|own| found.path.starts_with(own) || (takes && Path::new(own).starts_with(&found.path)))
            || (takes && self.paths.iter().any(|own| own.starts_with(&found.path)))
    }

    /// By its name in the process' own root, in the tracer's, or by what it is.
    fn is_script(&mut self, policy: &Policy, op: Op, found: &Found, takes: bool) -> bool {
        let named = found.names().any(|path| {
            let path = path.as_os_str().as_bytes();
            policy.is_protected(path)
                || (takes && policy.is_above_protected(path))
                || (takes && policy.could_move(op) && policy.is_above_root(path))
        });
        named || (writes_into(op) && self.is_script_by_another_name(policy, found))
    }

    fn is_script_by_another_name(&mut self, policy: &Policy, found: &Found) -> bool {
        let Some(file) = found.file else { return false };
        // What was a script then may be another file's number by now.
        let is_now = |scripts: &HashMap<FileId, PathBuf>| {
            scripts.get(&file).is_some_and(|script| file_at(script) == Some(file))
        };
        // One that was replaced since. Not each time: somebody may write to such files on purpose.
        let another_look = found.other_names && self.looked.elapsed() >= LOOK_AGAIN;
        is_now(&self.scripts)
            || (another_look && {
                self.look_at_scripts(policy);
                is_now(&self.scripts)
            })
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

/// Paths of the scripts that are told by what file they are, too.
pub fn scripts_of(policy: &Policy) -> impl Iterator<Item = &Path> {
    policy.protected_files().map(|name| Path::new(OsStr::from_bytes(name.as_bytes())))
}

/// Between two looks at what scripts are.
pub const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What an allowed call reaches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// Nothing that is protected.
    Nothing,
    /// The tracer, something of its own, or a script of the profile.
    Protected,
    /// Its process has ended, and a path of it cannot be followed any more.
    Untold,
    /// The tracer has no descriptor left to look with.
    NoRoom,
}

/// A path among a call's arguments.
struct PathArgument {
    second: bool,
    /// The argument before it, which may be the directory that it is relative to.
    before: Option<usize>,
    at: u64,
}

impl PathArgument {
    fn of(record: &intf::rec_call) -> impl Iterator<Item = Self> {
        let desc = shared::op::desc(record.nr);
        let given = [(desc.path_arg, false), (desc.path2_arg, true)];
        given.into_iter().filter(|(number, _)| *number != 0).map(|(number, second)| Self {
            second,
            before: usize::from(number).checked_sub(2),
            at: record.args[usize::from(number) - 1],
        })
    }

    /// The text that was read at the call, or, where its page was not there then, what is there now.
    fn text<'a>(&self, record: &'a intf::rec_call) -> Option<Cow<'a, [u8]>> {
        let (fault, field, len) = if self.second {
            (intf::CALL_PATH2_FAULT, &record.path2, record.path2_len)
        } else {
            (intf::CALL_PATH_FAULT, &record.path, record.path_len)
        };
        if record.flags & fault == 0 {
            return Some(bytes(field, len).into());
        }
        late::text(record.who.pid, self.at).map(Cow::from)
    }

    /// `changes`: it could change a script. The process has gone on since: links and folders that were on the way may
    /// be others by now.
    fn followed(
        &self,
        op: Op,
        record: &intf::rec_call,
        folder: Option<&Folder>,
        changes: bool,
    ) -> Result<Found, Lost> {
        // Removing fails open, and is counted.
        let untold = if changes { Lost::TooFar } else { Lost::Ended };
        if record.flags & self.too_long() != 0 {
            return Err(untold); // what is there now may be another one by half: it is not read
        }
        if self.at == 0 {
            return Err(Lost::Nowhere);
        }
        let mut text = self.text(record).ok_or(Lost::Ended)?;
        let base = self.base(record);
        if matches!(base, Base::Folder) && text.first() != Some(&b'/') {
            let named = match folder {
                Some(Folder::TooLong) => return Err(untold),
                Some(Folder::At(folder)) => as_named_by(record.who.pid, folder),
                None => None,
            };
            if let Some(folder) = named {
                text = [folder.as_os_str().as_bytes(), b"/", &text].concat().into();
            }
        }
        let through = !takes_the_link_itself(op, self.second);
        match follow_or_parent(record, base, &text, through) {
            // A folder on the way is gone: what its name was for is known from the text alone.
            Err(Lost::Nowhere) => follow_or_parent(record, base, &without_dots(&text), through),
            found => found,
        }
    }

    fn too_long(&self) -> u32 {
        if self.second { intf::CALL_PATH2_TRUNCATED } else { intf::CALL_PATH_TRUNCATED }
    }

    fn base(&self, record: &intf::rec_call) -> Base {
        match self.before.and_then(|number| directory(record, number)) {
            Some(fd) if fd != libc::AT_FDCWD => Base::Descriptor(fd),
            _ => Base::Folder,
        }
    }
}

/// Where a task was at a call.
pub enum Folder {
    /// From the root of its mount namespace.
    At(PathBuf),
    /// Its path is longer than is told.
    TooLong,
}

/// A folder as the process names it; `None` of one that has left its own root.
fn as_named_by(pid: u32, folder: &Path) -> Option<PathBuf> {
    match fs::read_link(format!("/proc/{pid}/root")) {
        Ok(root) => folder.strip_prefix(root).ok().map(|below| Path::new("/").join(below)),
        Err(_) => Some(folder.to_owned()),
    }
}

/// What a call has opened, as the kernel has it.
pub struct Opened {
    /// The folder that it is in, as the kernel side asks for it.
    pub folder: intf::hash128,
    path: PathBuf,
    own: PathBuf,
    is_memory: bool,
}

impl Opened {
    fn told(record: &intf::rec_opened) -> Self {
        let text = bytes(&record.path, record.len);
        let path = |text| PathBuf::from(OsStr::from_bytes(text));
        let own = path(text.get(usize::from(record.inner)..).unwrap_or(text));
        Self { folder: record.folder, path: path(text), own, is_memory: record.is_memory != 0 }
    }

    /// What file that is the kernel side has looked at ([`intf::CALL_REACHES`]).
    fn found(&self) -> Found {
        let (path, own) = (self.path.clone(), self.own.clone());
        Found { path, own, file: None, other_names: false, memory: self.is_memory }
    }
}

/// What was told of a call before itself.
#[derive(Clone, Copy, Default)]
pub struct Begun<'a> {
    /// Where a relative path of it begins.
    pub folder: Option<&'a Folder>,
    /// What it has opened.
    pub opened: Option<&'a Opened>,
}

/// What was told of the call of each task that is looked at next.
#[derive(Default)]
pub struct Beginnings {
    folders: HashMap<u32, Folder>,
    opened: HashMap<u32, Opened>,
}

impl Beginnings {
    /// More than that wait for no call: records of their calls were lost.
    const KEPT: usize = 4096;

    /// What a task's next call has opened.
    pub fn opened(&mut self, record: &intf::rec_opened) {
        if self.opened.len() >= Self::KEPT {
            self.opened.clear();
        }
        self.opened.insert(record.tid, Opened::told(record));
    }

    /// Where a task's next call begins.
    pub fn folder(&mut self, record: &intf::rec_path) {
        if self.folders.len() >= Self::KEPT {
            self.folders.clear();
        }
        let path = match bytes(&record.path, record.len as u16) {
            b"" => b"/",
            path => path,
        };
        let folder = match record.truncated {
            0 => Folder::At(Path::new(OsStr::from_bytes(path)).to_owned()),
            _ => Folder::TooLong,
        };
        self.folders.insert(record.hash.lo as u32, folder);
    }

    /// Of its call.
    pub fn of(&self, tid: u32) -> Begun<'_> {
        Begun { folder: self.folders.get(&tid), opened: self.opened.get(&tid) }
    }

    /// Its call was looked at.
    pub fn forget(&mut self, tid: u32) {
        self.folders.remove(&tid);
        self.opened.remove(&tid);
    }
}

/// Of a process that has ended an absolute path as its parent sees it, or else the tracer: few have a root of their own.
fn follow_or_parent(record: &intf::rec_call, base: Base, path: &[u8], through: bool) -> Result<Found, Lost> {
    let who = &record.who;
    let by = |root| follow(Whose { pid: who.pid, root, tid: who.tid, nspid: who.nspid }, base, path, through);
    match by(who.pid) {
        Err(Lost::Ended)
            if path.starts_with(b"/") && !fs::exists(format!("/proc/{}/root", who.pid)).unwrap_or(false) =>
        {
            by(who.ppid).or_else(|lost| if lost == Lost::Ended { by(std::process::id()) } else { Err(lost) })
        }
        found => found,
    }
}

/// Calls that do not follow a link that is the last name; also where it is one by now, because the call has made it.
fn takes_the_link_itself(op: Op, second: bool) -> bool {
    const NAMES: [&str; 11] = [
        "rename",
        "renameat",
        "renameat2",
        "unlink",
        "unlinkat",
        "rmdir",
        "mkdir",
        "mkdirat",
        "mknod",
        "mknodat",
        "lchown",
    ];
    const MADE: [&str; 4] = ["symlink", "symlinkat", "link", "linkat"];
    op.is_one_of(&NAMES) || (second && op.is_one_of(&MADE))
}

/// Calls that change what is in a file, whatever other names it has.
fn writes_into(op: Op) -> bool {
    const NAMES: [&str; 5] = ["open", "openat", "openat2", "creat", "truncate"];
    op.is_one_of(&NAMES)
}

fn runs_php(record: &intf::rec_call) -> bool {
    record.who.image != 0 || record.who.proc_flags & intf::PROC_UNINTROSPECTED != 0
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

/// Which paths of a call stay where and what they are: what a symbolic link leads to, and of mount, in the order in
/// which the kernel tells its kinds.
fn stays(op: Op, record: &intf::rec_call, second: bool) -> bool {
    const FLAGS: usize = 3; // of mount
    const PROPAGATION: u64 = libc::MS_UNBINDABLE | libc::MS_PRIVATE | libc::MS_SLAVE | libc::MS_SHARED;
    let flags = record.args[FLAGS];
    let Some(call) = op.call() else { return false };
    if ["symlink", "symlinkat"].contains(&call.name) {
        return !second;
    }
    call.name == "mount"
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

#[cfg(test)]
mod tests {
    use shared::op::Selection;
    use shared::profile::{Attribution, Php, Profile, Root, Script, View};

    use super::*;

    fn opened(path: &str, inner: usize) -> Opened {
        let mut record =
            intf::rec_opened { len: path.len() as u16, inner: inner as u16, ..Default::default() };
        for (to, byte) in record.path.iter_mut().zip(path.bytes()) {
            *to = byte.cast_signed();
        }
        Opened::told(&record)
    }

    #[test]
    fn a_folder_is_harmless_where_nothing_protected_is_in_it_by_either_name() {
        let operations = Selection::default();
        let mut profile =
            Profile::new(View::Syscall, Attribution::Stack, operations, Php::new("8.2.0", "API20220829,NTS"));
        let script = |file: &str| Script {
            file: file.into(),
            device: 0,
            inode: 0,
            size: 0,
            sha256: Default::default(),
        };
        profile.scripts = vec![script("/srv/x/lib/a.php"), script("app:src/b.php")];
        profile.roots = vec![Root::parse("app=/srv/releases/*").unwrap()];
        let policy = Policy::new(&profile);
        let protected = Protected::new(vec!["/var/log/tracer/events".into()], false);
        let is_harmless = |path, inner| protected.is_harmless_folder(&policy, &opened(path, inner));
        for harmless in ["/var/lib/php/sess_a", "/srv/x/data/b", "/srv/releases/7/log/a", "/var/log/a/events"]
        {
            assert!(is_harmless(harmless, 0), "{harmless}");
        }
        let others = [
            "/a",
            "/srv/a",
            "/srv/x/lib/b",
            "/srv/x/a",
            "/srv/releases/a",
            "/srv/releases/7/src/a",
            "/var/log/tracer/a",
            "/var/log/a",
            "/run/php-tracer/a",
            "/run/a",
        ];
        for other in others {
            assert!(!is_harmless(other, 0), "{other}");
        }
        assert!(is_harmless("/chroot/tmp/a", "/chroot".len()));
        assert!(!is_harmless("/chroot/srv/x/lib/a", "/chroot".len()), "by its own name");
        assert!(!is_harmless("/chroot/a", "/chroot".len()), "in its root");
    }
}
