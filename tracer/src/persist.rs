//! `--persist`: links, programs and maps pinned, so that enforcement goes on without a tracer.
//!
//! Everything is pinned twice: in the bpffs of the system, and in one of our own, so that an `umount` of the
//! first does not end it. A later session adopts what it finds: its own programs are loaded onto the same maps
//! and attached while the old ones act; then one store makes them act in their place.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use libbpf_rs::{MapHandle, libbpf_sys};
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use shared::intf;

use crate::cli::hinted;
use crate::kernel::{bytes_of, read_as};
use crate::maps::MapCalls;
use crate::switch::Switch;
use crate::tables::wait_for_decisions;

/// The bpffs of the system.
const SYSTEM: &str = "/sys/fs/bpf";
/// A bpffs has no dots in names.
const FOLDER: &str = "php-tracer";
/// Our own: another instance, which an `umount` of the first does not touch.
const OWN: &str = "/run/php-tracer/bpf";
const RUN: &str = "/run/php-tracer";
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// Who can leave something: strategies that decide in the kernel.
const TITLES: [&str; 3] = ["phase2-kernel-kill", "phase3-lsm", "phase3-lsm --lsm"];

/// Folders that no subject may reach for.
pub const FOLDERS: [&str; 2] = ["/sys/fs/bpf/php-tracer", RUN];

/// The pins of one strategy, held by one session at a time.
pub struct Pins {
    name: &'static str,
    _lock: Flock<fs::File>,
}

/// What an earlier session left.
pub struct Found {
    /// The key of its ids.
    pub hash_key: [u64; 2],
    /// Which of the loaded objects acts.
    pub instance: u32,
    /// Which generation decides.
    pub generation: u32,
}

