//! Many PHP processes on one processor, which take it from each other in the middle of a decision: nobody is judged
//! by another's site.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::session::ends_with_test;
use e2e::suite::test;
use libtest_mimic::Trial;

use e2e::arena::{Arena, Status, Worker, pin};

/// How long, in all.
const LONG: Duration = Duration::from_secs(20);

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("nobody_is_judged_by_the_site_of_whom_it_preempted", many_on_one_processor),
        test("no_child_is_overlooked_where_many_fork_on_one_processor", many_forks),
    ]
}

/// Somebody else who wants the processor.
struct Hog(Child);

impl Hog {
    fn start(cpu: Option<usize>) -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "while :; do :; done"]).stdin(Stdio::null()).stdout(Stdio::null());
        pin(&mut command, cpu);
        Self(ends_with_test(&mut command).spawn().expect("start a hog"))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Who may do what: the script, what it learnt, and what only the other one did.
const KINDS: [(&str, &str, &str); 2] = [("a.php", "unlink", "rename"), ("b.php", "rename", "unlink")];

fn many_on_one_processor() {
    let arena = Arena::new();
    for (script, ..) in KINDS {
        fs::copy(arena.path("worker.php"), arena.path(script)).expect("copy a script");
    }
    let learning = arena.session("--profile").start();
    for (script, learnt, _) in KINDS {
        let worker = arena.worker(script, learnt, 0, None);
        arena.stop(vec![worker]);
    }
    assert_eq!(learning.stop().status, 0);
    let session = arena.session("--sandbox").start();
    let (mut calls, mut attackers) = (0, 0);
    // All on one processor, and then wherever they are put.
    for cpu in [Some(0), None] {
        let hogs: Vec<Hog> = (0..2).map(|_| Hog::start(cpu)).collect();
        let mut workers: Vec<Worker> = (0..5)
            .flat_map(|_| KINDS)
            .map(|(script, learnt, _)| arena.worker(script, learnt, 0, cpu))
            .collect();
        let began = Instant::now();
        while began.elapsed() < LONG / 2 {
            for (script, _, others) in KINDS {
                attackers += 1;
                attack(&arena, script, others, cpu);
            }
        }
        assert!(workers.iter_mut().all(Worker::lives), "a worker was lost");
        calls += arena.stop(workers);
        drop(hogs);
    }
    let status = Status::of(&session);
    // Of allowed calls there are more than the tracer can look at once more.
    status.assert_decided();
    assert!(status.count("calls decided in the kernel") >= calls, "{calls} calls\n{}", status.text());
    assert_eq!(status.sum("violations: "), attackers, "each attacker once, and nobody else");
    let ran = session.stop();
    for event in ran.violations() {
        assert_eq!(event["action"], "killed", "{event:#}");
        let file = event["site"]["file"].as_str().unwrap_or_default();
        let of = |script: &str| file == arena.arg(script);
        let fits = match event["operation"].as_str() {
            Some("rename") => of("a.php"),
            Some("unlink") => of("b.php"),
            _ => false,
        };
        assert!(fits, "a violation of somebody else: {event:#}");
    }
    println!(
        "\n{calls} allowed calls of 10 processes that preempt each other, no violation; {attackers} attackers"
    );
}

/// A fork that is not seen leaves a child that nobody watches: it would go on.
fn many_forks() {
    const PROCESSES: usize = 6;
    const CHILDREN: usize = 40;
    let arena = Arena::new();
    let all = PROCESSES * CHILDREN;
    assert_eq!(arena.forks(PROCESSES, CHILDREN, "attack"), (all, all), "nobody watches");
    let learning = arena.session("--profile").start();
    assert_eq!(arena.forks(2, 2, "learn"), (4, 0));
    assert_eq!(learning.stop().status, 0);
    let session = arena.session("--sandbox").start();
    assert_eq!(arena.forks(PROCESSES, 5, "learn"), (PROCESSES * 5, 0), "what is learnt does not work");
    let (unharmed, gone) = arena.forks(PROCESSES, CHILDREN, "attack");
    let status = Status::of(&session);
    assert_eq!(unharmed, 0, "children that nobody watched\n{}", status.text());
    assert!(gone <= all, "{gone} files of {all}");
    assert!(
        !status.text().contains("times it skipped process_fork"),
        "a fork was skipped\n{}",
        status.text()
    );
    let ends = status.count("ends that were not seen: skipped by the kernel");
    assert!(ends < 3, "ends are skipped as a rule\n{}", status.text());
    let left = status.text().lines().find_map(|line| line.strip_prefix("processes ")?.parse::<u64>().ok());
    assert!(left.is_some_and(|left| left <= ends), "an end was overlooked\n{}", status.text());
    assert_eq!(status.sum("violations: "), all as u64, "{}", status.text());
    session.stop();
    println!(
        "\n{all} children of {PROCESSES} processes that preempt each other, all killed; {gone} files are gone"
    );
}

/// What the other kind learnt, by the same code: it is killed for it.
fn attack(arena: &Arena, script: &str, operation: &str, cpu: Option<usize>) {
    let trap = arena.trap(operation);
    let mut command = arena.php(script, &[&trap.folder.display().to_string(), operation, "attack"]);
    pin(&mut command, cpu);
    let output = command.output().expect("run PHP");
    e2e::arena::Attacked { leaks: trap.leaks(), output }.check(script);
}
