//! The arguments of a call as named, readable values.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::nr;
use crate::intf;
use crate::site::text as text_of;

/// Named arguments, as an event shows them: `path`, `flags`, `address`, ….
/// Texts and numbers only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Args(pub Map<String, Value>);

impl Args {
    /// The text of an argument.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    fn put(&mut self, name: &str, value: impl Into<Value>) {
        // The second of a kind (renameat's directories, copy_file_range's files).
        let name = if self.0.contains_key(name) { format!("{name}2") } else { name.to_owned() };
        self.0.insert(name, value.into());
    }
}

/// What was read of a call's arguments besides the registers.
#[derive(Debug, Clone, Copy, Default)]
pub struct ArgsSeen<'a> {
    /// The first path, or the program.
    pub path: Option<&'a [u8]>,
    /// The second path.
    pub path2: Option<&'a [u8]>,
    /// A `struct sockaddr`, as long as it was.
    pub addr: Option<&'a [u8]>,
    /// Whom a process number means, in the initial pid namespace.
    pub target_pid: Option<u32>,
}

/// The arguments of the call with this number. What is not in `seen` is left
/// out; a number that the table does not know has its registers as `arg0` ….
pub fn describe_args(nr: u32, raw: &[u64; 6], seen: &ArgsSeen<'_>) -> Args {
    let mut args = Args::default();
    let Some(call) = intf::call(nr) else {
        for (index, value) in raw.iter().enumerate().filter(|_| nr != intf::NR_EXEC) {
            args.put(&format!("arg{index}"), format!("{value:#x}"));
        }
        if let Some(program) = seen.path {
            args.put("program", text_of(program));
        }
        return args;
    };
    let text = |bytes: Option<&[u8]>| bytes.map(text_of);
    for (index, letter) in call.args.bytes().enumerate() {
        let value = raw[index];
        match letter {
            b'p' => text(seen.path).into_iter().for_each(|path| args.put("path", path)),
            b'q' => text(seen.path2).into_iter().for_each(|path| args.put("path2", path)),
            b'P' => text(seen.path).into_iter().for_each(|path| args.put("program", path)),
            b'd' => args.put("dirfd", dirfd(value)),
            b'f' => args.put("flags", open_flags(value)),
            b'm' => args.put("mode", format!("{:04o}", value & 0o7777)),
            b'F' => args.put("fd", value as i32),
            b'c' => args.put("command", command(call.class_kind, value as u32)),
            b's' => args.put("signal", signal_name(value as i32)),
            b'i' => args.put("pid", value as i32),
            b'D' => args.put("family", family_name(value as u16)),
            b't' => args.put("type", socket_type(value)),
            b'a' | b'M' => seen.addr.into_iter().for_each(|addr| address(&mut args, addr)),
            b'l' => args.put("length", value),
            b'r' => args.put("protection", flags(value, &PROTECTION, "PROT_NONE")),
            b'C' => args.put("flags", clone_flags(value)),
            b'n' => plain(&mut args, call.nr, index, value),
            // What a pointer points to is in `seen`, or was not read.
            _ => {}
        }
    }
    if let (true, Some(target)) = (u32::from(call.class_kind) == intf::CLASS_KILL, seen.target_pid) {
        args.put("target", target);
    }
    args
}

/// The name of a signal, `SIGKILL` for 9; the number where it has none.
pub fn signal_name(signal: i32) -> String {
    match nix::sys::signal::Signal::try_from(signal) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => signal.to_string(),
    }
}

fn dirfd(value: u64) -> Value {
    match value as i32 {
        libc::AT_FDCWD => "AT_FDCWD".into(),
        fd => fd.into(),
    }
}

/// The names of the bits that are set; what has no name in hexadecimal.
fn flags(value: u64, names: &[(u64, &str)], none: &str) -> String {
    let mut left = value;
    let mut parts: Vec<String> = Vec::new();
    for &(bits, name) in names {
        if left & bits == bits {
            left &= !bits;
            parts.push(name.into());
        }
    }
    if left != 0 {
        parts.push(format!("{left:#x}"));
    }
    if parts.is_empty() { none.to_owned() } else { parts.join("|") }
}

/// Flags that share bits with others come before those.
const OPEN: [(u64, &str); 17] = [
    (0o20_200_000, "O_TMPFILE"),
    (0o4_010_000, "O_SYNC"),
    (0o100, "O_CREAT"),
    (0o200, "O_EXCL"),
    (0o400, "O_NOCTTY"),
    (0o1000, "O_TRUNC"),
    (0o2000, "O_APPEND"),
    (0o4000, "O_NONBLOCK"),
    (0o10_000, "O_DSYNC"),
    (0o20_000, "O_ASYNC"),
    (0o40_000, "O_DIRECT"),
    (0o100_000, "O_LARGEFILE"),
    (0o200_000, "O_DIRECTORY"),
    (0o400_000, "O_NOFOLLOW"),
    (0o1_000_000, "O_NOATIME"),
    (0o2_000_000, "O_CLOEXEC"),
    (0o10_000_000, "O_PATH"),
];

