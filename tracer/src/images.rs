//! PHP executables and libraries: introspected, told to the kernel side, and watched for new files.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::Hasher;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use introspect::{FileId, Globals, Image, Sapi, Symbol};
use libbpf_rs::{MapCore, MapHandle};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use shared::intf;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::kernel::{Kernel, bytes_of, read_as};
use crate::maps::MapCalls;
use crate::priority::unpreempted;

/// An image the kernel side knows.
pub struct Known {
    /// Its number there, from 1.
    pub id: u32,
    /// What was read from the file.
    pub image: Image,
    /// Whether request starts and ends are seen.
    pub phases: bool,
    /// Kept open: once a deleted file is let go, its inode's number belongs to any new file, and strangers that
    /// run that would be taken for this image.
    _file: File,
}

/// As in `intf.h`: the request begins here.
const EDGE_STARTS: u64 = 1 << 47;

/// All images of a session.
pub struct Images {
    files: MapHandle,
    by_id: MapHandle,
    watched: MapHandle,
    newcomers: MapHandle,
    hash_key: [u64; 2],
    known: Vec<Known>,
    by_file: HashMap<(u64, u64), u32>,
    inotify: Inotify,
    watches: HashMap<WatchDescriptor, PathBuf>,
    /// At which a new file is looked at.
    paths: HashSet<PathBuf>,
    /// Paths of containers.
    inside: HashSet<PathBuf>,
    usdt: bool,
}

