//! What is rewritten in memory so that a call fails; see `intf.h`, `struct rewrite_step`.

use std::fmt::Write as _;
use std::sync::LazyLock;

use crate::intf::{self, Call, call_desc, calls, rewrite_step};

use ByteValue::{Ones, Zero};

/// What is written besides paths: (call, argument, offset, bytes, value, what it is, the error that it makes).
/// One byte is enough where it is the highest of a number that must not be that large, also if who makes the call
/// expects it; what the kernel writes back on an error is not chosen.
#[rustfmt::skip]
const OTHERS: [(&str, u8, u8, u8, ByteValue, &str, &str); 46] = [
    ("bind", 1, 1, 1, Ones, "address family", "EAFNOSUPPORT, EINVAL"),
    ("bpf", 1, 0, 8, Ones, "first bytes of the attributes", "EINVAL, EBADF, EFAULT"),
    ("capset", 0, 7, 1, Ones, "process in the header", "EPERM"),
    ("clock_settime", 1, 15, 1, Ones, "nanoseconds", "EINVAL"),
    ("clone3", 0, 7, 1, Ones, "flags", "EINVAL"),
    ("connect", 1, 1, 1, Ones, "address family", "EAFNOSUPPORT, EINVAL"),
    ("execve", 1, 7, 1, Ones, "pointer to the first argument", "EFAULT"),
    ("execveat", 2, 7, 1, Ones, "pointer to the first argument", "EFAULT"),
    ("fanotify_mark", 4, 0, 1, Zero, "path", "ENOENT"),
    ("file_setattr", 2, 7, 1, Ones, "flags of the attributes", "EINVAL"),
    ("init_module", 0, 0, 1, Zero, "first byte of the module", "ENOEXEC"),
    ("io_uring_setup", 1, 11, 1, Ones, "flags", "EINVAL"),
    ("kexec_load", 2, 16, 1, Ones, "address of the first segment", "EADDRNOTAVAIL"),
    ("modify_ldt", 1, 3, 1, Ones, "number of the entry", "EINVAL"),
    ("mount_setattr", 3, 7, 1, Ones, "attributes to set", "EINVAL"),
    ("msgsnd", 1, 0, 8, Zero, "type of the message", "EINVAL"),
    ("open_by_handle_at", 1, 3, 1, Ones, "size of the handle", "EINVAL"),
    ("open_tree_attr", 3, 7, 1, Ones, "attributes to set", "EINVAL"),
    ("openat2", 2, 7, 1, Ones, "flags", "EINVAL"),
    ("perf_event_open", 0, 39, 1, Ones, "read format", "EINVAL"),
    ("pidfd_send_signal", 2, 3, 1, Ones, "number of the signal", "EINVAL"),
    ("preadv", 1, 15, 1, Ones, "length of the first buffer", "EINVAL"),
    ("preadv2", 1, 15, 1, Ones, "length of the first buffer", "EINVAL"),
    ("process_madvise", 1, 15, 1, Ones, "length of the first range", "EINVAL"),
    ("process_vm_readv", 1, 15, 1, Ones, "length of the first buffer", "EINVAL"),
    ("process_vm_writev", 1, 15, 1, Ones, "length of the first buffer", "EINVAL"),
    ("pwritev", 1, 15, 1, Ones, "length of the first buffer", "EINVAL"),
    ("pwritev2", 1, 15, 1, Ones, "length of the first buffer", "EINVAL"),
    ("quotactl", 1, 0, 1, Zero, "path of the device", "ENOENT"),
    ("readv", 1, 15, 1, Ones, "length of the first buffer", "EINVAL"),
    ("rt_sigqueueinfo", 2, 11, 1, Zero, "code of the signal", "EPERM, for another process"),
    ("rt_tgsigqueueinfo", 3, 11, 1, Zero, "code of the signal", "EPERM, for another process"),
    ("sched_setattr", 1, 15, 1, Ones, "flags of the attributes", "EINVAL"),
    ("sched_setparam", 1, 3, 1, Ones, "priority", "EINVAL"),
    ("sched_setscheduler", 2, 3, 1, Ones, "priority", "EINVAL"),
    ("seccomp", 2, 1, 1, Ones, "length of the filter", "EINVAL"),
    ("semop", 1, 0, 2, Ones, "number of the first semaphore", "EFBIG"),
    ("semtimedop", 1, 0, 2, Ones, "number of the first semaphore", "EFBIG"),
    ("sendmmsg", 1, 31, 1, Ones, "number of buffers of the first message", "EMSGSIZE"),
    ("sendmsg", 1, 31, 1, Ones, "number of buffers", "EMSGSIZE"),
    ("sendto", 4, 1, 1, Ones, "address family", "EAFNOSUPPORT, EINVAL"),
    ("setgroups", 1, 0, 4, Ones, "first group", "EINVAL"),
    ("settimeofday", 0, 15, 1, Ones, "microseconds", "EINVAL"),
    ("settimeofday", 1, 3, 1, Ones, "time zone", "EINVAL"),
    ("vmsplice", 1, 15, 1, Ones, "length of the first buffer", "EINVAL"),
    ("writev", 1, 15, 1, Ones, "length of the first buffer", "EINVAL"),
];

