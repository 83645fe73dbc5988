//! What PHP has no function for: by a program that a learnt function starts. Some of it takes root, which this strategy
//! contains.

use e2e::arena::USER;
use e2e::session::exported;
use e2e::suite::{DENIES_NO_CALL, HAS_NO_FILE_SETATTR, HAS_NO_SECRET_MEMORY, limit, test};
use libtest_mimic::Trial;

use super::trap::Trap;
use super::world::{
    ATTACKS, POLICED, TWINS, World, assert_denied, assert_done, learnt, php, run, survives, traps,
};

const ROOT: u32 = 0;

/// By an ordinary user.
const CALLS: &[&str] = &[
    "open_truncate",
    "truncate",
    "openat2",
    "read_openat2",
    "creat",
    "tmpfile",
    "message_queue",
    "unlinkat_dir",
    "exchange",
    "uring",
    "uring_async",
    "uring_sqpoll",
    "userfaultfd",
    "add_key",
    "ptrace",
    "traceme",
    "peek",
    "sigqueue",
    "socketpair",
    "capset",
    "mmap_exec",
    "mprotect_exec",
    "queue_remove",
    "shm_remove",
    "sem_remove",
    "msg_remove",
    "shm_find",
    "sem_find",
    "msg_find",
    "shm_make",
    "sem_make",
    "msg_make",
    "shm_store",
    "sem_up",
    "msg_send",
    "msg_receive",
    "prlimit",
    "renice",
    "schedule",
    "affinity",
    "io_priority",
    "move_pages",
    "memfd",
    "pidfd_open",
    "fanotify",
    "inotify",
    "fcntl",
    "prctl",
];
/// Likewise, where the kernel has them.
const FILE_SETATTR: &str = "file_setattr";
const MEMFD_SECRET: &str = "memfd_secret";
/// Which a program does that has learnt what they begin with: a file to write to, a descriptor of a process.
const PREPARED: &[&str] = &["pidfd_signal", "copy_range", "fallocate", "ioctl"];
/// By root.
const BY_ROOT: &[&str] = &[
    "setxattr",
    "removexattr",
    "perf",
    "device",
    "mount",
    "umount",
    "move_mount",
    "chroot",
    "setgroups",
    "syslog",
    "time_zone",
    // Of which only the hook `capable` hears.
    "hostname",
    "domain_name",
    "unshare",
    "adjtimex",
    "clock_adjtime",
    "reboot",
    "ioperm",
    "iopl",
    "vhangup",
    "acct",
    "kexec_load",
    "fanotify_init",
    "fsopen",
    "open_tree",
    "mount_setattr",
];
/// Likewise, beginning with mounts of its own, or a descriptor of a process.
const PREPARED_BY_ROOT: &[&str] = &["pivot_root", "setns"];
/// No hook sees them. Where the kernel lets a program deny a call itself, they are policed.
const BY_FUNCTION: &[&str] = &["vmsplice", "personality", "modify_ldt"];
const BY_FUNCTION_OF_ROOT: &[&str] = &["seccomp"];
/// Never granted, learnt or not.
const NEVER: &[&str] = &["int80", "exec_memfd"];
const NEVER_BY_ROOT: &[&str] = &["bpf"];
/// By means that the program has learnt.
const ROUNDABOUT: &[&str] = &["uring_credentials", "uring_socket"];

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("what_php_has_no_function_for_does_nothing", by_user),
        test("file_setattr_does_nothing", || by_user_where_it_is(FILE_SETATTR, HAS_NO_FILE_SETATTR)),
        test("memfd_secret_does_nothing", || by_user_where_it_is(MEMFD_SECRET, HAS_NO_SECRET_MEMORY)),
        test("what_no_hook_sees_does_nothing_where_calls_can_be_denied", by_function),
        test("root_is_contained", by_root),
        test("a_32_bit_call_and_a_program_without_a_name_are_never_granted", never),
        test("a_request_under_other_credentials_is_judged_like_any", roundabout),
    ]
}

/// A program does all of these, one after the other, below a shell that a learnt function starts.
fn calls(
    world: &World,
    user: u32,
    program: &str,
    traps: &[Trap],
    operations: &[&str],
    count: usize,
) -> String {
    let program = world.arena.arg(program);
    let one = |(operation, trap): (&&str, &Trap)| {
        format!("{program} {operation} {} {count} {}", trap.folder().display(), trap.extra())
    };
    let commands: Vec<String> = operations.iter().zip(traps).map(one).collect();
    survives(&mut php(&world.arena, user, "shell.php", &[&commands.join("; ")]))
}