fn open_flags(value: u64) -> String {
    let access = ["O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"][(value & 3) as usize];
    let rest = value & 0xffff_ffff & !3;
    if rest == 0 { access.to_owned() } else { format!("{access}|{}", flags(rest, &OPEN, "")) }
}

const PROTECTION: [(u64, &str); 5] = [
    (1, "PROT_READ"),
    (2, "PROT_WRITE"),
    (4, "PROT_EXEC"),
    (0x0100_0000, "PROT_GROWSDOWN"),
    (0x0200_0000, "PROT_GROWSUP"),
];

const CLONE: [(u64, &str); 24] = [
    (0x100, "CLONE_VM"),
    (0x200, "CLONE_FS"),
    (0x400, "CLONE_FILES"),
    (0x800, "CLONE_SIGHAND"),
    (0x1000, "CLONE_PIDFD"),
    (0x2000, "CLONE_PTRACE"),
    (0x4000, "CLONE_VFORK"),
    (0x8000, "CLONE_PARENT"),
    (0x1_0000, "CLONE_THREAD"),
    (0x2_0000, "CLONE_NEWNS"),
    (0x4_0000, "CLONE_SYSVSEM"),
    (0x8_0000, "CLONE_SETTLS"),
    (0x10_0000, "CLONE_PARENT_SETTID"),
    (0x20_0000, "CLONE_CHILD_CLEARTID"),
    (0x40_0000, "CLONE_DETACHED"),
    (0x80_0000, "CLONE_UNTRACED"),
    (0x100_0000, "CLONE_CHILD_SETTID"),
    (0x200_0000, "CLONE_NEWCGROUP"),
    (0x400_0000, "CLONE_NEWUTS"),
    (0x800_0000, "CLONE_NEWIPC"),
    (0x1000_0000, "CLONE_NEWUSER"),
    (0x2000_0000, "CLONE_NEWPID"),
    (0x4000_0000, "CLONE_NEWNET"),
    (0x8000_0000, "CLONE_IO"),
];

/// The lowest byte is the signal that the parent gets.
fn clone_flags(value: u64) -> String {
    let bits = flags(value & !0xff, &CLONE, "");
    match (value & 0xff, bits.is_empty()) {
        (0, true) => "0".into(),
        (0, false) => bits,
        (signal, true) => signal_name(signal as i32),
        (signal, false) => format!("{bits}|{}", signal_name(signal as i32)),
    }
}

fn family_name(family: u16) -> String {
    match i32::from(family) {
        libc::AF_UNSPEC => "AF_UNSPEC".into(),
        libc::AF_UNIX => "AF_UNIX".into(),
        libc::AF_INET => "AF_INET".into(),
        libc::AF_INET6 => "AF_INET6".into(),
        libc::AF_NETLINK => "AF_NETLINK".into(),
        libc::AF_PACKET => "AF_PACKET".into(),
        libc::AF_VSOCK => "AF_VSOCK".into(),
        libc::AF_ALG => "AF_ALG".into(),
        other => other.to_string(),
    }
}

fn socket_type(value: u64) -> String {
    let kind = match (value & 0xf) as i32 {
        libc::SOCK_STREAM => "SOCK_STREAM".to_owned(),
        libc::SOCK_DGRAM => "SOCK_DGRAM".to_owned(),
        libc::SOCK_RAW => "SOCK_RAW".to_owned(),
        libc::SOCK_SEQPACKET => "SOCK_SEQPACKET".to_owned(),
        other => other.to_string(),
    };
    let rest = value & 0xffff_ffff & !0xf;
    let names = [(0o4000, "SOCK_NONBLOCK"), (0o2_000_000, "SOCK_CLOEXEC")];
    if rest == 0 { kind } else { format!("{kind}|{}", flags(rest, &names, "")) }
}

/// Family, and what is behind it as far as the bytes go.
fn address(args: &mut Args, addr: &[u8]) {
    let Some((family, rest)) = addr.split_first_chunk::<2>() else { return };
    let family = u16::from_ne_bytes(*family);
    args.put("family", family_name(family));
    match i32::from(family) {
        libc::AF_INET => {
            if let Some((port, ip)) = rest.split_first_chunk::<2>() {
                args.put("port", u16::from_be_bytes(*port));
                if let Some((ip, _)) = ip.split_first_chunk::<4>() {
                    args.put("address", Ipv4Addr::from(*ip).to_string());
                }
            }
        }
        libc::AF_INET6 => {
            if let Some((port, rest)) = rest.split_first_chunk::<2>() {
                args.put("port", u16::from_be_bytes(*port));
                if let Some((ip, _)) = rest.get(4..).and_then(<[u8]>::split_first_chunk::<16>) {
                    args.put("address", Ipv6Addr::from(*ip).to_string());
                }
            }
        }
        libc::AF_UNIX => {
            let path = match rest {
                // Abstract: all bytes count.
                [0, name @ ..] if !name.is_empty() => format!("@{}", text_of(name)),
                _ => text_of(rest.split(|&byte| byte == 0).next().unwrap_or_default()),
            };
            args.put("address", path);
        }
        _ => {}
    }
}