/// Texts that may be empty, or whose content is the call's business, or that may both be empty: not rewritten.
const EMPTY_IS_FINE: [&str; 5] = ["memfd_create", "move_mount", "readlinkat", "sethostname", "setdomainname"];

/// Where an empty text makes another error than ENOENT: (call, argument, error).
const OTHER_ERRORS: [(&str, u8, &str); 16] = [
    ("add_key", 0, "EINVAL"),
    ("fgetxattr", 1, "ERANGE"),
    ("fremovexattr", 1, "ERANGE"),
    ("fsetxattr", 1, "ERANGE"),
    ("fsopen", 0, "ENODEV"),
    ("getxattr", 1, "ERANGE"),
    ("lgetxattr", 1, "ERANGE"),
    ("lremovexattr", 1, "ERANGE"),
    ("lsetxattr", 1, "ERANGE"),
    ("removexattr", 1, "ERANGE"),
    ("removexattrat", 3, "ERANGE"),
    ("request_key", 0, "EINVAL"),
    ("setxattr", 1, "ERANGE"),
    ("setxattrat", 3, "ERANGE"),
    ("swapoff", 0, "ENOENT, EINVAL"),
    ("uselib", 0, "ENOENT, ENOSYS"),
];

/// The bit of the flag of `open` by which kernels of 2026 (seen in 7.3) take an empty path; older ones ignore it.
const O_EMPTYPATH: u8 = 26;

/// Whether this kernel is one of those.
fn opens_empty_path() -> bool {
    static OPENS: LazyLock<bool> = LazyLock::new(|| {
        let flags = libc::O_DIRECTORY | libc::O_CLOEXEC | 1 << O_EMPTYPATH;
        // SAFETY: the path is a text; it takes nothing else.
        let descriptor = unsafe { libc::open(c"".as_ptr(), flags) };
        // SAFETY: it was opened just now, and nobody else has it.
        descriptor >= 0 && unsafe { libc::close(descriptor) } == 0
    });
    *OPENS
}

/// The argument whose bit means that an empty path is the descriptor itself: (call, argument, bit).
const EMPTY_PATH: [(&str, u8, u8); 19] = [
    ("execveat", 4, 12),
    ("faccessat2", 3, 12),
    ("fchmodat2", 3, 12),
    ("fchownat", 4, 12),
    ("file_setattr", 4, 12),
    ("fspick", 2, 3),
    ("linkat", 4, 12),
    ("mount_setattr", 2, 12),
    ("name_to_handle_at", 4, 12),
    ("newfstatat", 3, 12),
    ("open", 1, O_EMPTYPATH),
    ("open_tree", 2, 12),
    ("open_tree_attr", 2, 12),
    ("openat", 2, O_EMPTYPATH),
    ("openat2", 2, O_EMPTYPATH), // in the structure, which is there
    ("removexattrat", 2, 12),
    ("setxattrat", 2, 12),
    ("statx", 2, 12),
    ("utimensat", 3, 12),
];