fn all_done(world: &World, user: u32, operations: &[&str]) {
    let set = traps(&world.arena, operations, TWINS, user);
    let text = calls(world, user, "calls-learnt", &set, operations, TWINS);
    assert_done(&text, operations, &set, TWINS);
}

/// Whether this kernel has the call that an operation is made of.
fn is_here(operation: &str) -> bool {
    const SYS_FILE_SETATTR: libc::c_long = 469;
    let number = if operation == FILE_SETATTR { SYS_FILE_SETATTR } else { libc::SYS_memfd_secret };
    // SAFETY: flags that there are none of, and no pointer that leads anywhere.
    let result = unsafe { libc::syscall(number, -1_i64, 0, 0, 0, 0) };
    result == -1 && std::io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
}

/// One program learns everything, the others nothing but to be started, or what an attack begins with.
pub fn learn(world: &World) {
    all_done(world, USER, CALLS);
    for operation in [FILE_SETATTR, MEMFD_SECRET].into_iter().filter(|of| is_here(of)) {
        all_done(world, USER, &[operation]);
    }
    all_done(world, USER, PREPARED);
    all_done(world, USER, BY_FUNCTION);
    all_done(world, ROOT, BY_FUNCTION_OF_ROOT);
    all_done(world, ROOT, BY_ROOT);
    all_done(world, ROOT, PREPARED_BY_ROOT);
    all_done(world, USER, NEVER);
    all_done(world, ROOT, NEVER_BY_ROOT);
    for user in [USER, ROOT] {
        let calls = world.arena.arg("calls");
        let prepared = world.arena.arg("calls-prepared");
        let honest = format!("{calls}; {calls}; {prepared} prepared; {prepared} prepared");
        survives(&mut php(&world.arena, user, "shell.php", &[&honest]));
    }
}

/// Where nobody watches.
pub fn roundabout_done(world: &World) {
    all_done(world, USER, ROUNDABOUT);
}

fn attack(world: &World, user: u32, program: &str, operations: &[&str]) {
    let set = traps(&world.arena, operations, ATTACKS, user);
    let text = calls(world, user, program, &set, operations, ATTACKS);
    assert_denied(&text, operations, &set, ATTACKS);
    println!(
        "\n{} attacks on {} operations by a program, no leak",
        operations.len() * ATTACKS,
        operations.len()
    );
}

fn by_user() {
    let world = learnt();
    let _session = world.sandbox();
    all_done(world, USER, CALLS);
    all_done(world, USER, PREPARED);
    attack(world, USER, "calls", CALLS);
    attack(world, USER, "calls-prepared", PREPARED);
}

fn by_user_where_it_is(operation: &'static str, without: &'static str) {
    let world = learnt();
    let _session = world.sandbox();
    if !is_here(operation) {
        limit(without);
    }
    all_done(world, USER, &[operation]);
    attack(world, USER, "calls", &[operation]);
}

/// What was learnt says which kernel this is.
fn by_function() {
    let world = learnt();
    let _session = world.sandbox();
    let learnt = exported(&world.profile())["operations"].as_str().expect("operations").to_owned();
    all_done(world, USER, BY_FUNCTION);
    all_done(world, ROOT, BY_FUNCTION_OF_ROOT);
    if learnt.contains("personality") {
        attack(world, USER, "calls", BY_FUNCTION);
        attack(world, ROOT, "calls", BY_FUNCTION_OF_ROOT);
        return;
    }
    assert_eq!(learnt, POLICED);
    let set = traps(&world.arena, BY_FUNCTION, TWINS, USER);
    let text = calls(world, USER, "calls", &set, BY_FUNCTION, TWINS);
    assert_done(&text, BY_FUNCTION, &set, TWINS);
    limit(DENIES_NO_CALL);
}

fn by_root() {
    const BY_PHP: &[&str] = &["unlink", "rename", "create", "chmod", "read", "exec", "kill"];
    let world = learnt();
    let _session = world.sandbox();
    all_done(world, ROOT, BY_ROOT);
    all_done(world, ROOT, PREPARED_BY_ROOT);
    attack(world, ROOT, "calls", BY_ROOT);
    attack(world, ROOT, "calls-prepared", PREPARED_BY_ROOT);
    attack(world, ROOT, "calls-learnt", NEVER_BY_ROOT);
    let set = traps(&world.arena, BY_PHP, ATTACKS, USER);
    let text = run(&world.arena, ROOT, "Bad", &set, ATTACKS);
    assert_denied(&text, BY_PHP, &set, ATTACKS);
}

fn never() {
    let world = learnt();
    let _session = world.sandbox();
    attack(world, USER, "calls-learnt", NEVER);
}

fn roundabout() {
    let world = learnt();
    let _session = world.sandbox();
    attack(world, USER, "calls-learnt", ROUNDABOUT);
}
