//! What is rewritten in memory so that a call fails; see `intf.h`, `struct rewrite_step`.

use crate::intf::{Call, call_desc, rewrite_step};

/// Calls whose first path may be empty without an error, or that have no path: what is written instead, as
/// (argument, offset, bytes, what it is).
const ONES: [(&str, u8, u8, u8, &str); 14] = [
    ("bind", 1, 0, 2, "address family"),
    ("bpf", 1, 0, 8, "first bytes of the attributes"),
    ("capset", 0, 0, 4, "version of the header"),
    ("clone3", 0, 0, 8, "flags"),
    ("connect", 1, 0, 2, "address family"),
    ("execve", 1, 0, 8, "pointer to the first argument"),
    ("execveat", 2, 0, 8, "pointer to the first argument"),
    ("io_uring_setup", 1, 8, 4, "flags"),
    ("openat2", 2, 0, 8, "flags"),
    ("perf_event_open", 0, 4, 4, "size of the attributes"),
    ("sendmmsg", 1, 24, 8, "number of buffers of the first message"),
    ("sendmsg", 1, 24, 8, "number of buffers"),
    ("sendto", 4, 0, 2, "address family"),
    ("clock_settime", 1, 8, 8, "nanoseconds"),
];

/// Texts that may be empty, or whose content is the call's business: nothing to rewrite.
const EMPTY_IS_FINE: [&str; 5] = ["acct", "memfd_create", "sethostname", "setdomainname", "uselib"];

/// The argument whose bit means that an empty path is the descriptor itself: (call, argument, bit).
const EMPTY_PATH: [(&str, u8, u8); 11] = [
    ("execveat", 4, 12),
    ("fchmodat2", 3, 12),
    ("fchownat", 4, 12),
    ("file_setattr", 4, 12),
    ("fspick", 2, 3),
    ("linkat", 4, 12),
    ("mount_setattr", 2, 12),
    ("open_tree", 2, 12),
    ("removexattrat", 2, 12),
    ("setxattrat", 2, 12),
    ("utimensat", 3, 12),
];

/// One thing that is written; of several the first that can be is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewriting {
    /// The argument, from 0.
    pub arg: u8,
    /// Where in what it points to, in bytes.
    pub offset: u8,
    /// How many bytes.
    pub len: u8,
    /// All bits one; else a zero byte, which ends a text before it begins.
    pub ones: bool,
    /// What that is, for people.
    pub what: &'static str,
}

/// What can be rewritten of a call. Nothing: it can only be killed for.
pub fn rewriting(call: &Call) -> Vec<Rewriting> {
    let text = |arg: usize, what| Rewriting { arg: arg as u8, offset: 0, len: 1, ones: false, what };
    let place = |wanted: &[u8]| call.args.bytes().position(|letter| wanted.contains(&letter));
    let mut steps = Vec::new();
    // An empty source is fine for mount(2); move_mount(2) may take empty paths at both ends.
    let (first, second) = match call.name {
        "mount" => (place(b"q"), None),
        "move_mount" => (None, None),
        name if EMPTY_IS_FINE.contains(&name) => (None, None),
        name if name.contains("xattr") => (place(b"p").or(place(b"q")), None),
        _ => (place(b"pP"), place(b"q")),
    };
    steps.extend(first.map(|arg| text(arg, "path")));
    steps.extend(second.map(|arg| text(arg, "second path")));
    let ones = ONES.iter().filter(|(name, ..)| *name == call.name);
    steps.extend(ones.map(|&(_, arg, offset, len, what)| Rewriting { arg, offset, len, ones: true, what }));
    steps
}

/// The argument (from 0) and its bit with which an empty path is no error.
pub fn empty_path_bit(call: &Call) -> Option<(u8, u8)> {
    EMPTY_PATH.iter().find(|(name, ..)| *name == call.name).map(|&(_, arg, bit)| (arg, bit))
}

/// Puts it into the row that the BPF side reads.
pub(super) fn fill(desc: &mut call_desc, call: &Call) {
    for (step, rewriting) in desc.steps.iter_mut().zip(rewriting(call)) {
        *step = rewrite_step {
            arg: rewriting.arg + 1,
            len: rewriting.len,
            offset: rewriting.offset,
            ones: u8::from(rewriting.ones),
        };
    }
    if let Some((arg, bit)) = empty_path_bit(call) {
        (desc.empty_arg, desc.empty_bits_at) = (arg + 1, bit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intf::{self, calls};

    fn of(name: &str) -> Vec<(u8, u8, bool)> {
        let call = calls().iter().find(|call| call.name == name).expect(name);
        rewriting(call).iter().map(|r| (r.arg, r.len, r.ones)).collect()
    }

    #[test]
    fn what_is_written_is_what_the_kernel_refuses() {
        assert_eq!(of("unlink"), [(0, 1, false)]);
        assert_eq!(of("renameat2"), [(1, 1, false), (3, 1, false)]);
        assert_eq!(of("connect"), [(1, 2, true)]);
        assert_eq!(of("execve"), [(0, 1, false), (1, 8, true)]);
        assert_eq!(of("openat2"), [(1, 1, false), (2, 8, true)]);
        assert_eq!(of("mount"), [(1, 1, false)], "the target: an empty source is fine");
        for by_value in ["kill", "socket", "fork", "clone", "mmap", "ftruncate", "memfd_create", "move_mount"]
        {
            assert_eq!(of(by_value), [], "{by_value}");
        }
    }

    #[test]
    fn every_name_is_a_call_and_every_step_fits() {
        let known = |name: &str| assert!(calls().iter().any(|call| call.name == name), "{name}");
        ONES.iter().for_each(|(name, ..)| known(name));
        EMPTY_IS_FINE.iter().for_each(|name| known(name));
        EMPTY_PATH.iter().for_each(|(name, ..)| known(name));
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
            assert!(empty_path_bit(call).is_some() || call.name == "openat2" || call.name == "renameat2");
        }
    }
}
