//! What is written makes this kernel refuse the call: the call is made here with rewritten arguments, which must
//! fail with an error that the table names, and then as it was, which must succeed.

use std::ffi::CString;
use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;

use shared::intf::calls;
use shared::op::{ByteValue, empty_path_bit, rewriting};

/// A call with the memory that its arguments point to.
struct Made<'a> {
    name: &'a str,
    args: Vec<Argument>,
}

enum Argument {
    Value(u64),
    Memory(Vec<u8>),
}

use Argument::{Memory, Value};

fn text(path: &Path) -> Argument {
    Memory(CString::new(path.to_str().unwrap()).unwrap().into_bytes_with_nul())
}

fn words(words: &[u64]) -> Argument {
    Memory(words.iter().flat_map(|w| w.to_ne_bytes()).collect())
}

impl Made<'_> {
    fn call(&mut self) -> Result<i64, i32> {
        let nr = calls().iter().find(|call| call.name == self.name).unwrap().nr;
        let mut raw = [0_u64; 6];
        for (to, from) in raw.iter_mut().zip(&mut self.args) {
            *to = match from {
                Value(value) => *value,
                Memory(bytes) => bytes.as_mut_ptr() as u64,
            };
        }
        // SAFETY: the call's pointers are to memory of the sizes that it expects, see `all`.
        let ret = unsafe { libc::syscall(i64::from(nr), raw[0], raw[1], raw[2], raw[3], raw[4], raw[5]) };
        if ret < 0 { Err(std::io::Error::last_os_error().raw_os_error().unwrap()) } else { Ok(ret) }
    }

    fn check(mut self) {
        let call = calls().iter().find(|call| call.name == self.name).unwrap();
        let steps = rewriting(call);
        assert!(!steps.is_empty(), "{}: nothing is written", self.name);
        for step in &steps {
            let Memory(bytes) = &mut self.args[usize::from(step.arg)] else { continue };
            let at = usize::from(step.offset)..usize::from(step.offset + step.len);
            let was = bytes[at.clone()].to_vec();
            bytes[at.clone()].fill(if step.value == ByteValue::Zero { 0 } else { 0xff });
            let refused = self.call();
            let Memory(bytes) = &mut self.args[usize::from(step.arg)] else { unreachable!() };
            let now = bytes[at.clone()].to_vec();
            assert!(
                now.iter().all(|b| *b == if step.value == ByteValue::Zero { 0 } else { 0xff }),
                "{}: the kernel has written there itself: {now:?}",
                self.name
            );
            bytes[at].copy_from_slice(&was);
            match refused {
                Err(libc::ENOSYS) => return println!("{}: not in this kernel", self.name),
                Err(libc::EPERM) => {}
                Err(errno) => assert!(
                    step.error.split([',', ';']).any(|e| number(e.trim()) == Some(errno)),
                    "{}: {}: {errno} instead of {}",
                    self.name,
                    step.what,
                    step.error
                ),
                Ok(_) => panic!("{}: {}: it succeeds all the same", self.name, step.what),
            }
        }
        match self.call() {
            Ok(_) => println!("{}: refused, and works", self.name),
            // What this machine or user may not do at all.
            Err(libc::EPERM | libc::EOPNOTSUPP | libc::EACCES | libc::ENOSYS) => {
                println!("{}: refused; as it was not permitted", self.name);
            }
            Err(errno) => panic!("{}: the call does not work as it was: {errno}", self.name),
        }
    }
}

fn number(error: &str) -> Option<i32> {
    Some(match error {
        "EAFNOSUPPORT" => libc::EAFNOSUPPORT,
        "EBADF" => libc::EBADF,
        "EFBIG" => libc::EFBIG,
        "EFAULT" => libc::EFAULT,
        "EINVAL" => libc::EINVAL,
        "EMSGSIZE" => libc::EMSGSIZE,
        "ENODEV" => libc::ENODEV,
        "ENOENT" => libc::ENOENT,
        "EPERM" => libc::EPERM,
        "ERANGE" => libc::ERANGE,
        _ => return None,
    })
}

