//! The kernel side as the tracer sees it: what is set before load, maps after it, and what is attached.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use anyhow::{Context, Result, anyhow};
use libbpf_rs::btf::{Btf, types};
use libbpf_rs::{
    AsRawLibbpf, Iter, IterOpts, Link, MapCore, MapFlags, MapHandle, Object, OpenObject, ProgramMut,
    ProgramType, UprobeMultiOpts, UprobeOpts, libbpf_sys,
};
use shared::intf;
use shared::op::{OpSet, desc};

use crate::cli::{Actions, hinted};
use crate::persist::Pins;
use crate::priority::unpreempted;
use crate::switch::Switch;

/// What never changes while running: read-only data of the programs, one field a variable.
#[derive(Clone)]
pub struct ReadOnly {
    /// Flags of `bpf_ringbuf_output`: 0, or `BPF_RB_FORCE_WAKEUP`.
    pub wakeup: u64,
    /// Random for each session.
    pub hash_key: [u64; 2],
    /// 1: only the started command and its descendants are subjects.
    pub scope_command: u32,
    /// Only processes of this user.
    pub filter_uid: Option<u32>,
    /// Only processes below the cgroups in the map `cgroups`.
    pub filter_cgroup: bool,
    /// Only the processes in the map `adoptions` and their descendants.
    pub filter_pid: bool,
    /// Frames of a call's chain.
    pub chain_limit: u32,
    /// Operations that are policed.
    pub policed: OpSet,
    /// Attribution by USDT.
    pub usdt: bool,
    /// Every user frame on a call's chain must be in a known file.
    pub context_files: bool,
    /// User frames that decide, the site among them.
    pub context_frames: u32,
    /// Number of the loaded object: at an adoption two are attached, and one acts.
    pub instance: u32,
    /// Somebody but root could remove the tracer's own files.
    pub exposed: bool,
    /// Allowed calls are told too, with what was decided.
    pub tell_allowed: bool,
    /// A task tells its calls' returns itself.
    pub return_work: bool,
    /// What is done about a violation, where the strategy has a choice.
    pub actions: Actions,
    /// Where maps are pinned, or found.
    pub pins: Option<PathBuf>,
}

impl ReadOnly {
    /// Numbers of which some class is policed, and those that must be seen for attribution: forks, execs, accepts.
    pub fn policed_nr(&self) -> [u8; intf::NR_MAX as usize] {
        const SEEN: [usize; 8] = [56, 57, 58, 59, 322, 435, 43, 288];
        let mut numbers = [0; intf::NR_MAX as usize];
        for (nr, policed) in numbers.iter_mut().enumerate() {
            let known = shared::intf::call(nr as u32).is_some();
            // A number that the table does not know is policed, whatever it is.
            *policed = u8::from(!known || self.policed.contains_call(nr as u16) || SEEN.contains(&nr));
        }
        numbers
    }

    /// The operations as the programs' bitmap.
    pub fn policed_ops(&self) -> [u64; (intf::OPS_MAX / 64) as usize] {
        let mut words = [0; (intf::OPS_MAX / 64) as usize];
        words.copy_from_slice(self.policed.words());
        words
    }

    /// The call table as the programs want it, field by field for any structure of the same shape.
    pub fn descs() -> impl Iterator<Item = intf::call_desc> {
        (0..intf::NR_MAX).map(desc)
    }
}

