//! Where a path leads that another process has used, as that process sees it: its root, its folder, its `/proc/self`.
//!
//! Whoever gives the path may have made it on purpose, so each step is bounded, and nothing is ever opened: `O_PATH`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

/// Names on the way: far more than honest paths have.
const STEPS: u32 = 256;
/// As many as the kernel follows.
const LINKS: u32 = 40;

const ONLY_NAME: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// Device and inode.
pub type FileId = (u64, u64);

/// Where a path leads, and what is there, if anything is.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// As the tracer sees it.
    pub path: PathBuf,
    /// As the process names it: below its own root.
    pub own: PathBuf,
    /// What is there.
    pub file: Option<FileId>,
    /// That is a file which has another name somewhere.
    pub other_names: bool,
    /// That is the memory of a process, wherever procfs is mounted.
    pub memory: bool,
}

impl Found {
    /// As the process names it and, where that is another name, as the tracer does.
    pub fn names(&self) -> impl Iterator<Item = &Path> {
        let other = Some(&self.path).filter(|path| **path != self.own);
        std::iter::once(&self.own).chain(other).map(PathBuf::as_path)
    }
}

/// Why there is nothing to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// A folder on the way is not there.
    Nowhere,
    /// More names or links than are looked at, or what cannot be told.
    TooFar,
    /// The process, or what the path begins at, is not there any more.
    Ended,
    /// The tracer has no descriptor left to look with.
    NoRoom,
}

/// What a path is relative to.
#[derive(Debug, Clone, Copy)]
pub enum Base {
    /// The process' folder.
    Folder,
    /// One of its descriptors.
    Descriptor(i32),
}

/// Whoever used the path.
#[derive(Debug, Clone, Copy)]
pub struct Whose {
    /// Its process.
    pub pid: u32,
    /// The process in whose root an absolute path begins: itself, or another one once it has ended.
    pub root: u32,
    /// Its task, for `/proc/thread-self`.
    pub tid: u32,
    /// The process' number in its own pid namespace, whose procfs it may see.
    pub nspid: u32,
}

impl Whose {
    /// What `name` is a link to in a procfs, which is the tracer's or the process' own.
    fn proc_self(self, name: &OsStr, procfs: &OwnedFd) -> Result<PathBuf, Lost> {
        let device = |fd: &OwnedFd| fstat(fd).map(|about| about.st_dev).ok();
        let is_own = device(&open(Path::new("/proc"))?) == device(procfs);
        let pid = if is_own { self.pid } else { self.nspid };
        match (name == "self", is_own || self.pid == self.tid) {
            (true, _) => Ok(pid.to_string().into()),
            (_, true) => Ok(format!("{pid}/task/{}", if is_own { self.tid } else { pid }).into()),
            // A task that is not the first of its process has no number there that is known here.
            (_, false) => Err(Lost::TooFar),
        }
    }
}

/// Where `path` leads; the last name itself, where it is a link, only if `through`.
pub fn follow(whose: Whose, base: Base, path: &[u8], through: bool) -> Result<Found, Lost> {
    let proc = |name: &str| PathBuf::from(format!("/proc/{}/{name}", whose.pid));
    let root = open(Path::new(&format!("/proc/{}/root", whose.root)))?;
    let start = match (path.first(), base) {
        (Some(b'/'), _) => another(&root)?,
        (None, Base::Descriptor(fd)) => return itself(&proc(&format!("fd/{fd}")), &root),
        (_, Base::Descriptor(fd)) => open(&proc(&format!("fd/{fd}")))?,
        (_, Base::Folder) => open(&proc("cwd"))?,
    };
    let path = Path::new(OsStr::from_bytes(path));
    plainly(&start, &root, path).unwrap_or_else(|| Walk::new(whose, &root, path, through)?.go(start))
}

