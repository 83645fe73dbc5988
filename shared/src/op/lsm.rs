//! The LSM view: which hook sees what, under the names of the system calls that are there for it.
//!
//! Several calls that do the same are one operation here: `unlink` is also `unlinkat`, and `openat:create` whatever
//! makes a regular file. What no hook sees has no operation in this view.

use super::{Op, OpSet, Selection, class_names};
use crate::intf::{self, Call};
use std::str::FromStr;

/// One hook.
#[derive(Debug, Clone, Copy)]
pub struct Hook {
    /// As the kernel calls it, and our program for it.
    pub name: &'static str,
    /// What it sees: calls of the table.
    pub calls: &'static [&'static str],
    /// Not on every kernel from 6.1 on; what sees it there, or why it does not matter.
    pub optional: Option<&'static str>,
}

const fn hook(name: &'static str, calls: &'static [&'static str]) -> Hook {
    Hook { name, calls, optional: None }
}

const fn optional(name: &'static str, calls: &'static [&'static str], without: &'static str) -> Hook {
    Hook { name, calls, optional: Some(without) }
}

/// Calls that only `capable` sees: those whose caller has the capability.
pub const BY_CAPABILITY: &[&str] = &[
    "acct",
    "adjtimex",
    "clock_adjtime",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "init_module",
    "ioperm",
    "iopl",
    "kexec_file_load",
    "kexec_load",
    "lookup_dcookie",
    "mount_setattr",
    "open_by_handle_at",
    "open_tree",
    "open_tree_attr",
    "process_madvise",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "setdomainname",
    "sethostname",
    "setns",
    "swapoff",
    "swapon",
    "unshare",
    "vhangup",
];

/// Calls that no hook sees, and the programs at their own functions, which not every kernel allows.
pub const BY_FUNCTION: &[(&str, &str)] = &[
    ("modify_ldt", "call_modify_ldt"),
    ("personality", "call_personality"),
    ("seccomp", "call_seccomp"),
    ("vmsplice", "call_vmsplice"),
];

/// Asked whenever a file is made: only loaded where nothing else sees a memfd.
pub const ALLOCATION: &str = "file_alloc_security";

/// Every hook that is used.
pub const HOOKS: &[Hook] = &[
    hook("file_open", &["openat", "pidfd_open"]),
    optional(
        ALLOCATION,
        &["memfd_create", "pidfd_open"],
        "loaded where the kernel does not ask about a memfd by its name, as 6.18 does not and 7.3 does",
    ),
    hook("path_mknod", &["openat", "mknod"]),
    hook("inode_create", &["openat"]),
    hook("path_unlink", &["unlink"]),
    hook("inode_unlink", &["mq_unlink"]),
    hook("path_mkdir", &["mkdir"]),
    hook("path_rmdir", &["rmdir"]),
    hook("path_rename", &["rename"]),
    hook("path_link", &["link"]),
    hook("path_symlink", &["symlink"]),
    hook("path_truncate", &["truncate"]),
    optional("file_truncate", &["truncate"], "path_truncate sees ftruncate, too, before Linux 6.2"),
    hook("path_chmod", &["chmod"]),
    hook("path_chown", &["chown"]),
    hook("inode_setattr", &["utimensat"]),
    hook("inode_setxattr", &["setxattr"]),
    hook("inode_removexattr", &["removexattr"]),
    optional("inode_file_setattr", &["file_setattr"], "there is no such call before Linux 6.17"),
    hook("path_notify", &["fanotify_mark", "inotify_add_watch"]),
    hook("path_chroot", &["chroot"]),
    hook("file_ioctl", &["ioctl"]),
    hook("file_fcntl", &["fcntl"]),
    hook("file_permission", &["write", "copy_file_range", "fallocate"]),
    hook("mmap_file", &["mmap"]),
    hook("file_mprotect", &["mprotect"]),
    hook("bprm_creds_for_exec", &["execve"]),
    hook("bprm_creds_from_file", &["exec"]),
    hook("task_alloc", &["clone"]),
    hook("task_kill", &["kill"]),
    hook("ptrace_access_check", &["ptrace"]),
    hook("ptrace_traceme", &["ptrace"]),
    hook("task_prlimit", &["prlimit64"]),
    hook("task_setrlimit", &["prlimit64"]),
    hook("task_setnice", &["setpriority"]),
    hook("task_setioprio", &["ioprio_set"]),
    hook("task_setscheduler", &["sched_setscheduler"]),
    hook("task_movememory", &["move_pages"]),
    hook("task_prctl", &["prctl"]),
    hook("task_fix_setuid", &["setuid"]),
    hook("task_fix_setgid", &["setgid"]),
    hook("task_fix_setgroups", &["setgroups"]),
    hook("capset", &["capset"]),
    hook("userns_create", &["unshare"]),
    hook("capable", BY_CAPABILITY),
    hook("shm_alloc_security", &["shmget"]),
    hook("shm_associate", &["shmget"]),
    hook("shm_shmat", &["shmat"]),
    hook("shm_shmctl", &["shmctl"]),
    hook("sem_alloc_security", &["semget"]),
    hook("sem_associate", &["semget"]),
    hook("sem_semop", &["semop"]),
    hook("sem_semctl", &["semctl"]),
    hook("msg_queue_alloc_security", &["msgget"]),
    hook("msg_queue_associate", &["msgget"]),
    hook("msg_queue_msgsnd", &["msgsnd"]),
    hook("ipc_permission", &["msgrcv"]),
    hook("msg_queue_msgctl", &["msgctl"]),
    hook("socket_create", &["socket"]),
    hook("socket_bind", &["bind"]),
    hook("socket_connect", &["connect"]),
    hook("socket_listen", &["listen"]),
    hook("socket_accept", &["accept"]),
    hook("socket_sendmsg", &["sendto"]),
    hook("sb_mount", &["mount"]),
    hook("move_mount", &["move_mount"]),
    hook("sb_umount", &["umount2"]),
    hook("sb_pivotroot", &["pivot_root"]),
    hook("bpf", &["bpf"]),
    hook("perf_event_open", &["perf_event_open"]),
    hook("key_permission", &["keyctl"]),
    hook("key_alloc", &["keyctl"]),
    hook("syslog", &["syslog"]),
    hook("settime", &["clock_settime"]),
    hook("inode_init_security_anon", &["io_uring_setup", "userfaultfd", "memfd_secret", "memfd_create"]),
    hook("uring_sqpoll", &["io_uring_setup"]),
    hook("uring_override_creds", &["io_uring_register"]),
];

/// Calls of the table under whose name another call is seen.
const SAME: &[(&str, &[&str])] = &[
    ("openat", &["open", "openat2", "mq_open"]),
    ("unlink", &["unlinkat"]),
    ("rename", &["renameat", "renameat2"]),
    ("mkdir", &["mkdirat"]),
    ("rmdir", &["unlinkat"]),
    ("link", &["linkat"]),
    ("symlink", &["symlinkat"]),
    ("mknod", &["mknodat"]),
    ("truncate", &["ftruncate"]),
    ("chmod", &["fchmod", "fchmodat", "fchmodat2"]),
    ("chown", &["fchown", "lchown", "fchownat"]),
    ("utimensat", &["utime", "utimes", "futimesat"]),
    ("setxattr", &["lsetxattr", "fsetxattr", "setxattrat"]),
    ("removexattr", &["lremovexattr", "fremovexattr", "removexattrat"]),
    // Also sendfile and splice, which no other view polices.
    ("write", &["pwrite64", "writev", "pwritev", "pwritev2"]),
    ("mprotect", &["pkey_mprotect"]),
    ("execve", &["execveat"]),
    ("clone", &["clone3"]),
    ("kill", &["tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal"]),
    ("ptrace", &["process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp"]),
    ("setuid", &["setreuid", "setresuid", "setfsuid"]),
    ("setgid", &["setregid", "setresgid", "setfsgid"]),
    ("socket", &["socketpair"]),
    ("accept", &["accept4"]),
    ("sendto", &["sendmsg", "sendmmsg"]),
    ("sched_setscheduler", &["sched_setparam", "sched_setattr", "sched_setaffinity"]),
    ("move_pages", &["migrate_pages"]),
    ("semop", &["semtimedop"]),
    ("keyctl", &["add_key", "request_key"]),
    ("clock_settime", &["settimeofday"]),
    ("io_uring_setup", &["io_uring_enter"]),
];

fn call(name: &str) -> Option<&'static Call> {
    intf::calls().iter().find(|call| call.name == name)
}

fn is_seen(name: &str) -> bool {
    HOOKS.iter().any(|hook| hook.calls.contains(&name)) || BY_FUNCTION.iter().any(|(call, _)| *call == name)
}

/// Whether only the call's own function tells of it.
pub fn is_by_function(op: Op) -> bool {
    op.call().is_some_and(|call| BY_FUNCTION.iter().any(|(name, _)| *name == call.name))
}

/// The operations as which hooks see this one of the syscall view; none where no hook does.
pub fn seen_as(op: Op) -> Vec<Op> {
    let Some(of) = op.call() else { return vec![op] };
    let make = |nr: u16| Op::new(nr, op.class());
    let mut seen: Vec<Op> = is_seen(of.name).then(|| make(of.nr)).into_iter().collect();
    for (name, others) in SAME {
        if let Some(call) = call(name).filter(|_| others.contains(&of.name)) {
            match (class_names(of.class_kind).len(), class_names(call.class_kind).len()) {
                (_, 0) => seen.push(Op::new(call.nr, 0)),
                // Its own table does not tell what the hook does.
                (0, classes) => seen.extend((0..classes as u8).map(|class| Op::new(call.nr, class))),
                _ => seen.push(make(call.nr)),
            }
        }
    }
    let fixed = |text: &str| Op::parse(text).expect("a test parses it");
    match of.name {
        // A regular file may be made by each.
        "creat" | "mknod" | "mknodat" => seen.push(fixed("openat:create")),
        // A name in the file system is made for it.
        "bind" if u32::from(op.class()) == intf::FAMILY_UNIX => seen.push(fixed("mknod")),
        "fork" | "vfork" => seen.push(fixed("clone:process")),
        // They are policed for what can be executed: whoever needs memory maps it plainly.
        "remap_file_pages" | "uselib" => seen.push(fixed("mmap:exec")),
        "shmat" if u32::from(op.class()) == intf::MEM_EXEC => seen.push(fixed("mmap:exec")),
        "setrlimit" => seen.push(fixed("prlimit64:self")),
        _ => {}
    }
    seen.sort_unstable();
    seen.dedup();
    seen
}

/// What is policed here of a selection. What not every kernel allows is only in it where it is named, so that the
/// selection of a profile says whether that was learnt.
pub fn seen_of(selection: &Selection) -> OpSet {
    let named: OpSet = selection.named().collect();
    let is_policed = |op: &Op| !is_by_function(*op) || named.contains(*op);
    selection.ops().iter().filter(is_policed).flat_map(seen_as).collect()
}

/// The selection with the names of all that is in it and only a call's own function tells.
pub fn with_functions(selection: &Selection) -> Selection {
    let ops = selection.ops();
    let named = BY_FUNCTION.iter().filter_map(|(name, _)| Selection::from_str(name).ok());
    let asked = named.filter(|of| of.named().all(|op| ops.contains(op)));
    asked.fold(selection.clone(), |all, of| all.union(&of))
}

/// The programs at the functions of calls that are needed to see a set of this view.
pub fn functions_for(ops: &OpSet) -> impl Iterator<Item = &'static str> {
    let is_policed = |name| call(name).is_some_and(|call| ops.contains_call(call.nr));
    BY_FUNCTION.iter().filter(move |(name, _)| is_policed(name)).map(|(_, program)| *program)
}