impl Images {
    /// Nothing known yet but numbers that an earlier session has given.
    pub fn new(kernel: &mut Kernel, usdt: bool, hash_key: [u64; 2]) -> Result<Self> {
        let files = kernel.map("files")?;
        let by_file = numbers_of(&files).map(|(key, id)| ((key.dev, key.ino), id)).collect();
        Ok(Self {
            files,
            by_id: kernel.map("images")?,
            watched: kernel.map("watched")?,
            newcomers: kernel.map("newcomers")?,
            hash_key,
            known: Vec::new(),
            by_file,
            inotify: Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).context("inotify")?,
            watches: HashMap::new(),
            paths: HashSet::new(),
            inside: HashSet::new(),
            usdt,
        })
    }

    /// All of them.
    pub fn known(&self) -> &[Known] {
        &self.known
    }

    /// By its number.
    pub fn get(&self, id: u32) -> Option<&Known> {
        self.known.iter().find(|known| known.id == id)
    }

    /// Introspects the file at `path` and makes it an image; again for the same file is nothing new.
    ///
    /// `path` may go through `/proc/PID/root`. Errors: the file is no PHP we can walk, or the kernel side
    /// refuses.
    pub fn add(&mut self, kernel: &mut Kernel, path: &Path) -> Result<u32> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let image = introspect::introspect(path)?;
        let key = kernel.file_key(&file)?;
        let given = self.by_file.get(&(key.dev, key.ino)).copied();
        if let Some(known) = given.and_then(|id| self.get(id)) {
            return Ok(known.id);
        }
        let id = given.unwrap_or_else(|| self.by_file.values().max().unwrap_or(&0) + 1);
        let mut record = record_of(&image, id);
        if self.usdt {
            record.flags |= intf::IMAGE_USDT;
        }
        // Of an earlier session, which acts still: what it sees of requests, its processes go on being judged by.
        if let Some(before) = given.and_then(|id| self.record(id)) {
            record.flags |= before.flags & intf::IMAGE_PHASES;
        }
        // The description first: from the moment the file is in `files`, processes are judged by it.
        self.by_id.put(&id.to_ne_bytes(), bytes_of(&record))?;
        let phases = attach_phases(kernel, path, &image, id);
        // Also what was kept above ends where it cannot go on: a worker would stay its master for ever.
        record.flags &= !intf::IMAGE_PHASES;
        if phases.is_ok() {
            record.flags |= intf::IMAGE_PHASES;
        }
        self.by_id.put(&id.to_ne_bytes(), bytes_of(&record))?;
        attach_sources(kernel, path, &image)?;
        if self.usdt {
            attach_usdt(kernel, path, &image)?;
        }
        self.files.put(bytes_of(&key), &id.to_ne_bytes())?;
        self.by_file.insert((key.dev, key.ino), id);
        self.known.push(Known { id, image, phases: phases.is_ok(), _file: file });
        Ok(id)
    }

    fn record(&self, id: u32) -> Option<intf::image> {
        read_as(&self.by_id.get(&id.to_ne_bytes()).ok()??)
    }

    /// What an earlier session watched, where somebody runs it still: its requests have to be seen by this one's probes.
    pub fn add_running(&mut self, kernel: &mut Kernel, procs: &MapHandle) {
        for (pid, known) in processes(procs) {
            if known.image == 0 || self.get(known.image).is_some() {
                continue;
            }
            if let Err(error) = self.add(kernel, Path::new(&format!("/proc/{pid}/exe"))) {
                crate::say(&format!("warning: what process {pid} runs cannot be watched on: {error:#}"));
            }
        }
    }

    /// Files that an earlier session watched, and that nobody runs or names any more: their inodes' numbers may belong
    /// to other files by now.
    pub fn forget_unused(&mut self, procs: &MapHandle) {
        let running: Vec<u32> = processes(procs).iter().map(|(_, process)| process.image).collect();
        let unused: Vec<(intf::file_key, u32)> = numbers_of(&self.files)
            .filter(|(_, id)| self.get(*id).is_none() && !running.contains(id))
            .collect();
        for (key, _) in unused {
            // Still there: as before.
            let _ = self.files.remove(bytes_of(&key));
        }
    }

    /// Its self-check failed: the kernel side takes its sites for `{unknown}` from now on.
    pub fn fail(&self, id: u32) -> Result<()> {
        let mut record = self.record(id).context("the kernel side has no such image")?;
        record.flags |= intf::IMAGE_FAILED;
        self.by_id.put(&id.to_ne_bytes(), bytes_of(&record))?;
        Ok(())
    }

    /// Watches `path` for a new file (an upgrade): whatever is executed there is a subject from its first
    /// instruction, `{unknown}` until it was introspected; its folder tells when to do that. The file that is there
    /// already where that at `given` was replaced.
    pub fn watch(&mut self, given: &Path) -> Result<Option<PathBuf>> {
        let place = Place::of(given).with_context(|| format!("find {}", given.display()))?;
        self.watch_starts(&place)?;
        let path = place.seen_from_here(given);
        let Some(folder) = path.parent() else { return Ok(None) };
        let flags = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE;
        match self.inotify.add_watch(folder, flags) {
            Ok(watch) => drop(self.watches.insert(watch, folder.to_path_buf())),
            // Its folder is gone, too, or its container's: whoever makes another is not seen.
            Err(_) if place.is_gone || !place.is_here => {}
            Err(error) => return Err(error).context("inotify"),
        }
        let replacement = Some(path.clone()).filter(|path| place.is_gone && path.exists());
        self.paths.insert(path);
        Ok(replacement)
    }

    /// A path of another mount namespace means another file to everybody else: what is started there is not taken for
    /// PHP before it was looked at (fails open for as long as that takes).
    fn watch_starts(&mut self, place: &Place) -> Result<()> {
        let hash = path_hash(self.hash_key, place.path.as_os_str().as_bytes());
        if place.is_here {
            return Ok(self.watched.put(bytes_of(&hash), &intf::WATCHED_HERE.to_ne_bytes())?);
        }
        self.inside.insert(place.path.clone());
        match self.watched.put_new(bytes_of(&hash), &intf::WATCHED_INSIDE.to_ne_bytes()) {
            Err(error) if error.kind() != libbpf_rs::ErrorKind::AlreadyExists => Err(error.into()),
            _ => Ok(()), // this machine has it, too, which is the stricter
        }
    }

    /// Executables that were started at a container's path since the last call: it was restarted, or is another one.
    pub fn started_inside(&self) -> Vec<PathBuf> {
        if self.inside.is_empty() {
            return Vec::new();
        }
        let pids: Vec<u32> = unpreempted(|| self.newcomers.keys().filter_map(|key| read_as(&key)).collect());
        let path = |pid: u32| {
            let _ = self.newcomers.remove(&pid.to_ne_bytes());
            let exe = PathBuf::from(format!("/proc/{pid}/exe"));
            let place = Place::of(&exe).ok()?; // none: it has ended
            (self.inside.contains(&place.path) && !is_in_our_mounts(&exe)).then_some(exe)
        };
        pids.into_iter().filter_map(path).collect()
    }

    /// Readable when files appeared.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Files that appeared at the paths of known images since the last call.
    pub fn appeared(&self) -> Vec<PathBuf> {
        let Ok(events) = self.inotify.read_events() else { return Vec::new() };
        let mut paths: Vec<PathBuf> = events
            .into_iter()
            .filter_map(|e| Some(self.watches.get(&e.wd)?.join(e.name?)))
            .filter(|p| {
                let is = |k: &Known| k.image.path == *p || k.image.path.canonicalize().is_ok_and(|c| c == *p);
                self.paths.contains(p) || self.known.iter().any(is)
            })
            .collect();
        paths.dedup();
        paths
    }
}

