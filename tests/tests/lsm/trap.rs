//! Objects of one operation. What happened to them tells how often it was done.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use e2e::arena::{listen, make_fifo};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{Gid, Uid};

/// What is in every file that an attack reaches for.
const PRECIOUS: &[u8] = b"<?php /* precious */ return 1;\n";

/// The first one that a program may use; each is sent once, before the first is sent again.
const FIRST_SIGNAL: u32 = 34;

/// How many files the process may open whose limit is reached for.
const FILES: usize = 500;

/// Objects of one operation, in a folder of its name.
pub struct Trap {
    operation: String,
    folder: PathBuf,
    count: usize,
    kept: Kept,
}

/// What an operation reaches for that is no file.
enum Kept {
    Nothing,
    Tcp(TcpListener),
    Udp(UdpSocket),
    Unix(UnixListener),
    Fifo(File),
    Target(Target),
}

/// A process that leaves every signal pending.
pub struct Target(Child);

impl Target {
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: async-signal-safe calls on the child's own mask.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(nix::sys::signal::SigSet::all().thread_block()?)
            });
        }
        Self(command.spawn().expect("start a process to be signalled"))
    }

    fn status(&self, line: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("read its status");
        status.lines().find_map(|l| l.strip_prefix(line)).expect(line).trim().into()
    }

    fn limit_files(&self) {
        let limit = libc::rlimit { rlim_cur: FILES as u64, rlim_max: FILES as u64 };
        let pid = self.0.id() as i32;
        // SAFETY: a structure that outlives the call.
        let result =
            unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
        assert_eq!(result, 0, "limit a process");
    }

    fn file_limit(&self) -> usize {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        let pid = self.0.id() as i32;
        // SAFETY: likewise.
        let result = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limit) };
        assert_eq!(result, 0, "read the limits of a process");
        limit.rlim_cur as usize
    }

    /// Real-time signals that wait for it.
    fn pending(&self) -> usize {
        let mask = u64::from_str_radix(&self.status("ShdPnd:"), 16).expect("a number");
        (mask >> (FIRST_SIGNAL - 1)).count_ones() as usize
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Trap {
    /// In `folder/OPERATION`, of the user `owner`; what was there is gone. `php` is a PHP that may be signalled.
    pub fn set(folder: &Path, operation: &str, count: usize, owner: u32, php: &Path) -> Self {
        let folder = folder.join(operation);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("make a folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("open a folder");
        let own = |path: &Path, mode: u32| {
            nix::unistd::chown(path, Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner))).expect("chown");
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
        };
        let files = |suffix: &str, mode: u32, content: &[u8]| {
            for n in 0..count {
                let path = folder.join(format!("{n}{suffix}"));
                fs::write(&path, content).expect("write a file");
                own(&path, mode);
            }
        };
        let files_in = |name: &str| {
            for n in 0..count {
                fs::write(folder.join(name).join(n.to_string()), PRECIOUS).expect("write a file");
            }
        };
        let folders = |suffix: &str| {
            for n in 0..count {
                let path = folder.join(format!("{n}{suffix}"));
                fs::create_dir(&path).expect("make a folder");
                own(&path, 0o777);
            }
        };
        let mut kept = Kept::Nothing;
        match operation {
            "read" | "include" | "change" | "truncate_open" | "append" | "ftruncate" | "unlink"
            | "rename" | "link" | "touch" | "int80" | "uring" | "uring_async" | "setxattr" | "write_file"
            | "open_truncate" | "truncate" | "read_openat2" | "uring_sqpoll" | "fanotify"
            | "file_setattr" | "copy_range" | "fallocate" | "inotify" | "ioctl" => {
                files("", 0o666, PRECIOUS);
            }
            "race" => {
                for name in ["free", "kept"] {
                    e2e::arena::open_folder(&folder.join(name));
                    files_in(name);
                }
            }
            "removexattr" => {
                files("", 0o666, PRECIOUS);
                (0..count).for_each(|n| set_attribute(&folder.join(n.to_string())));
            }
            "chmod" => files("", 0o644, PRECIOUS),
            // A change of owner takes this bit away, also where nothing changes.
            "chown" => files("", 0o4755, PRECIOUS),
            "exchange" => {
                files("", 0o666, PRECIOUS);
                files(".other", 0o666, b"other");
            }
            "rmdir" | "unlinkat_dir" | "mount" | "chroot" | "open_tree" | "pivot_root" => folders(""),
            "umount" | "mount_setattr" | "move_mount" => {
                folders("");
                if operation == "move_mount" {
                    folders(".to");
                }
                for n in 0..count {
                    let none: Option<&str> = None;
                    mount(Some("e2e"), &folder.join(n.to_string()), Some("tmpfs"), MsFlags::empty(), none)
                        .expect("mount a tmpfs");
                }
            }
            of if Setting::of(of).is_some() => Setting::of(of).expect("a setting").reset(),
            "message_queue" => (0..count).for_each(|n| remove_queue(&queue(n))),
            "queue_remove" => (0..count).for_each(|n| make_queue(&queue_to_go(n), owner)),
            of if Ipc::of(of).is_some() => {
                let objects = Ipc::of(of).expect("a kind");
                (0..count).for_each(|n| objects.set(n, owner));
            }
            "stream" | "connect_inet" => kept = Kept::Tcp(listen()),
            "sendto" => {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
                socket.set_nonblocking(true).expect("do not wait");
                kept = Kept::Udp(socket);
            }
            "connect_unix" => {
                let path = folder.join("listener");
                let listener = UnixListener::bind(&path).expect("listen");
                own(&path, 0o777);
                listener.set_nonblocking(true).expect("do not wait");
                kept = Kept::Unix(listener);
            }
            "write" => kept = Kept::Fifo(make_fifo(&folder.join("fifo"))),
            "kill" | "kill_subject" | "sigqueue" | "pidfd_signal" | "ptrace" | "peek" | "prlimit"
            | "pidfd_open" | "renice" | "schedule" | "affinity" | "io_priority" | "move_pages" => {
                let mut command = if operation == "kill_subject" {
                    let mut command = Command::new(php);
                    command.args(["-n", "-r", "sleep(600);"]);
                    command
                } else {
                    let mut command = Command::new("/usr/bin/sleep");
                    command.arg("600");
                    command
                };
                // Of whom the kernel itself would not refuse.
                kept = Kept::Target(Target::start(command.uid(owner).gid(owner)));
                if let (Kept::Target(target), "prlimit") = (&kept, operation) {
                    target.limit_files();
                }
            }
            _ => {}
        }
        Self { operation: operation.into(), folder, count, kept }
    }

    /// The operation as an argument for `attack.php`.
    pub fn argument(&self) -> String {
        let extra = self.extra();
        if extra.is_empty() { self.operation.clone() } else { format!("{}={extra}", self.operation) }
    }

    /// What it needs to be told.
    pub fn extra(&self) -> String {
        match &self.kept {
            Kept::Tcp(listener) => listener.local_addr().expect("its address").port().to_string(),
            Kept::Udp(socket) => socket.local_addr().expect("its address").port().to_string(),
            Kept::Unix(_) => self.folder.join("listener").display().to_string(),
            Kept::Target(target) => target.0.id().to_string(),
            Kept::Nothing | Kept::Fifo(_) => String::new(),
        }
    }

    /// Where the objects are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How often the operation had its effect; `None` where only its return value tells.
    pub fn leaks(&self) -> Option<usize> {
        let at = |n: usize| self.folder.join(n.to_string());
        let count =
            |had_effect: &dyn Fn(&Path) -> bool| (0..self.count).filter(|n| had_effect(&at(*n))).count();
        let mode = |path: &Path| fs::metadata(path).expect("stat").mode() & 0o7777;
        let with = |path: &Path, suffix: &str| PathBuf::from(format!("{}{suffix}", path.display())).exists();
        let leaks = match &self.operation[..] {
            "read" | "include" | "socket_inet" | "socket_unix" | "bind_inet" | "listen" | "setuid"
            | "setgid" | "userfaultfd" | "add_key" | "traceme" | "ptrace" | "peek" | "socketpair" | "bpf"
            | "perf" | "namespace" | "unshare" | "chroot" | "read_openat2" | "capset" | "mmap_exec"
            | "mprotect_exec" | "uring_socket" | "memfd" | "pidfd_open" | "fanotify" | "vmsplice"
            | "personality" | "modify_ldt" | "seccomp" | "schedule" | "affinity" | "io_priority"
            | "move_pages" | "accept" | "inotify" | "fcntl" | "prctl" | "memfd_secret" | "setgroups"
            | "ioperm" | "iopl" | "vhangup" | "acct" | "kexec_load" | "fanotify_init" | "fsopen"
            | "open_tree" | "pivot_root" | "setns" => return None,
            "change" | "truncate_open" | "append" | "ftruncate" | "write_file" | "open_truncate"
            | "truncate" | "copy_range" | "fallocate" => {
                count(&|path| fs::read(path).expect("read") != PRECIOUS)
            }
            "exchange" => count(&|path| fs::read(path).expect("read") == b"other"),
            "race" => self.gone("kept"),
            "unlink" | "rmdir" | "unlinkat_dir" | "int80" | "uring" | "uring_async" | "uring_sqpoll" => {
                count(&|path| !path.exists())
            }
            "rename" => count(&|path| with(path, ".moved")),
            "link" => count(&|path| with(path, ".link")),
            "chmod" => count(&|path| mode(path) != 0o644),
            "chown" => count(&|path| mode(path) != 0o4755),
            "touch" => count(&|path| fs::metadata(path).expect("stat").mtime() == 12345),
            "setxattr" => count(&|path| has_attribute(path)),
            "removexattr" => count(&|path| !has_attribute(path)),
            "mount" => self.mounts(""),
            "mount_setattr" => self.mounts(" ro,"),
            "move_mount" => self.mounts(".to "),
            "message_queue" => (0..self.count).filter(|n| is_queue(&queue(*n))).count(),
            "queue_remove" => (0..self.count).filter(|n| !is_queue(&queue_to_go(*n))).count(),
            of if Ipc::of(of).is_some() => {
                return Ipc::of(of).expect("a kind").effects(self.count);
            }
            "file_setattr" | "ioctl" => count(&is_not_dumped),
            "prlimit" => match &self.kept {
                Kept::Target(target) => FILES - target.file_limit(),
                _ => 0,
            },
            "renice" => match &self.kept {
                // SAFETY: numbers only.
                Kept::Target(target) => unsafe {
                    libc::getpriority(libc::PRIO_PROCESS, target.0.id()) as usize
                },
                _ => 0,
            },
            "umount" => self.count - self.mounts(""),
            of if Setting::of(of).is_some() => {
                usize::from(Setting::of(of).expect("a setting").is_changed()) * self.count
            }
            "kill" | "kill_subject" | "sigqueue" | "pidfd_signal" => self.signals(),
            "stream" | "connect_inet" | "connect_unix" | "sendto" | "write" => self.received(),
            // Something is made.
            _ => count(&|path| path.symlink_metadata().is_ok()),
        };
        Some(leaks)
    }

    /// Files that are gone from this folder in its own.
    pub fn gone(&self, folder: &str) -> usize {
        self.count - fs::read_dir(self.folder.join(folder)).expect("read a folder").count()
    }

    fn received(&self) -> usize {
        match &self.kept {
            Kept::Tcp(listener) => std::iter::from_fn(|| listener.accept().ok()).count(),
            Kept::Unix(listener) => std::iter::from_fn(|| listener.accept().ok()).count(),
            Kept::Udp(socket) => std::iter::from_fn(|| socket.recv(&mut [0; 16]).ok()).count(),
            Kept::Fifo(fifo) => {
                let mut fifo = fifo;
                match fifo.read(&mut [0; 4096]) {
                    Ok(len) => len,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
                    Err(e) => panic!("read the pipe: {e}"),
                }
            }
            Kept::Nothing | Kept::Target(_) => 0,
        }
    }

    fn signals(&self) -> usize {
        match &self.kept {
            Kept::Target(target) => target.pending(),
            _ => 0,
        }
    }

    /// Mounts in its folder with this in their line.
    fn mounts(&self, with: &str) -> usize {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read the mounts");
        let below = format!(" {}/", self.folder.display());
        mounts.lines().filter(|line| line.contains(&below) && line.contains(with)).count()
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        if matches!(&self.operation[..], "mount" | "umount" | "mount_setattr" | "move_mount") {
            for n in 0..self.count {
                let _ = umount2(&self.folder.join(n.to_string()), MntFlags::MNT_DETACH);
                let _ = umount2(&self.folder.join(format!("{n}.to")), MntFlags::MNT_DETACH);
            }
        }
        match &self.operation[..] {
            "message_queue" => (0..self.count).for_each(|n| remove_queue(&queue(n))),
            "queue_remove" => (0..self.count).for_each(|n| remove_queue(&queue_to_go(n))),
            of => {
                if let Some(objects) = Ipc::of(of) {
                    (0..self.count).for_each(|n| objects.remove(n));
                }
            }
        }
    }
}