fn command(kind: u8, value: u32) -> String {
    let names: &[(u32, &str)] = match u32::from(kind) {
        intf::CLASS_FCNTL => &FCNTL,
        intf::CLASS_IOCTL => &IOCTL,
        intf::CLASS_PRCTL => &PRCTL,
        _ => &[],
    };
    match names.iter().find(|(number, _)| *number == value) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("{value:#x}"),
    }
}

const FCNTL: [(u32, &str); 19] = [
    (0, "F_DUPFD"),
    (1, "F_GETFD"),
    (2, "F_SETFD"),
    (3, "F_GETFL"),
    (4, "F_SETFL"),
    (5, "F_GETLK"),
    (6, "F_SETLK"),
    (7, "F_SETLKW"),
    (8, "F_SETOWN"),
    (9, "F_GETOWN"),
    (10, "F_SETSIG"),
    (15, "F_SETOWN_EX"),
    (1024, "F_SETLEASE"),
    (1025, "F_GETLEASE"),
    (1026, "F_NOTIFY"),
    (1030, "F_DUPFD_CLOEXEC"),
    (1031, "F_SETPIPE_SZ"),
    (1033, "F_ADD_SEALS"),
    (1034, "F_GET_SEALS"),
];

const IOCTL: [(u32, &str); 16] = [
    (0x5401, "TCGETS"),
    (0x5402, "TCSETS"),
    (0x540e, "TIOCSCTTY"),
    (0x5410, "TIOCSPGRP"),
    (0x5412, "TIOCSTI"),
    (0x5413, "TIOCGWINSZ"),
    (0x5414, "TIOCSWINSZ"),
    (0x541b, "FIONREAD"),
    (0x541c, "TIOCLINUX"),
    (0x541d, "TIOCCONS"),
    (0x5421, "FIONBIO"),
    (0x5423, "TIOCSETD"),
    (0x5450, "FIONCLEX"),
    (0x5451, "FIOCLEX"),
    (0x4004_9409, "FICLONE"),
    (0x4020_940d, "FICLONERANGE"),
];

const PRCTL: [(u32, &str); 17] = [
    (1, "PR_SET_PDEATHSIG"),
    (4, "PR_SET_DUMPABLE"),
    (8, "PR_SET_KEEPCAPS"),
    (15, "PR_SET_NAME"),
    (16, "PR_GET_NAME"),
    (22, "PR_SET_SECCOMP"),
    (23, "PR_CAPBSET_READ"),
    (24, "PR_CAPBSET_DROP"),
    (28, "PR_SET_SECUREBITS"),
    (35, "PR_SET_MM"),
    (36, "PR_SET_CHILD_SUBREAPER"),
    (38, "PR_SET_NO_NEW_PRIVS"),
    (41, "PR_SET_THP_DISABLE"),
    (47, "PR_CAP_AMBIENT"),
    (0x5356_4d41, "PR_SET_VMA"),
    (0x5961_6d61, "PR_SET_PTRACER"),
    (62, "PR_SCHED_CORE"),
];

const RENAME: [(u64, &str); 3] = [(1, "RENAME_NOREPLACE"), (2, "RENAME_EXCHANGE"), (4, "RENAME_WHITEOUT")];