/// Fills the read-only data of a phase's open skeleton. A macro because each skeleton has types of its own.
#[macro_export]
macro_rules! fill_read_only {
    ($open:expr, $config:expr) => {{
        let config: &$crate::kernel::ReadOnly = $config;
        let data = $open.maps.rodata_data.as_deref_mut().expect("the object has read-only data");
        data.wakeup = config.wakeup;
        data.hash_key = config.hash_key;
        data.scope_command = config.scope_command;
        data.filter_uid_set = u32::from(config.filter_uid.is_some());
        data.filter_uid = config.filter_uid.unwrap_or(0);
        data.filter_cgroup = u32::from(config.filter_cgroup);
        data.filter_pid = u32::from(config.filter_pid);
        data.chain_limit = config.chain_limit;
        data.policed_nr = config.policed_nr();
        data.policed_ops = config.policed_ops();
        data.usdt_attribution = u32::from(config.usdt);
        data.context_files = u32::from(config.context_files);
        data.context_frames = config.context_frames;
        data.tracer_pid = std::process::id();
        data.instance = config.instance;
        data.works_at_return = u32::from(config.return_work);
        data.slots = $crate::kernel::scratch_slots();
        for (to, from) in data.calls.iter_mut().zip($crate::kernel::ReadOnly::descs()) {
            to.class_kind = from.class_kind;
            to.class_arg = from.class_arg;
            to.path_arg = from.path_arg;
            to.path2_arg = from.path2_arg;
            to.addr_arg = from.addr_arg;
            to.addrlen_arg = from.addrlen_arg;
            to.msghdr_arg = from.msghdr_arg;
            to.known = from.known;
            to.pid_args = from.pid_args;
            to.empty_arg = from.empty_arg;
            to.empty_bits_at = from.empty_bits_at;
            for (to, from) in to.steps.iter_mut().zip(from.steps) {
                (to.arg, to.len, to.offset, to.ones) = (from.arg, from.len, from.offset, from.ones);
            }
        }
    }};
}

/// Likewise what only those have that decide in the kernel.
#[macro_export]
macro_rules! fill_decision_data {
    ($open:expr, $config:expr) => {{
        let config: &$crate::kernel::ReadOnly = $config;
        let data = $open.maps.rodata_data.as_deref_mut().expect("the object has read-only data");
        data.op_info = *$crate::tables::op_info();
        data.exposed = u32::from(config.exposed);
        data.tell_allowed = u32::from(config.tell_allowed);
    }};
}

/// A loaded skeleton.
pub trait Loaded {
    /// Its object.
    fn object(&mut self) -> &mut Object;

    /// Another object, with what programs of the first one call.
    fn callees(&mut self) -> Option<&mut Object> {
        None
    }

    /// Puts what a program calls and the other object has into its place; `None` where it calls nothing such.
    fn complete(&mut self, _program: &str) -> Result<Option<Link>> {
        Ok(None)
    }
}

/// Puts `callee`, a program for this (`freplace`), into the place of a function of `program`, which is loaded.
///
/// Errors: the kernel refuses; or `callee` was loaded for another program of another type.
pub fn replace_function(
    callee: &ProgramMut<'_>,
    program: BorrowedFd<'_>,
    function: &CStr,
) -> libbpf_rs::Result<Link> {
    let callee = callee.as_libbpf_object().as_ptr();
    // SAFETY: the program is loaded, the descriptor open, the name a C string; NULL with errno set, or a new link.
    let link =
        unsafe { libbpf_sys::bpf_program__attach_freplace(callee, program.as_raw_fd(), function.as_ptr()) };
    let link = NonNull::new(link).ok_or_else(std::io::Error::last_os_error)?;
    // SAFETY: just made, and nobody else's.
    Ok(unsafe { Link::from_ptr(link) })
}

/// How many tasks can be decided about at once.
pub fn scratch_slots() -> u32 {
    const SLOTS: usize = 4; // as in emit.bpf.h
    const LEAST: usize = 32; // SLOT_TRIES there
    let cpus = libbpf_rs::num_possible_cpus().unwrap_or(LEAST);
    (cpus * SLOTS).max(LEAST) as u32
}

