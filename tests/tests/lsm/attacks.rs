//! A hundred attacks on each operation that PHP has a function for: none is done, each is told `EPERM`, PHP goes on.

use std::collections::BTreeMap;

use e2e::arena::{Status, USER};
use e2e::suite::test;
use libtest_mimic::Trial;
use serde_json::Value;

use super::calls::roundabout_done;
use super::world::{ATTACKS, TWINS, World, assert_denied, assert_done, learnt, run, traps};

/// With what hooks call them. Those of one process.
pub const OPERATIONS: &[(&str, &str)] = &[
    ("read", "openat:read"),
    ("include", "openat:read"),
    ("change", "openat:write"),
    ("truncate_open", "openat:create"),
    ("append", "openat:create"),
    ("create", "openat:create"),
    ("put", "openat:create"),
    ("ftruncate", "truncate"),
    ("unlink", "unlink"),
    ("mkdir", "mkdir"),
    ("rmdir", "rmdir"),
    ("rename", "rename"),
    ("link", "link"),
    ("symlink", "symlink"),
    ("mkfifo", "mknod"),
    ("mknod", "openat:create"),
    ("chmod", "chmod"),
    ("chown", "chown"),
    ("touch", "utimensat"),
    ("exec", "clone:process"),
    ("popen", "clone:process"),
    ("proc_open", "clone:process"),
    ("fork", "clone:process"),
    ("kill", "kill:stranger"),
    ("kill_subject", "kill:subject"),
    ("socket_inet", "socket:inet"),
    ("socket_unix", "socket:unix"),
    ("stream", "socket:inet"),
    ("bind_inet", "bind:inet"),
    ("bind_unix", "bind:unix"),
    ("connect_inet", "connect:inet"),
    ("connect_unix", "connect:unix"),
    ("listen", "listen"),
    ("accept", "accept"),
    ("sendto", "sendto:inet"),
    ("setuid", "setuid"),
    ("setgid", "setgid"),
];
/// After one that is done the process is another one.
pub const ALONE: &[(&str, &str)] = &[("pcntl_exec", "execve"), ("unshare", "unshare")];