impl Pins {
    /// Takes hold of them.
    ///
    /// Errors: another session holds them; no bpffs can be had.
    pub fn hold(name: &'static str) -> Result<Self> {
        make_folder(Path::new(RUN))?;
        let path = Path::new(RUN).join(format!("{name}.lock"));
        let file = fs::File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
            hinted(
                "another session keeps its enforcement alive already",
                format!("ask it: {} ctl status", name.split(' ').next().unwrap_or(name)),
            )
        })?;
        for at in [SYSTEM, OWN] {
            ensure_bpffs(Path::new(at))?;
        }
        Ok(Self { name, _lock: lock })
    }

    /// Strategies but `name`, whose earlier sessions left something.
    pub fn others(name: &str) -> impl Iterator<Item = &'static str> {
        TITLES.into_iter().filter(move |other| *other != name && Self::exist(other))
    }

    /// Whether an earlier session left something, without taking hold of it.
    pub fn exist(name: &str) -> bool {
        roots(name).iter().any(|root| root.exists())
    }

    fn roots(&self) -> [PathBuf; 2] {
        roots(self.name)
    }

    /// Where libbpf is to find or to pin the maps.
    pub fn place_of_maps(&self) -> Result<PathBuf> {
        let maps = self.maps();
        make_folder(&maps)?;
        Ok(maps)
    }

    fn maps(&self) -> PathBuf {
        let [first, second] = self.roots().map(|root| root.join("maps"));
        // The first may have been unmounted since.
        if second.exists() && !first.exists() { second } else { first }
    }

    /// What there is to adopt; the caller is its protected tracer from here on.
    ///
    /// Errors: another version left it. It enforces as before.
    pub fn found(&self) -> Result<Option<Found>> {
        if !Self::exist(self.name) {
            return Ok(None);
        }
        if !self.roots().iter().any(|root| objects(root).next().is_some()) {
            // Of a start that died before anything acted.
            self.remove()?;
            for at in [SYSTEM, OWN] {
                ensure_bpffs(Path::new(at))?;
            }
            return Ok(None);
        }
        let incompatible = |why: String| self.incompatible(&why);
        let open = |map: &str| {
            MapHandle::from_pinned_path(self.maps().join(map))
                .map_err(|e| incompatible(format!("{map}: {e}")))
        };
        let switch = Switch::new(&open("control")?)?;
        let before = switch.set_tracer(std::process::id());
        let identity = open("identity").and_then(|map| {
            let value = map.get(&0u32.to_ne_bytes()).ok().flatten();
            let identity = value.and_then(|v| read_as::<intf::identity>(&v));
            match identity {
                Some(found) if found.format == intf::PERSIST_FORMAT => Ok(found),
                Some(found) => {
                    Err(incompatible(format!("its format is {}, not {}", found.format, intf::PERSIST_FORMAT)))
                }
                None => Err(incompatible("its identity cannot be read".into())),
            }
        });
        match identity {
            Ok(identity) => Ok(Some(Found {
                hash_key: identity.hash_key,
                instance: switch.instance(),
                generation: switch.generation(),
            })),
            Err(error) => {
                switch.set_tracer(before);
                Err(error)
            }
        }
    }

    /// Why what was left is not adopted.
    pub fn incompatible(&self, why: &str) -> anyhow::Error {
        hinted(
            format!("what an earlier session left cannot be adopted: {why}; it goes on enforcing"),
            format!("go on with the version that left it, or end it: {} --unpersist", self.name),
        )
    }

    /// No tracer any more: what was left goes on without one.
    pub fn let_go(&self) {
        if let Some(switch) = self.switch() {
            switch.set_tracer(0);
        }
    }

    /// Says whose maps these are; before anything else is written into them.
    pub fn sign(identity: &MapHandle, hash_key: [u64; 2]) -> Result<()> {
        let own = intf::identity { format: intf::PERSIST_FORMAT, pad: 0, hash_key };
        identity.put(&0u32.to_ne_bytes(), bytes_of(&own))?;
        Ok(())
    }

    /// Pins what the object of this number needs, beside what an earlier one has.
    pub fn pin(
        &self,
        instance: u32,
        parts: &[(String, BorrowedFd<'_>)],
        maps: &[(String, MapHandle)],
    ) -> Result<()> {
        for root in self.roots() {
            let folder = root.join(format!("object-{instance}"));
            make_folder(&root.join("maps"))?;
            make_folder(&folder)?;
            for (name, map) in maps {
                pin(map.as_fd().as_raw_fd(), &root.join("maps").join(name))?;
            }
            for (name, fd) in parts {
                pin(fd.as_raw_fd(), &folder.join(name))?;
            }
        }
        Ok(())
    }

    /// Lets go of the object of this number: of a start that died, its pins would stand for ours.
    pub fn forget(&self, instance: u32) -> Result<()> {
        self.roots().iter().try_for_each(|root| remove(&root.join(format!("object-{instance}"))))
    }

    /// A number that no object has, nor one that died before it acted.
    pub fn next_instance(&self, found: &Found) -> u32 {
        let pinned = self.roots().into_iter().flat_map(|root| objects(&root).collect::<Vec<_>>());
        let numbers = pinned.filter_map(|name| name.strip_prefix("object-")?.parse().ok());
        numbers.chain([found.instance]).max().unwrap_or(0).wrapping_add(1).max(1)
    }

    /// Lets go of all objects but that of this number, none of which is still deciding.
    pub fn keep_only(&self, instance: u32) -> Result<()> {
        wait_for_decisions();
        for root in self.roots() {
            for name in objects(&root).filter(|name| *name != format!("object-{instance}")) {
                remove(&root.join(name))?;
            }
        }
        Ok(())
    }

    fn switch(&self) -> Option<Switch> {
        let control = MapHandle::from_pinned_path(self.maps().join("control")).ok()?;
        Switch::new(&control).ok()
    }

    /// Removes all pins; what ended is waited for.
    pub fn remove(&self) -> Result<()> {
        // Links end in no order: a hook that still runs, but nobody decides for, would deny.
        let acting = self.switch().map(|switch| (switch.instance(), switch));
        if let Some((instance, switch)) = &acting {
            switch.end_acting(*instance);
        }
        let removed = self.remove_pins();
        if let (Some((instance, switch)), Err(_)) = (&acting, &removed) {
            switch.set_instance(*instance); // what is left goes on
        }
        removed
    }

    fn remove_pins(&self) -> Result<()> {
        let links = self.roots().iter().flat_map(|root| link_ids(root)).collect::<Vec<u32>>();
        for root in self.roots() {
            remove(&root)?;
        }
        let _ = fs::remove_dir(Path::new(SYSTEM).join(FOLDER)); // of other strategies too: stays where they are
        // A bpffs has files of its own.
        let is_folder = |entry: std::io::Result<fs::DirEntry>| entry.is_ok_and(|e| e.path().is_dir());
        if fs::read_dir(OWN).is_ok_and(|mut left| !left.any(is_folder)) {
            let _ = umount2(OWN, MntFlags::MNT_DETACH);
            let _ = fs::remove_dir(OWN);
        }
        wait_for_end(&links);
        Ok(())
    }
}

/// `--unpersist`; whether there was anything.
pub fn unpersist(name: &'static str) -> Result<bool> {
    if !Pins::exist(name) {
        return Ok(false);
    }
    Pins::hold(name)?.remove()?;
    Ok(true)
}

fn roots(title: &str) -> [PathBuf; 2] {
    let name = title.replace(' ', "");
    [Path::new(SYSTEM).join(FOLDER).join(&name), Path::new(OWN).join(&name)]
}

fn make_folder(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("create {}", path.display()))?;
    // Made by us just now, or by somebody who left it open: root's alone in any case.
    if path.starts_with(RUN) || path.ancestors().any(|p| p.ends_with(FOLDER)) {
        let ours = path.ancestors().take_while(|p| *p != Path::new("/run") && *p != Path::new(SYSTEM));
        for folder in ours {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        }
    }
    Ok(())
}