/// The same path, links or not, with `..` taken for the name before: where it would lead if all of it were there.
pub fn without_dots(path: &[u8]) -> Vec<u8> {
    let mut plain = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(path)).components() {
        match part {
            Component::ParentDir if plain.file_name().is_some() => {
                plain.pop();
            }
            Component::ParentDir if plain.has_root() => {}
            Component::CurDir => {}
            _ => plain.push(part),
        }
    }
    plain.into_os_string().as_bytes().to_vec()
}

/// What is at a path of the tracer's, links followed.
pub fn file_at(path: impl AsRef<Path>) -> Option<FileId> {
    fs::metadata(path).ok().map(|about| (about.dev(), about.ino()))
}

fn id_of(about: &FileStat) -> FileId {
    (about.st_dev, about.st_ino)
}

fn is_link(about: &FileStat) -> bool {
    SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT == SFlag::S_IFLNK
}

fn lost(errno: Errno, otherwise: Lost) -> Lost {
    match errno {
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => Lost::NoRoom,
        _ => otherwise,
    }
}

fn nowhere(errno: Errno) -> Lost {
    lost(errno, Lost::Nowhere)
}

/// What is at a path of the tracer's, links followed, without opening it.
pub fn only_name(path: &Path) -> nix::Result<OwnedFd> {
    nix::fcntl::open(path, ONLY_NAME, Mode::empty())
}

fn open(path: &Path) -> Result<OwnedFd, Lost> {
    only_name(path).map_err(|errno| lost(errno, Lost::Ended))
}

fn another(descriptor: &OwnedFd) -> Result<OwnedFd, Lost> {
    descriptor.try_clone().map_err(|_| Lost::NoRoom)
}

/// As the tracer sees it.
fn name_of(descriptor: &OwnedFd) -> Result<PathBuf, Lost> {
    fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).map_err(|_| Lost::Ended)
}

/// `near`: on the same file system.
fn found(path: PathBuf, root: &OwnedFd, near: &OwnedFd, about: Option<&FileStat>) -> Result<Found, Lost> {
    let own = match path.strip_prefix(name_of(root)?) {
        Ok(below) => Path::new("/").join(below),
        Err(_) => path.clone(),
    };
    // Fails closed: what cannot be told may be one.
    let memory = path.file_name() == Some(OsStr::new("mem")) && is_procfs(near).unwrap_or(true);
    let other_names = about.is_some_and(|about| about.st_nlink > 1);
    Ok(Found { path, own, file: about.map(id_of), other_names, memory })
}

fn is_procfs(descriptor: &OwnedFd) -> nix::Result<bool> {
    Ok(fstatfs(descriptor)?.filesystem_type() == PROC_SUPER_MAGIC)
}

/// What a descriptor is open on, where its name leads there: a mount that is nowhere yet is called `/`.
fn itself(descriptor: &Path, root: &OwnedFd) -> Result<Found, Lost> {
    let opened = open(descriptor)?;
    let named = name_of(&opened)?;
    let there = open(&named).ok().and_then(|fd| fstat(fd).ok());
    match (there, fstat(&opened)) {
        (Some(there), Ok(about)) if id_of(&there) == id_of(&about) => {
            found(named, root, &opened, Some(&about))
        }
        _ => Err(Lost::Nowhere),
    }
}

/// By two calls, where no link and no `..` is on the way; else, or if anything is not as expected, `None`.
fn plainly(start: &OwnedFd, root: &OwnedFd, path: &Path) -> Option<Result<Found, Lost>> {
    if path.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    let below = path.strip_prefix("/").unwrap_or(path);
    let (folder, name) = (below.parent()?, below.file_name()?);
    let how = OpenHow::new()
        .flags(ONLY_NAME)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let folder = if folder.as_os_str().is_empty() {
        start.try_clone().ok()?
    } else {
        openat2(start, folder, how).ok()?
    };
    let about = match fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(about) if is_link(&about) => return None,
        Ok(about) => Some(about),
        Err(Errno::ENOENT) => None,
        Err(_) => return None,
    };
    Some(name_of(&folder).and_then(|path| found(path.join(name), root, &folder, about.as_ref())))
}