/// What is written into each byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteValue {
    /// It ends a text before it begins.
    Zero,
    /// All bits.
    Ones,
}

/// One thing that is written; of several the first that can be is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewriting {
    /// The argument, from 0.
    pub arg: u8,
    /// Where in what it points to, in bytes.
    pub offset: u8,
    /// How many bytes.
    pub len: u8,
    /// What they become.
    pub value: ByteValue,
    /// What that is, for people.
    pub what: &'static str,
    /// What the call returns then.
    pub error: &'static str,
}

/// What can be rewritten of a call. Nothing: it can only be killed for.
pub fn rewriting(call: &Call) -> Vec<Rewriting> {
    let text = |arg: usize, what| {
        let error = OTHER_ERRORS.iter().find(|(name, at, _)| *name == call.name && usize::from(*at) == arg);
        let error = error.map_or("ENOENT", |(.., error)| error);
        Rewriting { arg: arg as u8, offset: 0, len: 1, value: Zero, what, error }
    };
    let place = |wanted: &[u8]| call.args.bytes().position(|letter| wanted.contains(&letter));
    let (first, second) = match call.name {
        // An empty source is fine.
        "mount" => (place(b"q"), None),
        name if EMPTY_IS_FINE.contains(&name) => (None, None),
        _ => (place(b"pP"), place(b"q")),
    };
    let (one, two) = match call.name {
        "add_key" | "request_key" => ("type", "description"),
        "fsopen" => ("name of the file system", ""),
        name if name.contains("xattr") => ("path", "name of the attribute"),
        "delete_module" => ("name of the module", ""),
        _ => ("path", "second path"),
    };
    let mut steps = Vec::new();
    steps.extend(first.map(|arg| text(arg, one)));
    // An empty description is fine.
    if one != "type" {
        steps.extend(second.map(|arg| text(arg, two)));
    }
    let others = OTHERS.iter().filter(|(name, ..)| *name == call.name);
    steps.extend(others.map(|&(_, arg, offset, len, value, what, error)| Rewriting {
        arg,
        offset,
        len,
        value,
        what,
        error,
    }));
    steps
}

/// The argument (from 0) and its bit with which an empty first path is no error.
pub fn empty_path_bit(call: &Call) -> Option<(u8, u8)> {
    EMPTY_PATH.iter().find(|(name, ..)| *name == call.name).map(|&(_, arg, bit)| (arg, bit))
}

/// The table of `docs/rewriting.md`: calls that are policed by default, or (`relevant` false) only if asked for.
pub fn describe(relevant: bool) -> String {
    let set = u32::from(relevant);
    let calls = calls().iter().filter(|call| u32::from(call.sets & intf::SET_RELEVANT as u8 != 0) == set);
    let (some, none): (Vec<_>, Vec<_>) = calls.partition(|call| !rewriting(call).is_empty());
    let mut text = String::from("| call | written | it fails with |\n|---|---|---|\n");
    for call in some {
        let steps = rewriting(call);
        let empty = empty_path_bit(call);
        let mut written: Vec<_> = steps.iter().map(Rewriting::describe).collect();
        if empty.is_some() {
            written[0] += " (not where an empty one means the descriptor)";
        }
        let mut errors: Vec<_> = steps.iter().map(|step| step.error).collect();
        errors.dedup();
        let _ = writeln!(text, "| `{}` | {} | {} |", call.name, written.join("; else "), errors.join("; "));
    }
    let names: Vec<_> = none.iter().map(|call| format!("`{}`", call.name)).collect();
    let names = if relevant { names.join(", ") } else { "any other (`accept`, `write`, …)".into() };
    let _ = writeln!(text, "| {names} | nothing: killed, at most one | |");
    text
}