fn numbers_of(files: &MapHandle) -> impl Iterator<Item = (intf::file_key, u32)> + '_ {
    files.keys().filter_map(|key| {
        let id = files.get(&key).ok().flatten()?;
        Some((read_as(&key)?, read_as(&id)?))
    })
}

fn address(globals: Globals) -> (u64, i64, u32) {
    match globals {
        Globals::Nts { vaddr } => (vaddr, 0, 0),
        Globals::Zts { tcb_offset, offset_vaddr } => (offset_vaddr, tcb_offset, intf::IMAGE_ZTS),
        Globals::ZtsLibrary { slot_vaddr, offset_vaddr } => {
            (offset_vaddr, slot_vaddr as i64, intf::IMAGE_ZTS | intf::IMAGE_TCB_SLOT)
        }
    }
}

/// PHP 8.1: from here on `zend_file_handle` has a `zend_string`.
const FILE_NAMES_ARE_STRINGS: u32 = 20_210_902;

/// PHP 8.1, likewise: from here on there are fibers.
const HAS_FIBERS: u32 = FILE_NAMES_ARE_STRINGS;

fn record_of(image: &Image, id: u32) -> intf::image {
    let (eg, tcb_offset, zts) = address(image.executor_globals);
    let (sg, ..) = address(image.sapi_globals);
    let mut flags = zts;
    if image.is_library {
        flags |= intf::IMAGE_LIBRARY;
    }
    if image.sapi == Sapi::Fpm {
        flags |= intf::IMAGE_FPM;
    }
    if image.api < FILE_NAMES_ARE_STRINGS {
        flags |= intf::IMAGE_PLAIN_NAMES;
    }
    let o = &image.offsets;
    intf::image {
        id,
        flags,
        first_exec_vaddr: image.first_exec_vaddr,
        eg,
        sg,
        tcb_offset,
        acc_closure: o.acc_closure,
        current_execute_data: o.eg_current_execute_data,
        opcodes: o.op_array_opcodes,
        last: o.op_array_last,
        filename: o.op_array_filename,
        module: o.internal_module,
        path_translated: o.sapi_path_translated,
        scanner: image.naming.map_or(0, |naming| naming.scanner_vaddr),
        compiler: image.naming.map_or(0, |naming| naming.compiler_vaddr),
        stream_read: image.naming.map_or(0, |naming| naming.stream_read_vaddr),
        plain_files: image.naming.map_or(0, |naming| naming.plain_files_vaddr),
        ..Default::default()
    }
}

/// Uprobes at the beginning and end of requests: they tell `{engine}`'s phases and the master from workers.
fn attach_phases(kernel: &mut Kernel, path: &Path, image: &Image, id: u32) -> Result<()> {
    let missing = || anyhow::anyhow!("{} does not export the start and end of requests", path.display());
    let probe = |symbol: Option<Symbol>| symbol.ok_or_else(missing);
    let startup = probe(image.symbols.request_startup)?;
    let shutdown = probe(image.symbols.request_shutdown)?;
    let module = probe(image.symbols.module_shutdown)?;
    let cookie = |s: Symbol, edge: u64| u64::from(id) << 48 | edge | s.vaddr;
    let edges = [
        (startup.file_offset, cookie(startup, EDGE_STARTS)),
        (shutdown.file_offset, cookie(shutdown, 0)),
        (module.file_offset, cookie(module, 0)),
    ];
    kernel.attach_uprobes("request_edges", "request_edge", path, &edges)
}

