//! What takes another kernel command line: `preempt=full`.

use std::fs;

use e2e::arena::{Status, Worker};
use e2e::suite::test;
use libtest_mimic::Trial;

use super::attacks::{By, Place};

/// Who may do what: the script, and what it learnt.
const KINDS: [(&str, &str); 2] = [("a.php", "unlink"), ("b.php", "rename")];
const WORKERS: usize = 6;
/// Of each operation.
const ATTACKS: usize = 100;

/// Whether the kernel was told to switch tasks everywhere.
pub fn is_fully_preemptible() -> bool {
    fs::read_to_string("/proc/cmdline")
        .is_ok_and(|line| line.split_ascii_whitespace().any(|word| word == "preempt=full"))
}

/// The one.
pub fn tests() -> Vec<Trial> {
    vec![test("nobody_is_rewritten_or_killed_for_the_site_of_who_preempts_it", hammer)]
}

fn hammer() {
    let place = Place::new();
    let arena = &place.arena;
    let operations = KINDS.map(|(_, operation)| operation);
    for (script, _) in KINDS {
        fs::copy(arena.path("worker.php"), arena.path(script)).expect("copy a script");
    }
    let learning = place.session("--profile").start();
    for (script, learnt) in KINDS {
        arena.stop(vec![arena.worker(script, learnt, 0, None)]);
        place.twin(By::Php, learnt);
    }
    assert_eq!(learning.stop().status, 0);

    let session = place.session("--sandbox").start();
    let start = |n: usize| {
        let (script, learnt) = KINDS[n % KINDS.len()];
        arena.worker(script, learnt, 0, Some(n / KINDS.len() % 2))
    };
    let mut workers: Vec<Worker> = (0..WORKERS).map(start).collect();
    let leaks: usize = operations.iter().map(|operation| attack(&place, operation)).sum();
    assert!(workers.iter_mut().all(Worker::lives), "a worker was lost");
    let calls = arena.stop(workers);
    let attackers = operations.len() * ATTACKS;

    let status = Status::of(&session);
    let count = |told| status.count(told);
    assert_eq!(status.sum("violations: "), attackers as u64, "each attacker once: {}", status.text());
    assert_eq!(count("violating calls that were rewritten"), attackers as u64, "{}", status.text());
    assert_eq!(count("rewritten arguments that could not be put back"), 0, "{}", status.text());
    assert_eq!(count("no scratch space"), 0, "{}", status.text());
    // A call that the kernel skipped a program at is not seen.
    let skipped = count("programs skipped by the kernel");
    assert!(leaks as u64 <= skipped, "{leaks} calls got through, {skipped} were not seen");
    session.stop();
    println!(
        "\n{calls} allowed calls of {WORKERS} processes on two processors, none rewritten; {attackers} attackers, \
         {leaks} calls got through; programs skipped by the kernel: {skipped}"
    );
}

/// How much gets through.
fn attack(place: &Place, operation: &str) -> usize {
    let trap = place.trap(operation, ATTACKS);
    let (killed, _) = place.run(By::Php, false, operation, &trap, false);
    assert_eq!(killed, ATTACKS, "{operation}: not every attacker was killed");
    trap.leaks().0
}