impl Rewriting {
    fn describe(&self) -> String {
        let Self { arg, offset, len, .. } = self;
        let value = if self.value == Zero { "0" } else { "ff" };
        let bytes = match (len, offset) {
            (1, _) => format!("byte {offset}"),
            (_, _) => format!("bytes {offset} to {}", offset + len - 1),
        };
        format!("{} (argument {}, {bytes} = {value})", self.what, arg + 1)
    }
}

/// Puts it into the row that the BPF side reads.
pub(super) fn fill(desc: &mut call_desc, call: &Call) {
    for (step, rewriting) in desc.steps.iter_mut().zip(rewriting(call)) {
        *step = rewrite_step {
            arg: rewriting.arg + 1,
            len: rewriting.len,
            offset: rewriting.offset,
            ones: u8::from(rewriting.value == Ones),
        };
    }
    if let Some((arg, bit)) = empty_path_bit(call)
        && (bit != O_EMPTYPATH || opens_empty_path())
    {
        (desc.empty_arg, desc.empty_bits_at) = (arg + 1, bit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Vec<(u8, u8, u8, ByteValue)> {
        let call = calls().iter().find(|call| call.name == name).expect(name);
        rewriting(call).iter().map(|r| (r.arg, r.offset, r.len, r.value)).collect()
    }

    #[test]
    fn what_is_written_is_what_the_kernel_refuses() {
        assert_eq!(of("unlink"), [(0, 0, 1, Zero)]);
        assert_eq!(of("renameat2"), [(1, 0, 1, Zero), (3, 0, 1, Zero)]);
        assert_eq!(of("connect"), [(1, 1, 1, Ones)]);
        assert_eq!(of("execve"), [(0, 0, 1, Zero), (1, 7, 1, Ones)]);
        assert_eq!(of("openat2"), [(1, 0, 1, Zero), (2, 7, 1, Ones)]);
        assert_eq!(of("mount"), [(1, 0, 1, Zero)], "the target: an empty source is fine");
        assert_eq!(of("setxattrat"), [(1, 0, 1, Zero), (3, 0, 1, Zero)]);
        for by_value in ["kill", "socket", "fork", "clone", "mmap", "ftruncate", "memfd_create", "move_mount"]
        {
            assert_eq!(of(by_value), [], "{by_value}");
        }
    }

    #[test]
    fn every_name_is_a_call_and_every_step_fits() {
        let names = OTHERS.iter().map(|(name, ..)| name);
        let names = names.chain(OTHER_ERRORS.iter().map(|(name, ..)| name)).chain(&EMPTY_IS_FINE);
        for name in names.chain(EMPTY_PATH.iter().map(|(name, ..)| name)) {
            assert!(calls().iter().any(|call| call.name == *name), "{name}");
        }
        for call in calls() {
            let steps = rewriting(call);
            assert!(steps.len() <= intf::REWRITE_STEPS as usize, "{}", call.name);
            assert!(
                steps.iter().all(|step| step.arg < 6 && [1, 2, 4, 8].contains(&step.len)),
                "{}",
                call.name
            );
        }
    }

    #[test]
    fn whoever_takes_an_empty_path_for_the_descriptor_is_listed() {
        for call in calls().iter().filter(|call| call.name.ends_with("at2") && call.args.starts_with("dp")) {
            assert!(empty_path_bit(call).is_some() || call.name == "renameat2");
        }
    }

    /// `docs/rewriting.md` has what the code does.
    #[test]
    fn the_table_in_the_docs_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rewriting.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (head, rest) = text.split_once("<!-- generated: ").unwrap();
        let (how, rest) = rest.split_once("-->\n").unwrap();
        let (_, tail) = rest.split_once("<!-- end -->").unwrap();
        let also = "\nPoliced only where they are asked for (`--syscalls`):\n\n";
        let table = format!("\n{}{also}{}\n", describe(true), describe(false));
        let now = format!("{head}<!-- generated: {how}-->\n{table}<!-- end -->{tail}");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        assert!(text == now || std::env::var_os("UPDATE").is_some(), "UPDATE=1 cargo test writes it");
    }
}