/// As `calls.c` names it.
fn queue(n: usize) -> std::ffi::CString {
    std::ffi::CString::new(format!("/e2e-lsm-{n}")).expect("a name")
}

/// Likewise: one that is there.
fn queue_to_go(n: usize) -> std::ffi::CString {
    std::ffi::CString::new(format!("/e2e-lsm-gone-{n}")).expect("a name")
}

fn is_queue(name: &CStr) -> bool {
    // SAFETY: a text that ends, and a descriptor that this has opened.
    unsafe {
        let queue = libc::mq_open(name.as_ptr(), libc::O_RDONLY);
        queue >= 0 && libc::mq_close(queue) == 0
    }
}

fn make_queue(name: &CStr, owner: u32) {
    remove_queue(name);
    // SAFETY: plain data, for which zero is a value.
    let mut small: libc::mq_attr = unsafe { std::mem::zeroed() };
    (small.mq_maxmsg, small.mq_msgsize) = (1, 1);
    // SAFETY: a text that ends, a structure that outlives the call, and a descriptor that this has opened.
    unsafe {
        let queue = libc::mq_open(name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600, &raw mut small);
        assert!(queue >= 0, "make a message queue: {}", std::io::Error::last_os_error());
        assert_eq!(libc::fchown(queue, owner, owner), 0, "give a message queue");
        libc::mq_close(queue);
    }
}