fn is_bpffs(path: &Path) -> bool {
    nix::sys::statfs::statfs(path).is_ok_and(|s| s.filesystem_type().0 == BPF_FS_MAGIC)
}

fn ensure_bpffs(at: &Path) -> Result<()> {
    if is_bpffs(at) {
        return Ok(());
    }
    if at.starts_with(RUN) {
        make_folder(at)?;
    }
    mount(
        Some("bpf"),
        at,
        Some("bpf"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        Some("mode=0700"),
    )
    .map_err(|e| {
        hinted(format!("no bpffs at {}: {e}", at.display()), format!("mount -t bpf bpf {}", at.display()))
    })
}

fn pin(fd: RawFd, at: &Path) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    if at.exists() {
        return Ok(());
    }
    let path = std::ffi::CString::new(at.as_os_str().as_bytes())?;
    // SAFETY: the descriptor is open, the path is a C string that outlives the call.
    let failed = unsafe { libbpf_sys::bpf_obj_pin(fd, path.as_ptr()) };
    if failed != 0 {
        return Err(std::io::Error::last_os_error()).with_context(|| format!("pin {}", at.display()));
    }
    Ok(())
}

fn remove(at: &Path) -> Result<()> {
    match fs::remove_dir_all(at) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(e).with_context(|| format!("remove {}", at.display()))
        }
        _ => Ok(()),
    }
}

/// Names of the objects that have something pinned.
fn objects(root: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries.map(|e| e.file_name().to_string_lossy().into_owned()).filter(|name| name.starts_with("object-"))
}

/// Ids of the links below a folder.
fn link_ids(root: &Path) -> Vec<u32> {
    let objects = fs::read_dir(root).into_iter().flatten().flatten();
    let pins = objects.flat_map(|o| fs::read_dir(o.path()).into_iter().flatten().flatten());
    let links = pins.filter(|p| p.file_name().to_string_lossy().starts_with("link-"));
    links.filter_map(|p| link_id(&p.path())).collect()
}

fn link_id(pin: &Path) -> Option<u32> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(pin.as_os_str().as_bytes()).ok()?;
    // SAFETY: a C string; a non-negative result is a descriptor that is ours.
    let fd = unsafe { libbpf_sys::bpf_obj_get(path.as_ptr()) };
    if fd < 0 {
        return None;
    }
    // SAFETY: as above.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut info = libbpf_sys::bpf_link_info::default();
    let mut len = size_of_val(&info) as u32;
    // SAFETY: the descriptor is open; `info` is plain data of the length that is given.
    let failed = unsafe { libbpf_sys::bpf_link_get_info_by_fd(fd.as_raw_fd(), &raw mut info, &raw mut len) };
    (failed == 0).then_some(info.id)
}

/// The kernel lets go of a link some time after its last reference.
fn wait_for_end(links: &[u32]) {
    const PATIENCE: Duration = Duration::from_secs(5);
    let until = Instant::now() + PATIENCE;
    for id in links {
        while Instant::now() < until {
            // SAFETY: a plain integer; a non-negative result is a descriptor that is ours.
            let fd = unsafe { libbpf_sys::bpf_link_get_fd_by_id(*id) };
            if fd < 0 {
                break;
            }
            // SAFETY: as above.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
