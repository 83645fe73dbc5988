//! What an attempt reaches for, and how often it got there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use e2e::arena::{Target, listen, make_fifo, open_folder};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::world::USER;

/// Objects that one attack reaches for.
const OBJECTS: usize = 40;
/// Signals that can be told apart.
const SIGNALS: usize = 30;
/// As many datagrams as wait for a socket of this kind.
const LETTERS: usize = 8;
/// What a process can be at most.
const NICEST: usize = 19;
const FIRST_SEGMENT: i32 = 0xe2_e000;
const CONTENT: &[u8] = b"precious";

/// What is there to be reached for, for one effect.
pub struct Trap {
    folder: PathBuf,
    effect: String,
    /// What the effect is about, where it is one thing.
    name: Option<String>,
    /// How many.
    pub count: usize,
    fifo: Option<File>,
    holds: Holds,
    /// The process to be reached for instead of one of the trap's own.
    pub instead: Option<u32>,
}

/// What has to live as long as the trap.
enum Holds {
    Nothing,
    Stream(TcpListener),
    Datagrams(UdpSocket),
    Letters(UnixDatagram, String),
    Target(Target),
    Prey(Child),
    Segments(Vec<i32>),
    Shared(Shared),
    Daemon(UnixListener),
    Script { path: PathBuf, inode: u64 },
    Pins(Vec<PathBuf>),
}

impl Drop for Trap {
    fn drop(&mut self) {
        match &mut self.holds {
            Holds::Prey(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Holds::Segments(ids) => ids.iter().for_each(|id| remove_segment(*id)),
            Holds::Nothing if self.effect == "queues" => (0..self.count).for_each(remove_queue),
            _ => {}
        }
    }
}

/// What an attempt of root's left.
fn unmount(folder: &Path) {
    for n in 0..OBJECTS {
        while umount2(&folder.join(n.to_string()), MntFlags::MNT_DETACH).is_ok() {}
    }
}

fn remove_segment(id: i32) {
    // SAFETY: removing needs no buffer; of what is gone already it fails.
    unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) };
}

/// Shared memory of System V, the attacker's own as far as the kernel goes.
fn make_segment(number: usize) -> i32 {
    // SAFETY: plain calls; the buffer is a local one.
    unsafe {
        let key = FIRST_SEGMENT + number as i32;
        let old = libc::shmget(key, 0, 0);
        if old >= 0 {
            remove_segment(old);
        }
        let id = libc::shmget(key, 4096, 0o666 | libc::IPC_CREAT);
        assert!(id >= 0, "shmget: {}", std::io::Error::last_os_error());
        let mut about: libc::shmid_ds = std::mem::zeroed();
        assert_eq!(libc::shmctl(id, libc::IPC_STAT, &raw mut about), 0);
        about.shm_perm.uid = USER;
        assert_eq!(libc::shmctl(id, libc::IPC_SET, &raw mut about), 0);
        id
    }
}

fn segment_is_there(id: i32) -> bool {
    // SAFETY: the buffer is a local one.
    unsafe {
        let mut about: libc::shmid_ds = std::mem::zeroed();
        libc::shmctl(id, libc::IPC_STAT, &raw mut about) == 0
    }
}

/// The queue of this number, if it is there.
fn queue(number: usize) -> Option<i32> {
    // SAFETY: numbers only.
    let id = unsafe { libc::msgget(FIRST_SEGMENT + number as i32, 0) };
    (id >= 0).then_some(id)
}