fn remove_queue(name: &CStr) {
    // SAFETY: a text that ends.
    unsafe { libc::mq_unlink(name.as_ptr()) };
}

/// System V objects of one operation, by keys as `calls.c` has them.
#[derive(Clone, Copy)]
struct Ipc {
    kind: Kind,
    /// Of [`VERBS`].
    verb: usize,
}

#[derive(Clone, Copy)]
enum Kind {
    Memory,
    Semaphores,
    Queue,
}

const VERBS: [&str; 7] = ["remove", "find", "make", "store", "up", "send", "receive"];

impl Ipc {
    fn of(operation: &str) -> Option<Self> {
        let (kind, what) = operation.split_once('_')?;
        let kind = match kind {
            "shm" => Kind::Memory,
            "sem" => Kind::Semaphores,
            "msg" => Kind::Queue,
            _ => return None,
        };
        Some(Self { kind, verb: VERBS.iter().position(|verb| *verb == what)? })
    }

    fn set(self, n: usize, owner: u32) {
        self.remove(n);
        if VERBS[self.verb] != "make" {
            self.make(n, owner);
        }
    }

    /// `None` where only the return value tells.
    fn effects(self, count: usize) -> Option<usize> {
        let there = (0..count).filter(|n| self.find(*n).is_some()).count();
        let values = || (0..count).map(|n| self.value(n)).sum::<usize>();
        match VERBS[self.verb] {
            "find" => None,
            "remove" => Some(count - there),
            "make" => Some(there),
            "receive" => Some(count - values()),
            // A message was there before.
            "send" => Some(values() - count),
            _ => Some(values()),
        }
    }