/// Sizes that depend on the machine, and where maps are pinned; for a phase's open object, before load.
pub fn prepare_maps(object: &mut OpenObject, config: &ReadOnly) -> Result<()> {
    let mut map = object
        .maps_mut()
        .find(|m| m.name() == OsStr::new("scratches"))
        .ok_or_else(|| anyhow!("the object has no map `scratches`"))?;
    map.set_max_entries(scratch_slots())?;
    if let Some(pins) = &config.pins {
        for mut map in object.maps_mut().filter(|m| is_shared(m.name())) {
            let path = pins.join(map.name());
            map.set_pin_path(path)?;
        }
    }
    choose_variants(object, config.return_work);
    Ok(())
}

/// Whether any function is left of a loaded program beside its own: the verifier drops what is never called.
pub fn has_functions(program: BorrowedFd<'_>) -> Result<bool> {
    let info = info(program).context("ask the kernel about a program")?;
    Ok(info.nr_func_info > 1)
}

/// Lets an object that is not loaded yet use the maps of one that is.
pub fn share_maps(loaded: &Object, object: &mut OpenObject) -> Result<()> {
    for map in loaded.maps().filter(|map| is_shared(map.name())) {
        let Some(mut same) = object.maps_mut().find(|m| m.name() == map.name()) else { continue };
        same.reuse_fd(map.as_fd()).with_context(|| format!("share map {}", map.name().display()))?;
    }
    let has = |name: &OsStr| loaded.maps().any(|map| map.name() == name);
    match object.maps().find(|map| is_shared(map.name()) && !has(map.name())) {
        Some(alone) => Err(anyhow!("nobody else has its map {}", alone.name().display())),
        None => Ok(()),
    }
}

/// Of the programs for the same, the one that suits this kernel: the verifier takes long for each.
fn choose_variants(object: &mut OpenObject, return_work: bool) {
    const WORK: &str = "_work"; // see `return_work.bpf.h`
    const HELD: &str = "_held"; // see `returns.bpf.h`
    let name = |name: &OsStr| name.to_string_lossy().into_owned();
    let names: Vec<String> = object.progs().map(|program| name(program.name())).collect();
    let release = release();
    let (held, multi) = (can_be_preempted(&release), has_uprobe_multi(&release));
    for mut program in object.progs_mut() {
        let name = name(program.name());
        let base = name.trim_end_matches(HELD);
        let unsuited =
            if return_work { names.contains(&format!("{base}{WORK}")) } else { base.ends_with(WORK) };
        if unsuited {
            program.set_autoload(false);
        } else if name.ends_with(HELD) {
            program.set_autoload(held);
        } else if names.contains(&format!("{name}{HELD}")) {
            program.set_autoload(!held);
        } else if program.section() == MULTI {
            program.set_autoload(multi);
        } else if names.contains(&format!("{name}s")) {
            program.set_autoload(!multi);
        }
    }
}

/// The section of programs that one link attaches at many places. The others' names lack the last letter of theirs.
const MULTI: &str = "uprobe.multi";

fn release() -> String {
    nix::sys::utsname::uname().map_or_else(|_| String::new(), |u| u.release().to_string_lossy().into_owned())
}

/// Whether this kernel's programs at system calls have to be those of perf's tracepoints.
pub fn holds_calls() -> bool {
    can_be_preempted(&release())
}

/// Whether programs of raw tracepoints (`tp_btf` are such) can be, by the kernel's version: seen on 7.3, not on 6.18.
fn can_be_preempted(release: &str) -> bool {
    version(release) > (6, 18)
}