/// Name by name.
struct Walk<'a> {
    whose: Whose,
    root: &'a OwnedFd,
    root_id: FileId,
    /// What is left, the next one last.
    rest: Vec<OsString>,
    through: bool,
    steps: u32,
    links: u32,
}

impl<'a> Walk<'a> {
    fn new(whose: Whose, root: &'a OwnedFd, path: &Path, through: bool) -> Result<Self, Lost> {
        let root_id = fstat(root).map(|about| id_of(&about)).map_err(|_| Lost::Ended)?;
        let mut walk = Self { whose, root, root_id, rest: Vec::new(), through, steps: 0, links: 0 };
        walk.go_on_with(path)?;
        Ok(walk)
    }

    fn go_on_with(&mut self, path: &Path) -> Result<(), Lost> {
        let parts = path.as_os_str().as_bytes().split(|byte| *byte == b'/').rev();
        self.rest.extend(
            parts.filter(|part| !matches!(*part, b"" | b".")).map(|part| OsStr::from_bytes(part).to_owned()),
        );
        if self.rest.len() > STEPS as usize { Err(Lost::TooFar) } else { Ok(()) }
    }

    fn go(mut self, mut at: OwnedFd) -> Result<Found, Lost> {
        while let Some(name) = self.rest.pop() {
            self.steps += 1;
            if self.steps > STEPS {
                return Err(Lost::TooFar);
            }
            if name == ".." {
                at = self.above(at)?;
                continue;
            }
            let last = self.rest.is_empty();
            let next = match openat(&at, name.as_os_str(), ONLY_NAME | OFlag::O_NOFOLLOW, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::ENOENT) if last => return found(name_of(&at)?.join(name), self.root, &at, None),
                Err(errno) => return Err(nowhere(errno)),
            };
            let about = fstat(&next).map_err(|_| Lost::Nowhere)?;
            at = if is_link(&about) && (!last || self.through) {
                self.link(at, &name, &next)?
            } else if last {
                return found(name_of(&at)?.join(name), self.root, &at, Some(&about));
            } else {
                next
            };
        }
        let about = fstat(&at).map_err(|_| Lost::Nowhere)?;
        found(name_of(&at)?, self.root, &at, Some(&about))
    }

    fn above(&self, at: OwnedFd) -> Result<OwnedFd, Lost> {
        if fstat(&at).is_ok_and(|about| id_of(&about) == self.root_id) {
            return Ok(at);
        }
        openat(&at, "..", ONLY_NAME, Mode::empty()).map_err(nowhere)
    }

    /// Where the walk goes on from, after a link that is `name` in `at`.
    fn link(&mut self, at: OwnedFd, name: &OsStr, link: &OwnedFd) -> Result<OwnedFd, Lost> {
        self.links += 1;
        if self.links > LINKS {
            return Err(Lost::TooFar);
        }
        if is_procfs(&at).unwrap_or(false) {
            // These two are about who asks.
            if !matches!(name.as_bytes(), b"self" | b"thread-self") {
                return openat(&at, name, ONLY_NAME, Mode::empty()).map_err(nowhere);
            }
            let own = self.whose.proc_self(name, &at)?;
            return openat(&at, &own, ONLY_NAME, Mode::empty()).map_err(|errno| lost(errno, Lost::Ended));
        }
        let to = PathBuf::from(readlinkat(link.as_fd(), "").map_err(|_| Lost::Nowhere)?);
        self.go_on_with(&to)?;
        if to.is_absolute() { another(self.root) } else { Ok(at) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn own() -> Whose {
        let pid = std::process::id();
        Whose { pid, root: pid, tid: nix::unistd::gettid().as_raw().cast_unsigned(), nspid: pid }
    }

    fn led(path: &Path) -> Result<PathBuf, Lost> {
        follow(own(), Base::Folder, path.as_os_str().as_bytes(), true).map(|found| found.own)
    }

    #[test]
    fn links_and_dots_lead_where_the_kernel_goes() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        let file = place.join("app/a.php");
        fs::create_dir_all(place.join("app/in")).unwrap();
        fs::write(&file, "").unwrap();
        symlink("app", place.join("relative")).unwrap();
        symlink(&file, place.join("absolute")).unwrap();
        for way in [
            "app/a.php",
            "relative/a.php",
            "absolute",
            "app/in/../a.php",
            "relative/in/.././a.php",
            "app//a.php",
        ] {
            let got = follow(own(), Base::Folder, place.join(way).as_os_str().as_bytes(), true).unwrap();
            assert_eq!((got.path, got.file), (file.clone(), file_at(&file)), "{way}");
        }
        assert_eq!(led(&place.join("relative/new.php")).unwrap(), place.join("app/new.php"));
        let link = place.join("absolute");
        let not_through = follow(own(), Base::Folder, link.as_os_str().as_bytes(), false).unwrap();
        assert_eq!(not_through.path, link);
        assert_eq!(led(&place.join("none/../app/a.php")), Err(Lost::Nowhere));
        assert_eq!(led(Path::new("/../../..")).unwrap(), Path::new("/"));
    }

    #[test]
    fn proc_self_is_who_used_the_path() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").current_dir(&place).spawn().unwrap();
        let whose = Whose { pid: child.id(), root: child.id(), tid: child.id(), nspid: child.id() };
        for way in
            ["/proc/self/cwd/a.php", "/proc/thread-self/cwd/a.php", "/proc/self/../self/cwd/a.php", "a.php"]
        {
            let found = follow(whose, Base::Folder, way.as_bytes(), true).map(|found| found.path);
            assert_eq!(found, Ok(place.join("a.php")), "{way}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(follow(whose, Base::Folder, b"/etc", true), Err(Lost::Ended));
        let elsewhere = Whose { root: std::process::id(), ..whose };
        assert!(follow(elsewhere, Base::Folder, b"/etc", true).is_ok());
        // Not where whoever's root that is has its folder.
        assert_eq!(follow(elsewhere, Base::Folder, b"/proc/self/cwd/a.php", true), Err(Lost::Ended));
    }

    #[test]
    fn a_thread_is_its_process_in_a_procfs_of_its_own() {
        let whose = Whose { pid: 7, root: 7, tid: 8, nspid: 2 };
        let (own, other) = (open(Path::new("/proc")).unwrap(), open(Path::new("/")).unwrap());
        let link = |name: &str, procfs| whose.proc_self(OsStr::new(name), procfs);
        assert_eq!(link("self", &own), Ok("7".into()));
        assert_eq!(link("thread-self", &own), Ok("7/task/8".into()));
        assert_eq!(link("self", &other), Ok("2".into()));
        assert_eq!(link("thread-self", &other), Err(Lost::TooFar));
        let first = Whose { tid: 7, ..whose };
        assert_eq!(first.proc_self(OsStr::new("thread-self"), &other), Ok("2/task/2".into()));
    }

    #[test]
    fn what_is_made_to_take_long_is_not_walked() {
        let place = tempfile::tempdir().unwrap();
        let chain = |n: usize| place.path().join(format!("s{n}"));
        symlink(".", chain(0)).unwrap();
        for n in 1..=40 {
            symlink(format!("s{}", n - 1), chain(n)).unwrap();
        }
        assert!(led(&chain(39)).is_ok());
        assert_eq!(led(&chain(40)), Err(Lost::TooFar));
        symlink("a", place.path().join("a")).unwrap();
        assert_eq!(led(&place.path().join("a")), Err(Lost::TooFar));
        let far = format!("{}/{}", place.path().display(), "s0/".repeat(300));
        assert_eq!(led(Path::new(&far)), Err(Lost::TooFar));
    }

    #[test]
    fn dots_are_taken_for_the_name_before() {
        let plain = |path: &str| String::from_utf8(without_dots(path.as_bytes())).unwrap();
        assert_eq!(plain("/w/d/../../app/./page.php"), "/app/page.php");
        assert_eq!(plain("/../a"), "/a");
        assert_eq!(plain("../a/../b"), "../b");
    }
}