fn remove_queue(number: usize) {
    if let Some(id) = queue(number) {
        // SAFETY: removing needs no buffer.
        unsafe { libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}

/// One System V object that everybody may use, removed at the end.
enum Shared {
    Queue(i32),
    Semaphore(i32),
    Memory(i32),
}

impl Shared {
    fn made(effect: &str) -> Self {
        let flags = libc::IPC_CREAT | 0o666;
        // SAFETY: numbers only.
        let (id, made) = unsafe {
            match effect {
                "messages" => (libc::msgget(libc::IPC_PRIVATE, flags), Self::Queue as fn(i32) -> Self),
                "semaphores" => (libc::semget(libc::IPC_PRIVATE, 1, flags), Self::Semaphore as _),
                _ => (libc::shmget(libc::IPC_PRIVATE, 4096, flags), Self::Memory as _),
            }
        };
        assert!(id >= 0, "make a System V object: {}", std::io::Error::last_os_error());
        made(id)
    }

    fn id(&self) -> i32 {
        match self {
            Self::Queue(id) | Self::Semaphore(id) | Self::Memory(id) => *id,
        }
    }

    fn effects(&self) -> usize {
        // SAFETY: plain data that the kernel fills, and memory that is attached while it is read.
        unsafe {
            match self {
                Self::Queue(id) => {
                    let mut about: libc::msqid_ds = std::mem::zeroed();
                    assert_eq!(libc::msgctl(*id, libc::IPC_STAT, &raw mut about), 0);
                    about.msg_qnum as usize
                }
                Self::Semaphore(id) => libc::semctl(*id, 0, libc::GETVAL) as usize,
                Self::Memory(id) => {
                    let memory = libc::shmat(*id, std::ptr::null(), libc::SHM_RDONLY);
                    assert_ne!(memory as isize, -1, "attach memory");
                    let bytes = std::slice::from_raw_parts(memory.cast::<u8>(), 4096);
                    let stored = bytes.iter().filter(|byte| **byte != 0).count();
                    libc::shmdt(memory);
                    stored
                }
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: removing needs no buffer.
        unsafe {
            match self {
                Self::Queue(id) => libc::msgctl(*id, libc::IPC_RMID, std::ptr::null_mut()),
                Self::Semaphore(id) => libc::semctl(*id, 0, libc::IPC_RMID),
                Self::Memory(id) => libc::shmctl(*id, libc::IPC_RMID, std::ptr::null_mut()),
            }
        };
    }
}

impl Trap {
    /// For an effect (`gone`, `made sess_0`); what was in the folder is gone.
    pub fn set(root: &Path, effect: &str) -> Self {
        let folder = root.join("traps");
        unmount(&folder);
        let _ = fs::remove_dir_all(&folder);
        open_folder(&folder);
        let (word, name) = effect.split_once(' ').map_or((effect, None), |(w, name)| (w, Some(name.into())));
        let count = match word {
            "signals" => SIGNALS,
            "letters" => LETTERS,
            "nice" => NICEST,
            "script" | "linked" | "job" | "stopped" => 1,
            _ if name.is_some() => 1,
            _ => OBJECTS,
        };
        let mut trap = Self {
            folder,
            effect: word.into(),
            name,
            count,
            fifo: None,
            holds: Holds::Nothing,
            instead: None,
        };
        trap.fill(root);
        trap
    }

    fn fill(&mut self, root: &Path) {
        match &self.effect[..] {
            "made" => {}
            "queues" => (0..self.count).for_each(remove_queue),
            "messages" | "semaphores" | "stores" => self.holds = Holds::Shared(Shared::made(&self.effect)),
            "gone" | "changed" | "mode" | "times" | "xattr" => (0..self.count).for_each(|n| self.put(n)),
            "signals" => self.holds = Holds::Target(Target::start(USER)),
            "stopped" => self.holds = Holds::Target(Target::start(0)),
            "connections" => self.holds = Holds::Stream(listen()),
            "datagrams" => self.holds = Holds::Datagrams(receiver()),
            "letters" => self.holds = letters(),
            "segments" => self.holds = Holds::Segments((0..self.count).map(make_segment).collect()),
            "job" => self.holds = Holds::Daemon(daemon(&self.folder)),
            "script" | "linked" => self.holds = script(root),
            "pins" => {
                let pins = pins();
                self.count = pins.len();
                self.holds = Holds::Pins(pins);
            }
            "bytes" | "prey" | "nice" => {
                self.fifo = Some(make_fifo(&self.folder.join("fifo")));
                (0..self.count).for_each(|n| drop(open_folder(&self.folder.join(n.to_string()))));
                self.holds = Holds::Prey(prey(root, &self.folder));
            }
            other => panic!("no effect is called `{other}`"),
        }
    }

    /// A file, and beside it one to be swapped with.
    fn put(&self, n: usize) {
        for (name, content) in [(n.to_string(), CONTENT), (format!("{n}.other"), b"other")] {
            let file = self.folder.join(name);
            fs::write(&file, content).expect("write a file");
            chown(&file, Some(USER), Some(USER)).expect("give a file");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o4666)).expect("open a file");
        }
    }

    /// Empty folders instead, for who removes those.
    pub fn with_folders(&self) {
        for n in 0..self.count {
            let path = self.folder.join(n.to_string());
            fs::remove_file(&path).expect("remove a file");
            open_folder(&path);
        }
    }

    /// The last argument of an attempt.
    pub fn extra(&self, root: &Path) -> String {
        match &self.holds {
            Holds::Stream(listener) => listener.local_addr().expect("its address").port().to_string(),
            Holds::Datagrams(socket) => socket.local_addr().expect("its address").port().to_string(),
            Holds::Letters(_, name) => name.clone(),
            Holds::Target(target) => self.instead.unwrap_or(target.id()).to_string(),
            Holds::Prey(child) => child.id().to_string(),
            Holds::Shared(object) => object.id().to_string(),
            Holds::Pins(pins) => {
                pins.iter().map(|pin| pin.display().to_string()).collect::<Vec<_>>().join("\n")
            }
            _ if self.instead.is_some() => self.instead.unwrap_or_default().to_string(),
            _ => root.join("unlearnt").display().to_string(),
        }
    }

    /// What is not an attacker's, though it is of the same user.
    pub fn innocents(&self) -> BTreeSet<u32> {
        match &self.holds {
            Holds::Target(target) => BTreeSet::from([target.id()]),
            Holds::Prey(child) => BTreeSet::from([child.id()]),
            _ => BTreeSet::new(),
        }
    }

    /// Effects. What is counted is consumed.
    pub fn effects(&self) -> usize {
        let file = |n: usize| self.folder.join(self.name.clone().unwrap_or_else(|| n.to_string()));
        let count = |had: &dyn Fn(&Path) -> bool| (0..self.count).filter(|n| had(&file(*n))).count();
        match (&self.effect[..], &self.holds) {
            ("made", _) => count(&|path| path.symlink_metadata().is_ok()),
            ("gone", _) => count(&|path| !path.exists()),
            ("changed", _) => count(&|path| fs::read(path).is_ok_and(|content| content != CONTENT)),
            ("mode", _) => count(&|path| path.metadata().is_ok_and(|about| about.mode() & 0o7777 != 0o4666)),
            ("times", _) => count(&|path| path.metadata().is_ok_and(|about| about.mtime() == 1)),
            ("xattr", _) => count(&has_attribute),
            ("bytes", _) => self.bytes(),
            // SAFETY: numbers only.
            ("nice", Holds::Prey(child)) => unsafe {
                libc::getpriority(libc::PRIO_PROCESS, child.id()) as usize
            },
            ("queues", _) => (0..self.count).filter(|n| queue(*n).is_some()).count(),
            (_, Holds::Shared(object)) => object.effects(),
            ("stopped", Holds::Target(target)) => {
                usize::from(was_stopped(self.instead.unwrap_or(target.id())))
            }
            (_, Holds::Pins(pins)) => pins.iter().filter(|pin| pin.symlink_metadata().is_err()).count(),
            ("prey", _) => words(&self.folder.join("prey")),
            (_, Holds::Target(target)) => target.signalled(),
            (_, Holds::Stream(listener)) => std::iter::from_fn(|| listener.accept().ok()).count(),
            (_, Holds::Datagrams(socket)) => {
                let mut bytes = [0; 16];
                std::iter::from_fn(|| socket.recv(&mut bytes).ok()).count()
            }
            (_, Holds::Letters(socket, _)) => {
                let mut bytes = [0; 16];
                std::iter::from_fn(|| socket.recv(&mut bytes).ok()).count()
            }
            (_, Holds::Segments(ids)) => ids.iter().filter(|id| !segment_is_there(**id)).count(),
            (_, Holds::Daemon(listener)) => usize::from(self.has_job(listener)),
            ("linked", Holds::Script { path, .. }) => {
                usize::from(path.parent().is_some_and(Path::is_symlink))
            }
            (_, Holds::Script { path, inode }) => {
                let is_same = path.metadata().is_ok_and(|about| about.ino() == *inode);
                usize::from(!is_same || fs::read(path).ok() != fs::read(original()).ok())
            }
            (other, _) => panic!("no effect is called `{other}`"),
        }
    }

    fn bytes(&self) -> usize {
        let mut bytes = [0; 4096];
        match self.fifo.as_ref().expect("a pipe").read(&mut bytes) {
            Ok(len) => len,
            Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
            Err(e) => panic!("read the pipe: {e}"),
        }
    }

    /// Left in a file, or said over the socket.
    fn has_job(&self, listener: &UnixListener) -> bool {
        let mut said = fs::read_to_string(self.folder.join("job")).unwrap_or_default();
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read_to_string(&mut said);
        }
        said.contains("purge")
    }
}

fn receiver() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_nonblocking(true).expect("do not wait");
    socket
}