/// Without what hooks call them.
pub fn names(operations: &[(&'static str, &str)]) -> Vec<&'static str> {
    operations.iter().map(|(name, _)| *name).collect()
}

/// Each is done by this class.
fn all_done(world: &World, class: &str) {
    let together = names(OPERATIONS);
    let set = traps(&world.arena, &together, TWINS, USER);
    let text = run(&world.arena, USER, class, &set, TWINS);
    assert_done(&text, &together, &set, TWINS);
    for (operation, _) in ALONE {
        let set = traps(&world.arena, &[operation], 1, USER);
        let text = run(&world.arena, USER, class, &set, 1);
        let is_done = set[0].leaks().map_or_else(|| text.contains(r#""done":1"#), |leaks| leaks == 1);
        assert!(is_done, "{operation} is not done: {text}");
    }
}

/// The learnt twin of each.
pub fn twins(world: &World) {
    all_done(world, "Good");
}

/// Before anything is enforced.
pub fn baseline() -> Vec<Trial> {
    let all = || {
        all_done(learnt(), "Bad");
        roundabout_done(learnt());
    };
    vec![test("attacks_work_where_nothing_is_enforced", all)]
}

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("a_hundred_attacks_on_each_operation_do_nothing", hundred),
        test("attackers_of_their_own_do_nothing", separate),
        test("no_child_is_overlooked_where_many_fork_on_one_processor", many_forks),
    ]
}

fn hundred() {
    let world = learnt();
    let _session = world.sandbox();
    twins(world);
    let all: Vec<&str> = names(OPERATIONS).into_iter().chain(names(ALONE)).collect();
    let set = traps(&world.arena, &all, ATTACKS, USER);
    let text = run(&world.arena, USER, "Bad", &set, ATTACKS);
    assert_denied(&text, &all, &set, ATTACKS);
    println!("\n{} attacks on {} operations by one PHP, no leak", all.len() * ATTACKS, all.len());
}

fn separate() {
    let world = learnt();
    let _session = world.sandbox();
    for operation in ["unlink", "create", "exec", "kill", "connect_inet"] {
        let set = traps(&world.arena, &[operation], 1, USER);
        let text = run(&world.arena, USER, "Bad", &set, 1);
        assert_denied(&text, &[operation], &set, 1);
    }
}

/// A fork that is not seen leaves a child that nobody watches: its call would be done.
fn many_forks() {
    let world = learnt();
    let _session = world.sandbox();
    assert_eq!(world.arena.forks(6, 5, "learn"), (30, 0), "what is learnt does not work");
    assert_eq!(
        world.arena.forks(6, 40, "attack"),
        (0, 0),
        "children that nobody watched, and files that are gone"
    );
    println!("\n240 attacks by as many children of 6 processes that preempt each other, no leak");
}

/// The last one under the shared sandbox.
pub fn told() -> Vec<Trial> {
    vec![test("every_denial_is_told_and_only_attackers_were_denied", denials)]
}

/// Who did it: a class of PHP, or a program.
fn who(event: &Value) -> String {
    let name = |text: &Value| text.as_str().map(|text| text.rsplit('/').next().unwrap_or(text).to_owned());
    if event["site"].is_null() {
        return name(&event["exe"])
            .filter(|name| !name.is_empty())
            .or_else(|| name(&event["comm"]))
            .unwrap_or_default();
    }
    let class = event["site"]["class"].as_str().map(ToOwned::to_owned);
    class.or_else(|| event["site"]["function"].as_str().map(ToOwned::to_owned)).unwrap_or_else(|| {
        format!(
            "{} of {}",
            event["site"]["kind"].as_str().unwrap_or("?"),
            name(&event["site"]["file"]).unwrap_or_default()
        )
    })
}

fn denials() {
    let world = learnt();
    let running = world.sandbox().take().expect("the shared sandbox ended before");
    let status = Status::of(&running);
    world.fpm().stop();
    let ran = running.stop();
    status.assert_decided();
    let violations = ran.violations();
    // The first denial makes the tracer listen where calls return.
    let listening = violations.iter().filter(|e| !e["ret"].is_null()).filter_map(|e| e["ts"].as_str()).min();
    assert!(listening.is_some(), "no return was told");
    // Newer kernels skip what listens there amid a system call on a map, and count that.
    let skipped = status.count("returns that were not seen: skipped by the kernel");
    let mut untold = 0;
    let mut by_operation: BTreeMap<&str, u64> = BTreeMap::new();
    for event in &violations {
        assert_eq!(event["action"], "denied", "{event:#}");
        assert_eq!(event["effect"], "no", "{event:#}");
        // A request of an io_uring has a result; what returns is `io_uring_enter`, and to a worker nothing does.
        let ret = match event["operation"].as_str() {
            Some("symlink") if event["site"].is_null() => Value::Null,
            Some("socket:inet") if event["site"].is_null() => 1.into(),
            // Its hook is one of permissions: EACCES.
            Some("msgrcv") => (-13).into(),
            _ => (-1).into(),
        };
        if event["ret"] != ret && event["ts"].as_str() >= listening {
            untold += 1;
            assert!(event["ret"].is_null() && untold <= skipped, "{event:#}");
        }
        assert_eq!(event["view"], "lsm", "{event:#}");
        assert_eq!(event["strategy"], "lsm", "{event:#}");
        let who = who(event);
        let is_attacker = [
            "Bad",
            "calls",
            "calls-learnt",
            "calls-prepared",
            "memfd:program",
            "sh",
            "dash",
            "inner",
            "main of evil.php",
        ];
        if !is_attacker.contains(&who.as_str()) {
            // Why its identity is doubtful, where it is that.
            let of_it = |e: &&Value| e["kind"] == "taint" && e["pid"] == event["pid"];
            let taints: Vec<&Value> = ran.events.iter().filter(of_it).collect();
            panic!("{who} is no attacker: {event:#} {taints:#?}");
        }
        *by_operation.entry(event["operation"].as_str().unwrap_or("none")).or_default() +=
            event["count"].as_u64().unwrap_or(1);
    }
    let told: u64 = by_operation.values().sum();
    println!(
        "\n{told} denials told, {} counted, by operation: {by_operation:#?}",
        status.sum("violations: ")
    );
    for (name, operation) in OPERATIONS.iter().chain(ALONE) {
        let is_told = violations.iter().any(|e| e["site"]["class"] == "Bad" && e["operation"] == *operation);
        assert!(is_told, "{name}: no denial of {operation} was told");
    }
    let is_named = violations.iter().any(|e| e["args"]["program"] == "memfd:program");
    assert!(is_named, "what has no path is not told by its name");
    assert!(ran.stderr.contains("denied unlink(\"/"), "no line tells it: {}", ran.stderr);
    assert!(ran.stderr.contains("by Bad::unlink() at "), "no line tells who: {}", ran.stderr);
}