/// The call with a file of its own, if it is to be there.
fn on(folder: &Path, name: &str, exists: bool, args: impl Fn(&Path) -> Vec<Argument>) {
    let path = folder.join(name);
    if exists {
        fs::write(&path, "precious").unwrap();
    }
    Made { name, args: args(&path) }.check();
    assert!(!exists || !name.contains("link") || fs::read(&path).is_ok() || name.starts_with("unlink"));
}

const HERE: Argument = Value(libc::AT_FDCWD as u64);

#[test]
fn paths() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let folder = dir.path();
    let to = |path: &Path| text(&path.with_extension("to"));
    let new = u64::from(libc::O_CREAT as u32 | libc::O_EXCL as u32 | libc::O_WRONLY as u32);
    let fifo = u64::from(libc::S_IFIFO | 0o600);
    let none = u64::MAX;
    on(folder, "open", true, |p| vec![text(p), Value(0)]);
    on(folder, "openat", false, |p| vec![HERE, text(p), Value(new), Value(0o600)]);
    on(folder, "openat2", false, |p| vec![HERE, text(p), words(&[new, 0o600, 0]), Value(24)]);
    on(folder, "creat", false, |p| vec![text(p), Value(0o600)]);
    on(folder, "truncate", true, |p| vec![text(p), Value(0)]);
    on(folder, "rename", true, |p| vec![text(p), to(p)]);
    on(folder, "renameat", true, |p| vec![HERE, text(p), HERE, to(p)]);
    on(folder, "renameat2", true, |p| vec![HERE, text(p), HERE, to(p), Value(0)]);
    on(folder, "mkdir", false, |p| vec![text(p), Value(0o700)]);
    on(folder, "mkdirat", false, |p| vec![HERE, text(p), Value(0o700)]);
    fs::create_dir(folder.join("rmdir")).unwrap();
    on(folder, "rmdir", false, |p| vec![text(p)]);
    on(folder, "link", true, |p| vec![text(p), to(p)]);
    on(folder, "linkat", true, |p| vec![HERE, text(p), HERE, to(p), Value(0)]);
    on(folder, "symlink", false, |p| vec![text(Path::new("target")), text(p)]);
    on(folder, "symlinkat", false, |p| vec![text(Path::new("target")), HERE, text(p)]);
    on(folder, "unlink", true, |p| vec![text(p)]);
    on(folder, "unlinkat", true, |p| vec![HERE, text(p), Value(0)]);
    on(folder, "chmod", true, |p| vec![text(p), Value(0o600)]);
    on(folder, "fchmodat", true, |p| vec![HERE, text(p), Value(0o600)]);
    on(folder, "fchmodat2", true, |p| vec![HERE, text(p), Value(0o600), Value(0)]);
    on(folder, "chown", true, |p| vec![text(p), Value(none), Value(none)]);
    on(folder, "lchown", true, |p| vec![text(p), Value(none), Value(none)]);
    on(folder, "fchownat", true, |p| vec![HERE, text(p), Value(none), Value(none), Value(0)]);
    on(folder, "mknod", false, |p| vec![text(p), Value(fifo), Value(0)]);
    on(folder, "mknodat", false, |p| vec![HERE, text(p), Value(fifo), Value(0)]);
    on(folder, "utime", true, |p| vec![text(p), Value(0)]);
    on(folder, "utimes", true, |p| vec![text(p), Value(0)]);
    on(folder, "utimensat", true, |p| vec![HERE, text(p), Value(0), Value(0)]);
    on(folder, "futimesat", true, |p| vec![HERE, text(p), Value(0)]);
    let attribute = || Memory(b"user.test\0".to_vec());
    let value = || Memory(b"value".to_vec());
    on(folder, "setxattr", true, |p| vec![text(p), attribute(), value(), Value(5), Value(0)]);
    on(folder, "lsetxattr", true, |p| vec![text(p), attribute(), value(), Value(5), Value(0)]);
    fs::write(folder.join("fsetxattr"), "").unwrap();
    let file = File::open(folder.join("fsetxattr")).unwrap();
    let descriptor = file.as_raw_fd() as u64;
    on(folder, "fsetxattr", false, |_| vec![Value(descriptor), attribute(), value(), Value(5), Value(0)]);
    on(folder, "stat", true, |p| vec![text(p), Memory(vec![0; 256])]);
    on(folder, "newfstatat", true, |p| vec![HERE, text(p), Memory(vec![0; 256]), Value(0)]);
    on(folder, "access", true, |p| vec![text(p), Value(0)]);
    on(folder, "statx", true, |p| vec![HERE, text(p), Value(0), Value(0), Memory(vec![0; 256])]);
    let queue = format!("shared-test-{}\0", std::process::id()).into_bytes();
    on(folder, "mq_open", false, |_| vec![Memory(queue.clone()), Value(new), Value(0o600), Value(0)]);
    on(folder, "mq_unlink", false, |_| vec![Memory(queue.clone())]);
    let key = || Memory(b"shared-test\0".to_vec());
    on(folder, "add_key", false, |_| {
        vec![Memory(b"user\0".to_vec()), key(), value(), Value(5), Value(u64::from((-2_i32) as u32))]
    });
    on(folder, "request_key", false, |_| vec![Memory(b"user\0".to_vec()), key(), Value(0), Value(0)]);
}

