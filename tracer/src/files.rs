//! Files that code was in while learning, looked at as the process sees them that ran it: it may have another root.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use sha2::{Digest, Sha256};
use shared::profile::Script;
use shared::site::Name;

use crate::follow::{FileId, file_at, only_name};

/// A process' root, where it is not the tracer's.
type Root = Option<Arc<OwnedFd>>;

/// By name, each with the root of the first process that was seen to run it; `None` until that could be looked at.
#[derive(Default)]
pub struct Files {
    by_name: HashMap<Name, Option<Root>>,
    roots: HashMap<FileId, Arc<OwnedFd>>,
}

impl Files {
    /// One more, as process `pid` names it.
    pub fn add(&mut self, file: &Name, pid: Option<u32>) {
        if self.by_name.get(file).is_none_or(Option::is_none) {
            let root = pid.and_then(|pid| self.root_of(pid));
            self.by_name.insert(file.clone(), root);
        }
    }

    /// Those that are there, and (`than`) that nobody has changed since.
    pub fn scripts(&self, than: Option<SystemTime>) -> impl Iterator<Item = Script> {
        let root = |root: &Option<Root>| root.clone().flatten();
        self.by_name.iter().filter_map(move |(file, its)| describe(file, root(its).as_deref(), than))
    }

    /// `None`: the process has ended.
    fn root_of(&mut self, pid: u32) -> Option<Root> {
        let name = format!("/proc/{pid}/root");
        let theirs = file_at(&name)?;
        if file_at("/")? == theirs {
            return Some(None);
        }
        if let Some(known) = self.roots.get(&theirs) {
            return Some(Some(known.clone()));
        }
        let root = Arc::new(only_name(Path::new(&name)).ok()?);
        self.roots.insert(theirs, root.clone());
        Some(Some(root))
    }
}

/// A pipe of this name does not hold it up.
pub(crate) fn open(path: &Path, root: Option<&OwnedFd>) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let Some(root) = root else { return Ok(nix::fcntl::open(path, flags, Mode::empty())?.into()) };
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    Ok(openat2(root, path, how)?.into())
}

/// Device, inode, size and hash of a script, so that drift can be told.
fn describe(name: &Name, root: Option<&OwnedFd>, than: Option<SystemTime>) -> Option<Script> {
    let path = Path::new(OsStr::from_bytes(name.as_bytes()));
    if !path.is_absolute() {
        return None;
    }
    let mut file = open(path, root).ok()?;
    let about = file.metadata().ok()?;
    let is_older = |than| about.modified().is_ok_and(|changed| changed < than);
    if !about.is_file() || !than.is_none_or(is_older) {
        return None;
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content).ok()?;
    Some(Script {
        file: name.clone(),
        device: about.dev(),
        inode: about.ino(),
        size: about.size(),
        sha256: Sha256::digest(&content).into(),
    })
}