fn letters() -> Holds {
    let name = format!("e2e-bypass-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("an address");
    let socket = UnixDatagram::bind_addr(&address).expect("bind a socket");
    socket.set_nonblocking(true).expect("do not wait");
    Holds::Letters(socket, name)
}

fn daemon(folder: &Path) -> UnixListener {
    let path = folder.join("daemon");
    let listener = UnixListener::bind(&path).expect("listen");
    listener.set_nonblocking(true).expect("do not wait");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("open a socket");
    listener
}

fn original() -> PathBuf {
    e2e::bypass::folder().join("page.php")
}

/// By then the tracer knows which file a script is that has been replaced.
const LOOKED_AGAIN: Duration = Duration::from_millis(2500);

/// Its inode when it was last put back.
static SCRIPT: AtomicU64 = AtomicU64::new(0);

/// The script that everybody may write, put back as it was. Its inode stays, where it is there.
fn script(root: &Path) -> Holds {
    let open = root.join("area/open");
    if open.is_symlink() {
        fs::remove_file(&open).expect("remove a link");
    }
    let folder = open_folder(&open);
    chown(&folder, Some(USER), Some(USER)).expect("give a folder");
    let (path, other) = (folder.join("page.php"), folder.join("other-name"));
    let text = fs::read(original()).expect("read a script");
    fs::write(&path, text).expect("write a script");
    chown(&path, Some(USER), Some(USER)).expect("give a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("open a script");
    let _ = fs::remove_file(&other);
    fs::hard_link(&path, &other).expect("link a script");
    let inode = path.metadata().expect("its inode").ino();
    if SCRIPT.swap(inode, Ordering::Relaxed) != inode {
        std::thread::sleep(LOOKED_AGAIN);
    }
    Holds::Script { path, inode }
}

/// A process that can be reached for, started by nobody who is watched.
fn prey(root: &Path, folder: &Path) -> Child {
    let words = folder.join("prey");
    fs::write(&words, [0; 4096]).expect("write a file");
    chown(&words, Some(USER), Some(USER)).expect("give a file");
    let mut command = Command::new(root.join("ways-prey"));
    command.args(["prey".as_ref(), folder]).uid(USER).gid(USER);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = e2e::session::ends_with_test(&mut command).spawn().expect("start a program");
    let mut said = String::new();
    let stdout = child.stdout.take().expect("stdout is piped");
    BufReader::new(stdout).read_line(&mut said).expect("read");
    assert_eq!(said, "ready\n", "there is nothing to reach for");
    child
}

/// Where pins are.
const PINNED: &str = "/sys/fs/bpf/php-tracer";

/// Those of the session that persists; where there is none, links in their place.
fn pins() -> Vec<PathBuf> {
    let below = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut found = below(Path::new(PINNED));
    while found.iter().any(|path| path.is_dir()) {
        let (folders, files): (Vec<_>, Vec<_>) = found.into_iter().partition(|path| path.is_dir());
        found = files.into_iter().chain(folders.iter().flat_map(|folder| below(folder))).collect();
    }
    if found.is_empty() {
        let folder = Path::new(PINNED).join("e2e");
        fs::create_dir_all(&folder).expect("make a folder of pins");
        found = (0..OBJECTS).map(|n| folder.join(n.to_string())).collect();
        for pin in &found {
            std::os::unix::fs::symlink("/nowhere", pin).expect("make a link");
        }
    }
    found
}

/// What [`pins`] made.
pub fn remove_pins() {
    let folder = Path::new(PINNED).join("e2e");
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let _ = fs::remove_file(entry.path());
    }
    let _ = fs::remove_dir(folder);
    let _ = fs::remove_dir(PINNED);
}

/// It goes on.
fn was_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let _ = kill(Pid::from_raw(pid as i32), Signal::SIGCONT);
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}

/// Words that are not as they were.
fn words(path: &Path) -> usize {
    let bytes = fs::read(path).expect("read a file");
    bytes.chunks(4).filter(|word| word.iter().any(|byte| *byte != 0)).count()
}

fn has_attribute(path: &Path) -> bool {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).expect("a path");
    // SAFETY: both are strings that end; nothing is written.
    unsafe { libc::getxattr(path.as_ptr(), c"user.e2e".as_ptr(), std::ptr::null_mut(), 0) >= 0 }
}