    /// Messages that wait, a semaphore, or what is stored.
    fn value(self, n: usize) -> usize {
        let id = self.find(n).expect("a System V object");
        // SAFETY: a structure that the kernel fills, and memory that is attached while it is read.
        unsafe {
            match self.kind {
                Kind::Memory => {
                    let memory = libc::shmat(id, std::ptr::null(), libc::SHM_RDONLY);
                    assert_ne!(memory as isize, -1, "attach memory");
                    let value = *memory.cast::<u8>();
                    libc::shmdt(memory);
                    usize::from(value)
                }
                Kind::Semaphores => libc::semctl(id, 0, libc::GETVAL) as usize,
                Kind::Queue => {
                    let mut about: libc::msqid_ds = std::mem::zeroed();
                    libc::msgctl(id, libc::IPC_STAT, &raw mut about);
                    about.msg_qnum as usize
                }
            }
        }
    }

    fn get(self, n: usize, flags: i32) -> Option<i32> {
        let key = 0xe2_f000 + (self.verb * 0x1000 + n) as i32;
        // SAFETY: numbers only.
        let id = unsafe {
            match self.kind {
                Kind::Memory => libc::shmget(key, if flags == 0 { 0 } else { 4096 }, flags),
                Kind::Semaphores => libc::semget(key, i32::from(flags != 0), flags),
                Kind::Queue => libc::msgget(key, flags),
            }
        };
        (id >= 0).then_some(id)
    }

