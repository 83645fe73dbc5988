//! PHP executables and libraries: introspected, told to the kernel side, and watched for new files.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use introspect::{Globals, Image, Sapi, Symbol};
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use shared::intf;

use crate::kernel::{Kernel, bytes_of, read_as};

/// An image the kernel side knows.
pub struct Known {
    /// Its number there, from 1.
    pub id: u32,
    /// What was read from the file.
    pub image: Image,
    /// Whether request starts and ends are seen.
    pub phases: bool,
}

/// All images of a session.
pub struct Images {
    files: MapHandle,
    images: MapHandle,
    known: Vec<Known>,
    by_file: HashMap<(u64, u64), u32>,
    inotify: Inotify,
    watches: HashMap<WatchDescriptor, PathBuf>,
    usdt: bool,
}

impl Images {
    /// Nothing known yet.
    pub fn new(kernel: &mut Kernel, usdt: bool) -> Result<Self> {
        Ok(Self {
            files: kernel.map("files")?,
            images: kernel.map("images")?,
            known: Vec::new(),
            by_file: HashMap::new(),
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
        self.known.get((id as usize).checked_sub(1)?)
    }

    /// Introspects the file at `path` and makes it an image; again for the same file is nothing new.
    ///
    /// `path` may go through `/proc/PID/root`. Errors: the file is no PHP we can walk, or the kernel side
    /// refuses.
    pub fn add(&mut self, kernel: &mut Kernel, path: &Path) -> Result<u32> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let image = introspect::introspect(path)?;
        let key = kernel.file_key(&file)?;
        if let Some(id) = self.by_file.get(&(key.dev, key.ino)) {
            return Ok(*id);
        }
        let id = self.known.len() as u32 + 1;
        let mut record = record_of(&image, id);
        if self.usdt {
            record.flags |= intf::IMAGE_USDT;
        }
        // The description first: from the moment the file is in `files`, processes are judged by it.
        self.images.update(&id.to_ne_bytes(), bytes_of(&record), MapFlags::ANY)?;
        let phases = attach_phases(kernel, path, &image, id);
        if phases.is_ok() {
            record.flags |= intf::IMAGE_PHASES;
            self.images.update(&id.to_ne_bytes(), bytes_of(&record), MapFlags::ANY)?;
        }
        if self.usdt {
            attach_usdt(kernel, path, &image)?;
        }
        self.files.update(bytes_of(&key), &id.to_ne_bytes(), MapFlags::ANY)?;
        self.by_file.insert((key.dev, key.ino), id);
        self.known.push(Known { id, image, phases: phases.is_ok() });
        Ok(id)
    }

    /// Watches the folder of `path` for a new file of that name (an upgrade).
    pub fn watch(&mut self, path: &Path) -> Result<()> {
        let path = path.canonicalize()?;
        let Some(folder) = path.parent() else { return Ok(()) };
        if self.watches.values().any(|p| p == folder) {
            return Ok(());
        }
        let flags = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE;
        let watch = self.inotify.add_watch(folder, flags).context("inotify")?;
        self.watches.insert(watch, folder.to_path_buf());
        Ok(())
    }

    /// Files that appeared at the paths of known images since the last call.
    pub fn appeared(&self) -> Vec<PathBuf> {
        let Ok(events) = self.inotify.read_events() else { return Vec::new() };
        let mut paths: Vec<PathBuf> = events
            .into_iter()
            .filter_map(|e| Some(self.watches.get(&e.wd)?.join(e.name?)))
            .filter(|p| self.known.iter().any(|k| k.image.path.canonicalize().is_ok_and(|c| c == *p) || k.image.path == *p))
            .collect();
        paths.dedup();
        paths
    }

    /// Whether the file now at an image's path is still the one that was read.
    pub fn is_current(image: &Image) -> bool {
        std::fs::metadata(&image.path).is_ok_and(|m| m.dev() == image.id.dev && m.ino() == image.id.inode)
    }
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
    // The cookie as `join_library` reads it.
    let cookie = |s: Symbol| u64::from(id) << 48 | s.vaddr;
    kernel.attach_uprobe("request_startup", path, startup.file_offset, cookie(startup))?;
    kernel.attach_uprobe("request_shutdown", path, shutdown.file_offset, cookie(shutdown))?;
    kernel.attach_uprobe("module_shutdown", path, module.file_offset, cookie(module))
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

/// Marks a process for adoption at the next look round.
pub fn adopt(adoptions: &MapHandle, pid: u32, adoption: intf::adoption) -> Result<()> {
    adoptions.update(&pid.to_ne_bytes(), bytes_of(&adoption), MapFlags::ANY)?;
    Ok(())
}

/// The processes the kernel side has marked.
pub fn subjects(procs: &MapHandle) -> Vec<u32> {
    procs.keys().filter_map(|k| read_as::<u32>(&k)).collect()
}