#[test]
fn addresses_and_messages() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = |kind: i32| -> u64 {
        // SAFETY: it takes numbers only.
        u64::from(unsafe { libc::socket(libc::AF_INET, kind, 0) } as u32)
    };
    let address = |port: u16| {
        let mut bytes = vec![0; 16];
        bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        bytes[2..4].copy_from_slice(&port.to_be_bytes());
        bytes[4..8].copy_from_slice(&[127, 0, 0, 1]);
        bytes
    };
    let (tcp, udp) = (listener.local_addr().unwrap().port(), receiver.local_addr().unwrap().port());
    let made = |name, args| Made { name, args }.check();
    made("connect", vec![Value(socket(libc::SOCK_STREAM)), Memory(address(tcp)), Value(16)]);
    made("bind", vec![Value(socket(libc::SOCK_STREAM)), Memory(address(0)), Value(16)]);
    made("bind", vec![Value(socket(libc::SOCK_DGRAM)), Memory(address(0)), Value(16)]);
    let sender = Value(socket(libc::SOCK_DGRAM));
    made("sendto", vec![sender, Memory(b"x".to_vec()), Value(1), Value(0), Memory(address(udp)), Value(16)]);
    let (mut name, mut byte) = (address(udp), *b"x");
    let mut buffer = [byte.as_mut_ptr() as u64, 1];
    let message = [name.as_mut_ptr() as u64, 16, buffer.as_mut_ptr() as u64, 1, 0, 0, 0, 0];
    made("sendmsg", vec![Value(socket(libc::SOCK_DGRAM)), words(&message), Value(0)]);
    made("sendmmsg", vec![Value(socket(libc::SOCK_DGRAM)), words(&message), Value(1), Value(0)]);
}