/// Uprobes where code comes from: files are compiled, their code is named or converted, wrappers of streams are taken away,
/// fibers begin. Errors: forged names of files would go unseen.
fn attach_sources(kernel: &mut Kernel, path: &Path, image: &Image) -> Result<()> {
    let path_name = path.display();
    let missing = || anyhow::anyhow!("{path_name} does not export where it compiles files");
    let unseen = || {
        anyhow::anyhow!(
            "{path_name} does not show which names code is given\nHint: use a PHP that is built without link-time optimization"
        )
    };
    let naming = image.naming.ok_or_else(unseen)?;
    let at = |symbol: Symbol, edge: u32| (symbol.file_offset, u64::from(edge));
    let mut edges = vec![
        at(image.symbols.compile_file.ok_or_else(missing)?, intf::SOURCE_COMPILED),
        at(image.symbols.unregister_wrapper.ok_or_else(missing)?, intf::SOURCE_UNREGISTERED),
        at(image.symbols.set_encoding.ok_or_else(missing)?, intf::SOURCE_CONVERTED),
        at(naming.named, intf::SOURCE_NAMED),
    ];
    if image.api >= HAS_FIBERS {
        edges.push(at(image.symbols.new_fiber.ok_or_else(unseen)?, intf::SOURCE_FIBER));
        edges.push(at(naming.saved, intf::SOURCE_SAVED));
    }
    kernel.attach_uprobes("source_edges", "source_edge", path, &edges)
}

/// Function entry and return. Requests begin and end by [`attach_phases`].
fn attach_usdt(kernel: &mut Kernel, path: &Path, image: &Image) -> Result<()> {
    for (name, program) in [("function__entry", "usdt_entry"), ("function__return", "usdt_return")] {
        anyhow::ensure!(has_probe(image, name), "{} has no probe php:{name}", path.display());
        kernel.attach_usdt(program, path, "php", name)?;
    }
    Ok(())
}

/// Whether the image has the probe php:NAME.
pub fn has_probe(image: &Image, name: &str) -> bool {
    image.usdt.iter().any(|p| p.provider == "php" && p.name == name)
}

/// Where a file is that somebody may run.
struct Place {
    /// Its path as the kernel tells it, in the mount namespace in which it is.
    path: PathBuf,
    /// Whether who executes that path on this machine executes it, or what has replaced it.
    is_here: bool,
    /// It was replaced or deleted, and goes on as long as somebody runs it.
    is_gone: bool,
}

impl Place {
    fn of(given: &Path) -> std::io::Result<Self> {
        const DELETED: &[u8] = b" (deleted)";
        let file = File::open(given)?;
        let told = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let bytes = told.as_os_str().as_bytes();
        let deleted = bytes.strip_suffix(DELETED).filter(|_| fs::symlink_metadata(&told).is_err());
        let path = deleted.map_or_else(|| told.clone(), |path| OsStr::from_bytes(path).into());
        let is_gone = deleted.is_some();
        let is_here = if is_gone { is_in_our_mounts(given) } else { same_file(given, &path) };
        Ok(Self { path, is_here, is_gone })
    }

    /// The path that leads us there: through the process that `given` goes through, where it is not here.
    fn seen_from_here(&self, given: &Path) -> PathBuf {
        match through_process(given) {
            Some(process) if !self.is_here => {
                process.join("root").join(self.path.strip_prefix("/").unwrap_or(&self.path))
            }
            _ => self.path.clone(),
        }
    }
}

/// The path of the file that is at `given`, or was until it was replaced.
pub fn path_of(given: &Path) -> Option<PathBuf> {
    Some(Place::of(given).ok()?.seen_from_here(given))
}