/// Numbers that mean something by their place.
fn plain(args: &mut Args, number: u16, index: usize, value: u64) {
    let id = value as u32 as i32;
    match (intf::call(u32::from(number)).map_or("", |call| call.name), index) {
        ("read" | "write", 2) | ("truncate" | "ftruncate", 1) => args.put("length", value),
        ("chown" | "lchown" | "fchown", 1) | ("fchownat", 2) | ("setuid" | "setfsuid", 0) => {
            args.put("uid", id);
        }
        ("chown" | "lchown" | "fchown", 2) | ("fchownat", 3) | ("setgid" | "setfsgid", 0) => {
            args.put("gid", id);
        }
        ("setreuid" | "setresuid", 0) => args.put("ruid", id),
        ("setreuid" | "setresuid", 1) => args.put("euid", id),
        ("setresuid", 2) => args.put("suid", id),
        ("setregid" | "setresgid", 0) => args.put("rgid", id),
        ("setregid" | "setresgid", 1) => args.put("egid", id),
        ("setresgid", 2) => args.put("sgid", id),
        ("listen", 1) => args.put("backlog", id),
        ("exit" | "exit_group", 0) => args.put("status", id),
        ("unshare", 0) | ("setns", 1) => args.put("flags", flags(value, &CLONE, "0")),
        ("ptrace" | "bpf" | "keyctl" | "seccomp" | "modify_ldt", 0)
        | ("shmctl" | "msgctl", 1)
        | ("semctl", 2) => args.put("command", id),
        ("shmget" | "semget" | "msgget", 0) => args.put("key", id),
        ("shmctl" | "semctl" | "msgctl" | "shmat" | "semop" | "semtimedop" | "msgsnd" | "msgrcv", 0) => {
            args.put("id", id);
        }
        ("prlimit64", 1) => args.put("resource", id),
        _ if number == nr::UNLINKAT => {
            args.put("flags", flags(value & 0xffff_ffff, &[(0x200, "AT_REMOVEDIR")], "0"));
        }
        _ if number == nr::RENAMEAT2 => args.put("flags", flags(value & 0xffff_ffff, &RENAME, "0")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn shown(nr: u32, raw: &[u64], seen: &ArgsSeen<'_>) -> Value {
        let mut registers = [0; 6];
        registers[..raw.len()].copy_from_slice(raw);
        Value::Object(describe_args(nr, &registers, seen).0)
    }

    const CWD: u64 = (-100_i64) as u64;

    #[test]
    fn arguments_have_names() {
        let path = ArgsSeen { path: Some(b"/srv/a\xff"), path2: Some(b"/b"), ..Default::default() };
        assert_eq!(
            shown(257, &[CWD, 0, 0o1101, 0o644], &path),
            json!({"dirfd": "AT_FDCWD", "path": "/srv/a\\xff", "flags": "O_WRONLY|O_CREAT|O_TRUNC", "mode": "0644"})
        );
        assert_eq!(
            shown(316, &[CWD, 0, 7, 0, 1], &path),
            json!({"dirfd": "AT_FDCWD", "dirfd2": 7, "path": "/srv/a\\xff", "path2": "/b",
                   "flags": "RENAME_NOREPLACE"})
        );
        assert_eq!(shown(59, &[0], &path), json!({"program": "/srv/a\\xff"}));
        assert_eq!(shown(intf::NR_EXEC, &[0], &path), json!({"program": "/srv/a\\xff"}));
        assert_eq!(
            shown(62, &[12, 9], &ArgsSeen { target_pid: Some(4711), ..Default::default() }),
            json!({"pid": 12, "signal": "SIGKILL", "target": 4711})
        );
        assert_eq!(
            shown(56, &[0x0120_0011], &ArgsSeen::default()),
            json!({"flags": "CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD"})
        );
        assert_eq!(
            shown(41, &[2, 0o2_000_001], &ArgsSeen::default()),
            json!({"family": "AF_INET", "type": "SOCK_STREAM|SOCK_CLOEXEC"})
        );
        assert_eq!(shown(2, &[0, 0o20_200_002], &ArgsSeen::default())["flags"], "O_RDWR|O_TMPFILE");
        assert_eq!(shown(72, &[3, 8, 1], &ArgsSeen::default()), json!({"fd": 3, "command": "F_SETOWN"}));
    }

    #[test]
    fn addresses_are_read_as_far_as_they_go() {
        let connect =
            |addr: &[u8]| shown(42, &[3, 0, 16], &ArgsSeen { addr: Some(addr), ..Default::default() });
        assert_eq!(
            connect(&[2, 0, 1, 187, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
            json!({"fd": 3, "length": 16, "family": "AF_INET", "address": "127.0.0.1", "port": 443})
        );
        assert_eq!(connect(b"\x01\0/run/db.sock\0junk")["address"], "/run/db.sock");
        assert_eq!(connect(b"\x01\0\0abstract")["address"], "@abstract");
        let mut six = vec![10, 0, 0, 80, 0, 0, 0, 0];
        six.extend([0; 15]);
        six.push(1);
        assert_eq!(connect(&six)["address"], "::1");
        assert_eq!(connect(&[2]), json!({"fd": 3, "length": 16}));
        assert_eq!(connect(&[2, 0, 1]), json!({"fd": 3, "length": 16, "family": "AF_INET"}));
    }

    proptest! {
        #[test]
        fn nothing_panics(nr in 0..600u32, raw: [u64; 6], path: Option<Vec<u8>>, addr: Option<Vec<u8>>) {
            let seen = ArgsSeen { path: path.as_deref(), addr: addr.as_deref(), ..Default::default() };
            describe_args(nr, &raw, &seen);
        }
    }
}