#[test]
fn structures() {
    let made = |name, args| Made { name, args }.check();
    let pid = u64::from(std::process::id());
    let mut byte = *b"x";
    let mut other = *b"y";
    let (here, there) = ([byte.as_mut_ptr() as u64, 1], [other.as_mut_ptr() as u64, 1]);
    let null = File::options().write(true).open("/dev/null").unwrap();
    let null = || Value(null.as_raw_fd() as u64);
    made("writev", vec![null(), words(&here), Value(1)]);
    made("pwritev", vec![null(), words(&here), Value(1), Value(0), Value(0)]);
    let zero = File::open("/dev/zero").unwrap();
    made("readv", vec![Value(zero.as_raw_fd() as u64), words(&here), Value(1)]);
    let both = |name| {
        made(name, vec![Value(pid), words(&here), Value(1), words(&there), Value(1), Value(0)]);
    };
    both("process_vm_readv");
    both("process_vm_writev");
    let (_reader, writer) = std::io::pipe().unwrap();
    made("vmsplice", vec![Value(writer.as_raw_fd() as u64), words(&here), Value(1), Value(0)]);
    // A software clock, of this process.
    let mut event = [0; 16];
    event[0] = 1 | 128 << 32; // PERF_TYPE_SOFTWARE, the structure's size
    let anywhere = Value(u64::MAX);
    made("perf_event_open", vec![words(&event), Value(0), anywhere, Value(u64::MAX), Value(0)]);
    made("sched_setparam", vec![Value(0), Memory(vec![0; 4])]);
    made("sched_setscheduler", vec![Value(0), Value(0), Memory(vec![0; 4])]);
    made("sched_setattr", vec![Value(0), words(&[48, 0, 0, 0, 0, 0]), Value(0)]);
    made("io_uring_setup", vec![Value(1), words(&[0; 16])]);
    // BPF_MAP_CREATE of an array with one entry.
    let map = [2 | 4 << 32, 4 | 1 << 32, 0, 0, 0, 0, 0, 0, 0];
    made("bpf", vec![Value(0), words(&map), Value(72)]);
    // Last: of this thread alone, and then it has no privileges.
    made("setgroups", vec![Value(1), Memory(vec![0; 4])]);
    made("capset", vec![words(&[0x2008_0522]), words(&[0; 3])]);
}

/// Removed at the end.
struct Objects {
    queue: i32,
    semaphores: i32,
}

impl Drop for Objects {
    fn drop(&mut self) {
        // SAFETY: numbers only; removing needs no buffer.
        unsafe {
            libc::msgctl(self.queue, libc::IPC_RMID, std::ptr::null_mut());
            libc::semctl(self.semaphores, 0, libc::IPC_RMID);
        }
    }
}

#[test]
fn system_v_objects() {
    let private = libc::IPC_CREAT | libc::IPC_EXCL | 0o600;
    // SAFETY: numbers only.
    let (queue, semaphores) =
        unsafe { (libc::msgget(libc::IPC_PRIVATE, private), libc::semget(libc::IPC_PRIVATE, 1, private)) };
    let (id, set) = (|| Value(queue as u64), || Value(semaphores as u64));
    let operation = || Memory([0_u16, 1, 0].iter().flat_map(|field| field.to_ne_bytes()).collect());
    let made = |name, args| Made { name, args }.check();
    let removed = Objects { queue, semaphores };
    made("msgsnd", vec![id(), words(&[1, 0]), Value(1), Value(0)]);
    made("semop", vec![set(), operation(), Value(1)]);
    made("semtimedop", vec![set(), operation(), Value(1), Value(0)]);
    drop(removed);
}

/// Else an empty path would be another file than the one that was meant.
#[test]
fn no_flag_but_those_of_the_table_makes_a_call_take_an_empty_path() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let folder = File::open(dir.path()).unwrap();
    let at = || Value(folder.as_raw_fd() as u64);
    let empty = || Memory(vec![0]);
    let to = || text(&dir.path().join("to"));
    for bit in 0..32 {
        let flag = || Value(1 << bit);
        let none = || Value(u64::MAX);
        for (name, args) in [
            ("openat", vec![at(), empty(), flag(), Value(0o600)]),
            ("unlinkat", vec![at(), empty(), flag()]),
            ("renameat2", vec![at(), empty(), at(), to(), flag()]),
            ("linkat", vec![at(), empty(), at(), to(), flag()]),
            ("fchmodat2", vec![at(), empty(), Value(0o700), flag()]),
            ("fchownat", vec![at(), empty(), none(), none(), flag()]),
            ("utimensat", vec![at(), empty(), Value(0), flag()]),
            ("openat2", vec![at(), empty(), words(&[1 << bit, 0, 0]), Value(24)]),
        ] {
            let call = calls().iter().find(|call| call.name == name).unwrap();
            let known = empty_path_bit(call).is_some_and(|(_, known)| known == bit);
            assert!(known || Made { name, args }.call().is_err(), "{name} with flag {:#x}", 1_u64 << bit);
        }
    }
}