/// `/proc/PID` of a path below it.
pub fn through_process(path: &Path) -> Option<PathBuf> {
    let pid = path.strip_prefix("/proc").ok()?.iter().next()?;
    pid.as_bytes().iter().all(u8::is_ascii_digit).then(|| Path::new("/proc").join(pid))
}

/// Whether a path that may go through a process ends in this process' mount namespace.
fn is_in_our_mounts(path: &Path) -> bool {
    let mounts = |process: &Path| fs::read_link(process.join("ns/mnt")).ok();
    through_process(path).is_none_or(|process| {
        let theirs = mounts(&process);
        theirs.is_some() && theirs == mounts(Path::new("/proc/self"))
    })
}

fn same_file(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| FileId::of(path).ok();
    id(one).is_some() && id(one) == id(other)
}

/// The id of a path, as `path_intern` makes it: its length, then its bytes in whole words.
fn path_hash(key: [u64; 2], path: &[u8]) -> intf::hash128 {
    let mut hasher = SipHasher24::new_with_keys(key[0], !key[1]);
    hasher.write(&(path.len() as u64).to_le_bytes());
    for chunk in path.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hasher.write(&word);
    }
    let hash = hasher.finish128();
    intf::hash128 { lo: hash.h1, hi: hash.h2 }
}

/// Marks a process for adoption at the next look round.
pub fn adopt(adoptions: &MapHandle, pid: u32, adoption: intf::adoption) -> Result<()> {
    adoptions.put(&pid.to_ne_bytes(), bytes_of(&adoption))?;
    Ok(())
}

/// The processes the kernel side has marked.
pub fn subjects(procs: &MapHandle) -> Vec<u32> {
    unpreempted(|| procs.keys().filter_map(|k| read_as::<u32>(&k)).collect())
}

/// Likewise with what it knows of each.
pub fn processes(procs: &MapHandle) -> Vec<(u32, intf::proc_)> {
    let process = |pid: u32| {
        let value = procs.get(&pid.to_ne_bytes()).ok()??;
        Some((pid, read_as(&value)?))
    };
    unpreempted(|| subjects(procs).into_iter().filter_map(process).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    struct Ends(Child);

    impl Drop for Ends {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn started(command: &mut Command) -> Ends {
        Ends(command.spawn().expect("start a program"))
    }

    fn exe(of: &Ends) -> PathBuf {
        let path = PathBuf::from(format!("/proc/{}/exe", of.0.id()));
        // Not the program that starts it any more.
        while !fs::read_link(&path).expect("read the link").to_string_lossy().contains("/runs") {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        path
    }

    #[test]
    fn a_replaced_file_is_where_its_successor_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().canonicalize().expect("its path").join("runs");
        fs::copy("/bin/sleep", &path).expect("copy a program");
        let running = started(Command::new(&path).arg("60"));
        let exe = exe(&running);
        let before = Place::of(&exe).expect("a place");
        assert!(before.path == path && before.is_here && !before.is_gone);

        fs::remove_file(&path).expect("remove it");
        for _ in 0..2 {
            let gone = Place::of(&exe).expect("a place");
            assert!(gone.path == path && gone.is_here && gone.is_gone);
            assert_eq!(gone.seen_from_here(&exe), path);
            fs::copy("/bin/sleep", &path).expect("copy another");
        }
    }

    #[test]
    fn a_file_of_other_mounts_is_seen_through_its_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().canonicalize().expect("its path").join("runs");
        let line = format!(
            "mount -t tmpfs none {0} && cp /bin/sleep {0}/runs && exec {0}/runs 60",
            path.parent().expect("a folder").display()
        );
        if !nix::unistd::geteuid().is_root() {
            return; // only root makes mount namespaces everywhere
        }
        let running = started(Command::new("unshare").args(["--mount", "sh", "-c", &line]));
        let exe = exe(&running);
        let inside = PathBuf::from(format!("/proc/{}/root{}", running.0.id(), path.display()));
        for given in [&exe, &inside] {
            let place = Place::of(given).expect("a place");
            assert!(place.path == path && !place.is_here && !place.is_gone, "{}", given.display());
            assert_eq!(place.seen_from_here(given), inside);
        }
    }
}
