//! Objects of one operation. What happened to them tells how often it was done.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, UdpSocket};
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
        let folders = || {
            for n in 0..count {
                let path = folder.join(n.to_string());
                fs::create_dir(&path).expect("make a folder");
                own(&path, 0o777);
            }
        };
        let mut kept = Kept::Nothing;
        match operation {
            "read" | "include" | "change" | "truncate_open" | "append" | "ftruncate" | "unlink"
            | "rename" | "link" | "touch" | "int80" | "uring" | "uring_async" | "setxattr" | "write_file"
            | "open_truncate" | "truncate" | "read_openat2" | "uring_sqpoll" => {
                files("", 0o666, PRECIOUS);
            }
            "chmod" => files("", 0o644, PRECIOUS),
            // A change of owner takes this bit away, also where nothing changes.
            "chown" => files("", 0o4755, PRECIOUS),
            "exchange" => {
                files("", 0o666, PRECIOUS);
                files(".other", 0o666, b"other");
            }
            "rmdir" | "unlinkat_dir" | "mount" | "chroot" => folders(),
            "umount" => {
                folders();
                for n in 0..count {
                    let none: Option<&str> = None;
                    mount(Some("e2e"), &folder.join(n.to_string()), Some("tmpfs"), MsFlags::empty(), none)
                        .expect("mount a tmpfs");
                }
            }
            "hostname" => name_machine("before"),
            "message_queue" => (0..count).for_each(remove_queue),
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
            "kill" | "kill_subject" | "sigqueue" | "pidfd_signal" | "ptrace" | "peek" => {
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
            | "mprotect_exec" | "uring_socket" => return None,
            "change" | "truncate_open" | "append" | "ftruncate" | "write_file" | "open_truncate"
            | "truncate" => count(&|path| fs::read(path).expect("read") != PRECIOUS),
            "exchange" => count(&|path| fs::read(path).expect("read") == b"other"),
            "unlink" | "rmdir" | "unlinkat_dir" | "int80" | "uring" | "uring_async" | "uring_sqpoll" => {
                count(&|path| !path.exists())
            }
            "rename" => count(&|path| with(path, ".moved")),
            "link" => count(&|path| with(path, ".link")),
            "chmod" => count(&|path| mode(path) != 0o644),
            "chown" => count(&|path| mode(path) != 0o4755),
            "touch" => count(&|path| fs::metadata(path).expect("stat").mtime() == 12345),
            "setxattr" => count(&|path| has_attribute(path)),
            "mount" => self.mounts(),
            "message_queue" => (0..self.count).filter(|n| is_queue(*n)).count(),
            "umount" => self.count - self.mounts(),
            "hostname" => {
                usize::from(nix::unistd::gethostname().expect("the machine's name") == "e2e-lsm") * self.count
            }
            "kill" | "kill_subject" | "sigqueue" | "pidfd_signal" => self.signals(),
            "stream" | "connect_inet" | "connect_unix" | "sendto" | "write" => self.received(),
            // Something is made.
            _ => count(&|path| path.symlink_metadata().is_ok()),
        };
        Some(leaks)
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

    fn mounts(&self) -> usize {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read the mounts");
        let below = format!(" {}/", self.folder.display());
        mounts.lines().filter(|line| line.contains(&below)).count()
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        if matches!(&self.operation[..], "mount" | "umount") {
            for n in 0..self.count {
                let _ = umount2(&self.folder.join(n.to_string()), MntFlags::MNT_DETACH);
            }
        }
        if self.operation == "message_queue" {
            (0..self.count).for_each(remove_queue);
        }
    }
}

/// As `calls.c` names it.
fn queue(n: usize) -> std::ffi::CString {
    std::ffi::CString::new(format!("/e2e-lsm-{n}")).expect("a name")
}

fn is_queue(n: usize) -> bool {
    // SAFETY: a text that ends, and a descriptor that this has opened.
    unsafe {
        let queue = libc::mq_open(queue(n).as_ptr(), libc::O_RDONLY);
        queue >= 0 && libc::mq_close(queue) == 0
    }
}

fn remove_queue(n: usize) {
    // SAFETY: a text that ends.
    unsafe { libc::mq_unlink(queue(n).as_ptr()) };
}

fn has_attribute(path: &Path) -> bool {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).expect("a path");
    // SAFETY: two texts that end, and no buffer.
    unsafe { libc::getxattr(path.as_ptr(), c"trusted.e2e".as_ptr(), std::ptr::null_mut(), 0) >= 0 }
}

/// In this suite's own name space.
fn name_machine(name: &str) {
    // SAFETY: a text and its length.
    let result = unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) };
    assert_eq!(result, 0, "cannot name the machine");
}