/// Whether a program can leave work to a task for its way out of a call: since Linux 6.18 (2025-11), by either name.
pub fn has_return_work() -> bool {
    const NAMES: [&str; 2] = ["bpf_task_work_schedule_resume", "bpf_task_work_schedule_resume_impl"];
    let Ok(btf) = Btf::from_vmlinux() else { return false };
    NAMES.iter().any(|name| btf.type_by_name::<types::Func<'_>>(name).is_some())
}

/// Whether one link attaches a program to many places of a file: since Linux 6.6 (2023-10).
fn has_uprobe_multi(release: &str) -> bool {
    version(release) >= (6, 6)
}

/// (0, 0) for what is no version.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Whether a map holds more than one object's own read-only data, which is named after it.
fn is_shared(name: &OsStr) -> bool {
    !name.to_string_lossy().contains('.')
}

/// A structure of plain integers, as bytes for a map.
///
/// Only for types generated from `intf.h`, which have no padding bytes but named ones.
pub fn bytes_of<T: Copy>(value: &T) -> &[u8] {
    // SAFETY: T is plain data of `intf.h`; the slice covers exactly the value and lives as long.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// The structure at the start of `bytes`; `None` where they are too few.
pub fn read_as<T: Copy>(bytes: &[u8]) -> Option<T> {
    // SAFETY: T is plain data of `intf.h`, valid for any bytes; the length was checked; the read is unaligned.
    (bytes.len() >= size_of::<T>()).then(|| unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) })
}

/// Maps and programs of a loaded phase. Detaches everything when dropped.
pub struct Kernel {
    loaded: Box<dyn Loaded>,
    /// Its number.
    instance: u32,
    links: Vec<Link>,
    /// What is attached stays attached when this ends.
    stays: bool,
}

impl Drop for Kernel {
    /// Detaching waits until nobody runs the program any more: all at once, so that they wait together.
    fn drop(&mut self) {
        if self.stays {
            self.links.iter_mut().for_each(Link::disconnect);
            return;
        }
        self.end_acting();
        std::thread::scope(|scope| {
            for link in self.links.drain(..) {
                // A thread that cannot be had drops it here.
                let _ = std::thread::Builder::new().spawn_scoped(scope, move || drop(link));
            }
        });
    }
}

/// Programs that see the lives of subjects; of each two the one that is loaded is attached.
pub const LIVES: [&str; 5] =
    ["process_fork", "process_fork_held", "process_exec", "process_exit", "process_exit_held"];

impl Kernel {
    /// Takes over an object of this number that is loaded; nothing is attached yet.
    pub fn new(loaded: Box<dyn Loaded>, instance: u32) -> Self {
        Self { loaded, instance, links: Vec::new(), stays: false }
    }

    /// Links end in no order: programs that still run, but lack what they call, would deny.
    fn end_acting(&mut self) {
        if let Some(switch) = self.map("control").ok().and_then(|control| Switch::new(&control).ok()) {
            switch.end_acting(self.instance);
        }
    }

    /// A handle of a map, independent of this object's lifetime.
    pub fn map(&mut self, name: &str) -> Result<MapHandle> {
        let object = self.loaded.object();
        let map = object
            .maps()
            .find(|m| m.name() == OsStr::new(name))
            .ok_or_else(|| anyhow!("the object has no map `{name}`"))?;
        MapHandle::try_from(&map).with_context(|| format!("map {name}"))
    }

    /// What is attached ends with this after all.
    pub fn ends(&mut self) {
        self.stays = false;
    }

    /// From now on what is attached outlives this: its links, programs and maps are pinned.
    pub fn persist(&mut self, pins: &Pins, instance: u32) -> Result<()> {
        let object = self.loaded.object();
        let shared = object.maps().filter(|m| is_shared(m.name()));
        let maps = shared
            .map(|m| Ok((m.name().to_string_lossy().into_owned(), MapHandle::try_from(&m)?)))
            .collect::<Result<Vec<_>>>()?;
        let programs = object
            .progs()
            .filter(libbpf_rs::ProgramImpl::autoload)
            .map(|p| (format!("program-{}", p.name().to_string_lossy()), p));
        let programs: Vec<_> = programs.collect();
        let links = self.links.iter().enumerate().map(|(n, link)| (format!("link-{n}"), link.as_fd()));
        let parts: Vec<_> =
            programs.iter().map(|(name, program)| (name.clone(), program.as_fd())).chain(links).collect();
        pins.pin(instance, &parts, &maps)?;
        self.stays = true;
        Ok(())
    }