    fn find(self, n: usize) -> Option<i32> {
        self.get(n, 0)
    }

    fn make(self, n: usize, owner: u32) {
        let id = self.get(n, libc::IPC_CREAT | 0o666).expect("make a System V object");
        // SAFETY: structures that the kernel has filled, and that outlive the calls.
        let result = unsafe {
            match self.kind {
                Kind::Memory => {
                    let mut about: libc::shmid_ds = std::mem::zeroed();
                    libc::shmctl(id, libc::IPC_STAT, &raw mut about);
                    about.shm_perm.uid = owner;
                    libc::shmctl(id, libc::IPC_SET, &raw mut about)
                }
                Kind::Semaphores => {
                    let mut about: libc::semid_ds = std::mem::zeroed();
                    libc::semctl(id, 0, libc::IPC_STAT, &raw mut about);
                    about.sem_perm.uid = owner;
                    libc::semctl(id, 0, libc::IPC_SET, &raw mut about)
                }
                Kind::Queue => {
                    let mut about: libc::msqid_ds = std::mem::zeroed();
                    libc::msgctl(id, libc::IPC_STAT, &raw mut about);
                    about.msg_perm.uid = owner;
                    libc::msgctl(id, libc::IPC_SET, &raw mut about)
                }
            }
        };
        assert_eq!(result, 0, "give a System V object: {}", std::io::Error::last_os_error());
        if let Kind::Queue = self.kind {
            let message: [u64; 2] = [1, 0];
            // SAFETY: a message of one byte behind its type.
            let sent = unsafe { libc::msgsnd(id, message.as_ptr().cast(), 1, libc::IPC_NOWAIT) };
            assert_eq!(sent, 0, "send a message: {}", std::io::Error::last_os_error());
        }
    }

    fn remove(self, n: usize) {
        let Some(id) = self.find(n) else { return };
        // SAFETY: numbers only.
        unsafe {
            match self.kind {
                Kind::Memory => libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()),
                Kind::Semaphores => libc::semctl(id, 0, libc::IPC_RMID),
                Kind::Queue => libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()),
            }
        };
    }
}