/// Whether an operation is one of this view.
pub fn is_of_view(op: Op) -> bool {
    op.call().is_none_or(|call| is_seen(call.name))
}

/// The hooks that are needed to see a set of this view.
pub fn hooks_for(ops: &OpSet) -> impl Iterator<Item = &'static Hook> {
    HOOKS.iter().filter(|hook| {
        // Where a child or a program comes from is always recorded, and who is a worker of php-fpm.
        ["task_alloc", "bprm_creds_for_exec", "socket_accept"].contains(&hook.name)
            || hook.calls.iter().any(|name| match call(name) {
                Some(call) => ops.contains_call(call.nr),
                None => ops.contains(Op::EXEC),
            })
    })
}

/// By number: what only `capable` sees.
pub fn by_capability() -> [u8; intf::NR_MAX as usize] {
    let mut numbers = [0; intf::NR_MAX as usize];
    for call in BY_CAPABILITY.iter().filter_map(|name| call(name)) {
        numbers[usize::from(call.nr)] = 1;
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(text: &str) -> Selection {
        text.parse().unwrap()
    }

    fn seen(text: &str) -> Vec<String> {
        seen_as(Op::parse(text).unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_does_the_same_is_one_operation() {
        assert_eq!(seen("unlink"), ["unlink"]);
        assert_eq!(seen("unlinkat"), ["rmdir", "unlink"]);
        assert_eq!(seen("open:read"), ["openat:read"]);
        assert_eq!(seen("creat"), ["openat:create"]);
        assert_eq!(seen("mknod"), ["mknod", "openat:create"]);
        assert_eq!(seen("bind:unix"), ["bind:unix", "mknod"]);
        assert_eq!(seen("bind:inet"), ["bind:inet"]);
        assert_eq!(seen("fork"), ["clone:process"]);
        assert_eq!(seen("clone3:thread"), ["clone:thread"]);
        assert_eq!(seen("kill:self"), ["kill:self"]);
        assert_eq!(seen("pidfd_send_signal"), ["kill:self", "kill:subject", "kill:stranger"]);
        assert_eq!(seen("sendmsg:inet"), ["sendto:inet"]);
        assert_eq!(seen("socketpair:unix"), ["socket:unix"]);
        assert_eq!(seen("setrlimit"), ["prlimit64:self"]);
        assert_eq!(seen("prlimit64:other"), ["prlimit64:other"]);
        assert_eq!(seen("shmctl:change"), ["shmctl:change"]);
        assert_eq!(seen("uselib"), ["mmap:exec"]);
        assert_eq!(seen("remap_file_pages"), ["mmap:exec"]);
        assert_eq!(seen("shmat:plain"), ["shmat:plain"]);
        assert_eq!(seen("shmat:exec"), ["mmap:exec", "shmat:exec"]);
        assert_eq!(seen("semtimedop"), ["semop"]);
        assert_eq!(seen("seccomp"), ["seccomp"]);
        assert_eq!(seen("read"), Vec::<String>::new());
        assert_eq!(seen("exec"), ["exec"]);
    }

    #[test]
    fn what_the_default_leaves_out_by_its_class_is_left_out_here() {
        let default = Selection::default();
        let of = default.ops();
        let seen: Vec<String> =
            seen_of(&default).iter().filter(|op| !of.contains(*op)).map(|op| op.to_string()).collect();
        assert!(seen.is_empty(), "{seen:?}");
    }

    #[test]
    fn every_name_is_a_call() {
        let named = HOOKS.iter().flat_map(|hook| hook.calls).filter(|name| **name != "exec");
        let same = SAME.iter().flat_map(|(name, others)| others.iter().chain([name]));
        let functions = BY_FUNCTION.iter().map(|(name, _)| name);
        for name in named.chain(BY_CAPABILITY).chain(same).chain(functions) {
            assert!(call(name).is_some(), "{name}");
        }
    }

    #[test]
    fn classes_of_what_is_the_same_are_the_same() {
        for (name, others) in SAME {
            let classes = |name: &str| class_names(call(name).unwrap().class_kind);
            for other in *others {
                let (one, two) = (classes(name), classes(other));
                assert!(one == two || one.is_empty() || two.is_empty(), "{name} and {other}");
            }
        }
    }

    #[test]
    fn the_original_s_twenty_have_a_hook_each() {
        let seed = selection("seed");
        for op in seed.ops().iter().filter(|op| op.call().is_some()) {
            assert!(!seen_as(op).is_empty(), "{op}");
        }
        assert_eq!(hooks_for(&seen_of(&seed)).filter(|hook| hook.name == "path_unlink").count(), 1);
        assert!(hooks_for(&seen_of(&seed)).all(|hook| hook.name != "file_permission"));
        assert!(hooks_for(&seen_of(&selection("unlink"))).any(|hook| hook.name == "socket_accept"));
    }

    #[test]
    fn operations_of_the_view_are_seen_as_themselves() {
        for op in seen_of(&with_functions(&selection("all"))).iter() {
            assert!(is_of_view(op), "{op}");
            assert!(seen_as(op).contains(&op), "{op}");
        }
    }

    #[test]
    fn what_not_every_kernel_allows_is_policed_where_it_is_named() {
        let seccomp = Op::parse("seccomp").unwrap();
        for text in ["relevant", "all", "seed", "unlink"] {
            assert!(!seen_of(&selection(text)).contains(seccomp), "{text}");
        }
        let named = with_functions(&selection("relevant"));
        assert_eq!(named.to_string(), "relevant,personality,modify_ldt,vmsplice,seccomp");
        assert!(seen_of(&named).contains(seccomp));
        assert_eq!(functions_for(&seen_of(&named)).count(), BY_FUNCTION.len());
        assert_eq!(functions_for(&seen_of(&selection("all"))).count(), 0);
        assert_eq!(with_functions(&selection("seed,unlink")).to_string(), "seed,unlink");
    }

    #[test]
    fn whatever_is_relevant_has_an_operation() {
        for op in selection("relevant").ops().iter().filter(|op| !op.is_unreadable()) {
            assert!(!seen_as(op).is_empty(), "{op}");
        }
    }
}