    fn program(&mut self, name: &str) -> Result<ProgramMut<'_>> {
        self.loaded
            .object()
            .progs_mut()
            .find(|p| p.name() == OsStr::new(name))
            .ok_or_else(|| anyhow!("the object has no program `{name}`"))
    }

    /// How often the kernel skipped a program because it was running on that processor already: calls, forks or
    /// execs that were not seen. By program, those that it did skip.
    pub fn skipped(&mut self) -> Vec<(String, u64)> {
        let all = self.infos().into_iter().map(|(name, info)| (name, info.recursion_misses));
        all.filter(|(_, misses)| *misses > 0).collect()
    }

    /// What the verifier went through, by program, of the million that it allows each.
    pub fn verified(&mut self) -> Vec<(String, u32)> {
        let mut all: Vec<_> =
            self.infos().into_iter().map(|(name, info)| (name, info.verified_insns)).collect();
        all.sort();
        all
    }

    /// What the kernel says of each program that it tells about.
    fn infos(&mut self) -> Vec<(String, libbpf_sys::bpf_prog_info)> {
        let mut all: Vec<_> = infos(self.loaded.object()).collect();
        all.extend(self.loaded.callees().into_iter().flat_map(infos));
        all
    }

    /// Attaches a program where its section name says.
    pub fn attach(&mut self, name: &str) -> Result<()> {
        // First: if this process is killed, its descriptors end in the reverse of their order, and a program
        // without what it calls would deny.
        self.links.extend(self.loaded.complete(name).with_context(|| format!("complete {name}"))?);
        let program = self.program(name)?;
        // A hook's program whose type was changed before load: its section name says nothing any more.
        let retyped = program.prog_type() == ProgramType::Tracing
            && program.section().as_encoded_bytes().starts_with(b"lsm/");
        let attached = if retyped { program.attach_trace() } else { program.attach() };
        let attached = attached.with_context(|| format!("attach {name}"));
        let link = attached.map_err(|error| {
            if Path::new("/sys/kernel/tracing/events").exists() {
                return error;
            }
            hinted(format!("{error:#}"), "mount -t tracefs tracefs /sys/kernel/tracing")
        })?;
        self.links.push(link);
        Ok(())
    }

    /// Likewise, if it was loaded: what nobody needs, or this kernel has not, was left out.
    pub fn attach_loaded(&mut self, name: &str) -> Result<()> {
        if self.program(name)?.autoload() { self.attach(name) } else { Ok(()) }
    }

    /// Attaches at offsets (bytes) of a file, each with its cookie, in every process that maps it: `multi`
    /// through one link where the kernel can, else `single` at each.
    pub fn attach_uprobes(
        &mut self,
        multi: &str,
        single: &str,
        file: &Path,
        at: &[(u64, u64)],
    ) -> Result<()> {
        let program = self.program(multi)?;
        if program.autoload() {
            let opts = UprobeMultiOpts {
                offsets: at.iter().map(|(offset, _)| *offset as usize).collect(),
                cookies: at.iter().map(|(_, cookie)| *cookie).collect(),
                ..UprobeMultiOpts::default()
            };
            let linked = program.attach_uprobe_multi_with_opts(-1, file, "", opts);
            self.links.push(linked.with_context(|| format!("attach {multi} to {}", file.display()))?);
            return Ok(());
        }
        for (offset, cookie) in at {
            let opts = UprobeOpts { cookie: *cookie, ..UprobeOpts::default() };
            let link = self
                .program(single)?
                .attach_uprobe_with_opts(-1, file, *offset as usize, opts)
                .with_context(|| format!("attach {single} to {} at {offset:#x}", file.display()))?;
            self.links.push(link);
        }
        Ok(())
    }

    /// Attaches a program to a USDT probe of a file, in every process that maps it.
    pub fn attach_usdt(&mut self, program: &str, file: &Path, provider: &str, name: &str) -> Result<()> {
        let link = self
            .program(program)?
            .attach_usdt(-1, file, provider, name)
            .with_context(|| format!("attach {program} to {provider}:{name} of {}", file.display()))?;
        self.links.push(link);
        Ok(())
    }

    /// Runs an iterator program once; what it wrote.
    pub fn iterate(&mut self, name: &str) -> Result<Vec<u8>> {
        let link = self
            .program(name)?
            .attach_iter_with_opts(IterOpts::None)
            .with_context(|| format!("attach {name}"))?;
        let mut out = Vec::new();
        Iter::new(&link)?.read_to_end(&mut out).with_context(|| format!("run {name}"))?;
        Ok(out)
    }

    /// What the kernel has behind open files: its own superblock and inode numbers.
    pub fn file_keys(&mut self, wanted: &[impl AsFd]) -> Result<Vec<Option<intf::file_key>>> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let answers = self.iterate("describe_fds")?;
        let by_fd: HashMap<u32, intf::file_key> = answers
            .chunks_exact(size_of::<intf::fd_answer>())
            .filter_map(read_as::<intf::fd_answer>)
            .map(|answer| (answer.fd, answer.key))
            .collect();
        Ok(wanted.iter().map(|file| by_fd.get(&(file.as_fd().as_raw_fd() as u32)).copied()).collect())
    }

    /// Likewise of one.
    pub fn file_key(&mut self, wanted: &File) -> Result<intf::file_key> {
        let key = self.file_keys(&[wanted])?.pop().flatten();
        key.ok_or_else(|| anyhow!("the kernel does not show a descriptor of this process"))
    }
}

