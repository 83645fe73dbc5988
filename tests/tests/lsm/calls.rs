//! What PHP has no function for: by a program that a learnt function starts. Some of it takes root, which this strategy
//! contains.

use e2e::arena::USER;
use e2e::suite::test;
use libtest_mimic::Trial;

use super::trap::Trap;
use super::world::{ATTACKS, TWINS, World, assert_denied, assert_done, learnt, php, run, survives, traps};

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
    "pidfd_signal",
    "socketpair",
    "capset",
    "mmap_exec",
    "mprotect_exec",
];
/// By root.
const BY_ROOT: &[&str] = &["setxattr", "perf", "device", "mount", "umount", "hostname", "unshare", "chroot"];
/// Never granted, learnt or not.
const NEVER: &[&str] = &["int80", "exec_memfd"];
const NEVER_BY_ROOT: &[&str] = &["bpf"];
/// By means that the program has learnt.
const ROUNDABOUT: &[&str] = &["uring_credentials", "uring_socket"];

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("what_php_has_no_function_for_does_nothing", by_user),
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

/// One program learns everything, the other one nothing but to be started.
pub fn learn(world: &World) {
    all_done(world, USER, CALLS);
    all_done(world, ROOT, BY_ROOT);
    all_done(world, USER, NEVER);
    all_done(world, ROOT, NEVER_BY_ROOT);
    for user in [USER, ROOT] {
        let calls = world.arena.arg("calls");
        survives(&mut php(&world.arena, user, "shell.php", &[&format!("{calls}; {calls}")]));
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
    attack(world, USER, "calls", CALLS);
}

fn by_root() {
    const BY_PHP: &[&str] = &["unlink", "rename", "create", "chmod", "read", "exec", "kill"];
    let world = learnt();
    let _session = world.sandbox();
    all_done(world, ROOT, BY_ROOT);
    attack(world, ROOT, "calls", BY_ROOT);
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