/// Whether it has the attribute that `calls.c` sets.
fn is_not_dumped(path: &Path) -> bool {
    const NODUMP: libc::c_long = 0x40;
    let file = File::open(path).expect("open a file");
    let mut flags: libc::c_long = 0;
    // SAFETY: an open descriptor, and room for what is asked for.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) };
    assert_eq!(result, 0, "read attributes: {}", std::io::Error::last_os_error());
    flags & NODUMP != 0
}

const ATTRIBUTE: &CStr = c"trusted.e2e";

fn has_attribute(path: &Path) -> bool {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).expect("a path");
    // SAFETY: two texts that end, and no buffer.
    unsafe { libc::getxattr(path.as_ptr(), ATTRIBUTE.as_ptr(), std::ptr::null_mut(), 0) >= 0 }
}

fn set_attribute(path: &Path) {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).expect("a path");
    // SAFETY: two texts that end, and a byte that outlives the call.
    let result = unsafe { libc::setxattr(path.as_ptr(), ATTRIBUTE.as_ptr(), c"x".as_ptr().cast(), 1, 0) };
    assert_eq!(result, 0, "set an attribute: {}", std::io::Error::last_os_error());
}

/// What there is one of on the machine, or in this suite's own name space. `calls.c` sets each to one value.
#[derive(Clone, Copy)]
enum Setting {
    HostName,
    DomainName,
    ConsoleLevel,
    TimeZone,
    AtomicTime,
    KeysRestart,
}

impl Setting {
    fn of(operation: &str) -> Option<Self> {
        Some(match operation {
            "hostname" => Self::HostName,
            "domain_name" => Self::DomainName,
            "syslog" => Self::ConsoleLevel,
            "time_zone" => Self::TimeZone,
            "adjtimex" | "clock_adjtime" => Self::AtomicTime,
            "reboot" => Self::KeysRestart,
            _ => return None,
        })
    }

    /// Its file below `/proc/sys/kernel`, and what is in it before.
    const fn file(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::HostName => Some(("hostname", "before")),
            Self::DomainName => Some(("domainname", "before")),
            Self::ConsoleLevel => Some(("printk", "4")),
            Self::KeysRestart => Some(("ctrl-alt-del", "0")),
            Self::TimeZone | Self::AtomicTime => None,
        }
    }

    fn reset(self) {
        if let Some((name, before)) = self.file() {
            fs::write(format!("/proc/sys/kernel/{name}"), before).expect("set what it is before");
        } else if let Self::TimeZone = self {
            set_time_zone(0);
        } else {
            atomic_time(Some(0));
        }
    }

    fn is_changed(self) -> bool {
        if let Some((name, before)) = self.file() {
            let text = fs::read_to_string(format!("/proc/sys/kernel/{name}")).expect("read a setting");
            text.split_ascii_whitespace().next() != Some(before)
        } else if let Self::TimeZone = self {
            time_zone() != 0
        } else {
            atomic_time(None) != 0
        }
    }
}

/// As `calls.c` has it: the part that moves no clock.
fn time_zone() -> libc::c_int {
    let mut zone = [0; 2];
    // SAFETY: room for what is asked for.
    unsafe { libc::syscall(libc::SYS_gettimeofday, 0, zone.as_mut_ptr()) };
    zone[1]
}

fn set_time_zone(kind: libc::c_int) {
    let zone = [0, kind];
    // SAFETY: a structure of two numbers that outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_settimeofday, 0, zone.as_ptr()) };
    assert_eq!(result, 0, "set the time zone: {}", std::io::Error::last_os_error());
}

/// The offset of atomic time, which is set first where that is asked for.
fn atomic_time(set: Option<libc::c_long>) -> libc::c_int {
    // SAFETY: plain data, for which zero is a value.
    let mut time: libc::timex = unsafe { std::mem::zeroed() };
    if let Some(offset) = set {
        (time.modes, time.constant) = (libc::ADJ_TAI, offset);
    }
    // SAFETY: a structure that outlives the call.
    let result = unsafe { libc::adjtimex(&raw mut time) };
    assert!(result >= 0, "read the clock: {}", std::io::Error::last_os_error());
    time.tai
}