fn infos(object: &mut Object) -> impl Iterator<Item = (String, libbpf_sys::bpf_prog_info)> {
    object.progs_mut().filter_map(|program| {
        let info = info(program.as_fd()).ok()?;
        Some((program.name().to_string_lossy().into_owned(), info))
    })
}

fn info(program: BorrowedFd<'_>) -> std::io::Result<libbpf_sys::bpf_prog_info> {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut len = size_of_val(&info) as u32;
    // SAFETY: the descriptor is open; `info` is plain data of the length that is given.
    let failed =
        unsafe { libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut len) };
    if failed == 0 { Ok(info) } else { Err(std::io::Error::last_os_error()) }
}

/// Does it without libbpf's own messages: what the caller makes of an error is all that is told.
pub fn quietly<T>(act: impl FnOnce() -> T) -> T {
    let tell = libbpf_rs::set_print(None);
    let result = act();
    libbpf_rs::set_print(tell);
    result
}

/// Adds up the counters over all processors, by number: as many system calls.
pub fn read_stats(map: &MapHandle) -> Vec<u64> {
    (0..intf::STAT_MAX).map(|which| read_stat(map, which)).collect()
}

/// Likewise one of them.
pub fn read_stat(map: &MapHandle, which: u32) -> u64 {
    let value = unpreempted(|| map.lookup_percpu(&which.to_ne_bytes(), MapFlags::ANY));
    let per_cpu = value.ok().flatten().unwrap_or_default();
    per_cpu.iter().filter_map(|v| read_as::<u64>(v)).sum()
}

#[cfg(test)]
mod tests {
    use super::{can_be_preempted, has_uprobe_multi};

    #[test]
    fn one_link_for_many_places_by_version() {
        for (release, has) in
            [("6.1.0-56-amd64", false), ("6.5.0", false), ("6.6.1", true), ("7.3.4+deb13-amd64", true)]
        {
            assert_eq!(has_uprobe_multi(release), has, "{release}");
        }
        assert!(!has_uprobe_multi(""));
    }

    #[test]
    fn programs_can_be_preempted_by_version() {
        for release in ["6.1.0-56-amd64", "6.12.117+deb12-amd64", "6.18.15", "5.15.0", ""] {
            assert!(!can_be_preempted(release), "{release}");
        }
        for release in ["6.19.2-amd64", "7.0", "7.3.4+deb13-amd64"] {
            assert!(can_be_preempted(release), "{release}");
        }
    }
}
