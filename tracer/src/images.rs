//! PHP executables and libraries: introspected, told to the kernel side, and watched for new files.

use std::collections::HashMap;
use std::fs::File;
use std::hash::Hasher;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use introspect::{Globals, Image, Sapi, Symbol};
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use shared::intf;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::kernel::{Kernel, bytes_of, read_as};

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
    hash_key: [u64; 2],
    known: Vec<Known>,
    by_file: HashMap<(u64, u64), u32>,
    inotify: Inotify,
    watches: HashMap<WatchDescriptor, PathBuf>,
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
            hash_key,
            known: Vec::new(),
            by_file,
            inotify: Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).context("inotify")?,
            watches: HashMap::new(),
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
        self.by_id.update(&id.to_ne_bytes(), bytes_of(&record), MapFlags::ANY)?;
        let phases = attach_phases(kernel, path, &image, id);
        // Also what was kept above ends where it cannot go on: a worker would stay its master for ever.
        record.flags &= !intf::IMAGE_PHASES;
        if phases.is_ok() {
            record.flags |= intf::IMAGE_PHASES;
        }
        self.by_id.update(&id.to_ne_bytes(), bytes_of(&record), MapFlags::ANY)?;
        attach_sources(kernel, path, &image)?;
        if self.usdt {
            attach_usdt(kernel, path, &image)?;
        }
        self.files.update(bytes_of(&key), &id.to_ne_bytes(), MapFlags::ANY)?;
        self.by_file.insert((key.dev, key.ino), id);
        self.known.push(Known { id, image, phases: phases.is_ok(), _file: file });
        Ok(id)
    }

    fn record(&self, id: u32) -> Option<intf::image> {
        read_as(&self.by_id.lookup(&id.to_ne_bytes(), MapFlags::ANY).ok()??)
    }

    /// What an earlier session watched, where somebody runs it still: its requests have to be seen by this one's probes.
    pub fn add_running(&mut self, kernel: &mut Kernel, procs: &MapHandle) {
        for pid in subjects(procs) {
            let value = procs.lookup(&pid.to_ne_bytes(), MapFlags::ANY).ok().flatten();
            let image = value.and_then(|value| read_as::<intf::proc_>(&value)).map_or(0, |p| p.image);
            if image == 0 || self.get(image).is_some() {
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
        let process = |pid: u32| procs.lookup(&pid.to_ne_bytes(), MapFlags::ANY).ok().flatten();
        let running: Vec<u32> = subjects(procs)
            .into_iter()
            .filter_map(|pid| process(pid).and_then(|value| read_as::<intf::proc_>(&value)))
            .map(|process| process.image)
            .collect();
        let unused: Vec<(intf::file_key, u32)> = numbers_of(&self.files)
            .filter(|(_, id)| self.get(*id).is_none() && !running.contains(id))
            .collect();
        for (key, _) in unused {
            // Still there: as before.
            let _ = self.files.delete(bytes_of(&key));
        }
    }

    /// Its self-check failed: the kernel side takes its sites for `{unknown}` from now on.
    pub fn fail(&self, id: u32) -> Result<()> {
        let mut record = self.record(id).context("the kernel side has no such image")?;
        record.flags |= intf::IMAGE_FAILED;
        self.by_id.update(&id.to_ne_bytes(), bytes_of(&record), MapFlags::ANY)?;
        Ok(())
    }

    /// Watches `path` for a new file (an upgrade): whatever is executed there is a subject from its first
    /// instruction, `{unknown}` until it was introspected; its folder tells when to do that.
    pub fn watch(&mut self, given: &Path) -> Result<()> {
        let path = given.canonicalize()?;
        // A path of another mount namespace means another file to everybody else: not watched (fails open for
        // upgrades inside of containers; those usually come as new containers).
        if same_file(given, &path) {
            let hash = path_hash(self.hash_key, path.as_os_str().as_bytes());
            self.watched.update(bytes_of(&hash), &1u32.to_ne_bytes(), MapFlags::ANY)?;
        }
        let Some(folder) = path.parent() else { return Ok(()) };
        if self.watches.values().any(|p| p == folder) {
            return Ok(());
        }
        let flags = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE;
        let watch = self.inotify.add_watch(folder, flags).context("inotify")?;
        self.watches.insert(watch, folder.to_path_buf());
        Ok(())
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
                self.known
                    .iter()
                    .any(|k| k.image.path.canonicalize().is_ok_and(|c| c == *p) || k.image.path == *p)
            })
            .collect();
        paths.dedup();
        paths
    }
}

fn numbers_of(files: &MapHandle) -> impl Iterator<Item = (intf::file_key, u32)> + '_ {
    files.keys().filter_map(|key| {
        let id = files.lookup(&key, MapFlags::ANY).ok().flatten()?;
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

/// Uprobes where code comes from: files are compiled, their code is named, wrappers of streams are taken away. Errors: forged names of files
/// would go unseen.
fn attach_sources(kernel: &mut Kernel, path: &Path, image: &Image) -> Result<()> {
    let path_name = path.display();
    let missing = || anyhow::anyhow!("{path_name} does not export where it compiles files");
    let unseen = || {
        anyhow::anyhow!(
            "{path_name} does not show which names code is given\nHint: use a PHP that is built without link-time optimization"
        )
    };
    let named = image.naming.ok_or_else(unseen)?.named;
    let at = |symbol: Symbol, edge: u32| (symbol.file_offset, u64::from(edge));
    let edges = [
        at(image.symbols.compile_file.ok_or_else(missing)?, intf::SOURCE_COMPILED),
        at(image.symbols.unregister_wrapper.ok_or_else(missing)?, intf::SOURCE_UNREGISTERED),
        at(named, intf::SOURCE_NAMED),
    ];
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

fn same_file(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
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
    adoptions.update(&pid.to_ne_bytes(), bytes_of(&adoption), MapFlags::ANY)?;
    Ok(())
}

/// The processes the kernel side has marked.
pub fn subjects(procs: &MapHandle) -> Vec<u32> {
    procs.keys().filter_map(|k| read_as::<u32>(&k)).collect()
}

/// Likewise with what it knows of each.
pub fn processes(procs: &MapHandle) -> Vec<(u32, intf::proc_)> {
    let process = |pid: u32| {
        let value = procs.lookup(&pid.to_ne_bytes(), MapFlags::ANY).ok()??;
        Some((pid, read_as(&value)?))
    };
    subjects(procs).into_iter().filter_map(process).collect()
}
