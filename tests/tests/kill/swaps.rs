//! Profiles and modes are changed while calls are made: none is decided by half of each, and none undecided.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use e2e::fpm::wait_until;
use e2e::session::{Running, tracer};
use e2e::suite::{test, times};
use libtest_mimic::Trial;

use e2e::arena::{Arena, Attacked, Beat, Status, Worker, ask, spread};

/// What each worker waits after a hundred calls, in microseconds: two make about 10,000 a second.
const PAUSE: u32 = 18_000;

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![test("profiles_are_swapped_under_load", profiles), test("the_mode_is_switched_under_load", modes)]
}

/// An arena with `name.profile` for each of these, of which the first is in force.
fn learnt(profiles: &[(&str, &[&str])]) -> Arena {
    let arena = Arena::new();
    for (name, options) in profiles {
        let session = arena.session("--profile").args(options.iter().copied());
        let session = session.arg("--force").start();
        arena.twin("unlink");
        let (worker, beat) = (arena.worker("worker.php", "unlink", 1000, None), Beat::start(&arena));
        wait_until("the shell's programs run", || beat.beats());
        beat.stop();
        arena.stop(vec![worker]);
        assert_eq!(session.stop().status, 0);
        fs::rename(arena.path("p.profile"), arena.path(&format!("{name}.profile"))).expect("rename");
    }
    put(&arena, &arena.path(&format!("{}.profile", profiles[0].0)));
    arena
}

/// Puts a copy of this file in the place of the profile, at once.
fn put(arena: &Arena, file: &Path) {
    let beside = arena.path("next");
    fs::copy(file, &beside).expect("copy a profile");
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).expect("chmod");
    fs::rename(&beside, arena.path("p.profile")).expect("rename a profile");
}

fn workers(arena: &Arena) -> Vec<Worker> {
    (0..2).map(|_| arena.worker("worker.php", "unlink", PAUSE, None)).collect()
}

/// An attacker that runs beside what the test does.
fn attack_beside(arena: &Arena, mut act: impl FnMut()) -> Attacked {
    let trap = arena.trap("unlink");
    let mut child = arena.attacker("Bad", "unlink", &trap).spawn().expect("start PHP");
    loop {
        act();
        if child.try_wait().expect("wait for PHP").is_some() {
            let output = child.wait_with_output().expect("wait for PHP");
            return Attacked { leaks: trap.leaks(), output };
        }
    }
}

/// Only attackers did anything wrong, each of them once.
fn assert_only_attackers(arena: &Arena, session: Running, attackers: usize, calls: u64) {
    let status = Status::of(&session);
    status.assert_sound();
    assert!(status.count("calls decided in the kernel") >= calls, "{calls} calls\n{}", status.text());
    assert!(arena.running() == 0, "somebody is left");
    let ran = session.stop();
    let killed: Vec<_> = ran.violations().into_iter().filter(|v| v["action"] == "killed").collect();
    assert_eq!(killed.len(), attackers, "one violation for each attacker");
    for event in ran.violations() {
        assert_eq!(event["site"]["class"], "Bad", "{event:#}");
    }
}

fn profiles() {
    let (wanted, attackers) = (times(1000, 100), times(20, 10));
    let arena = Arena::new();
    let root = format!("app={}/e2e-kill-*", arena.root().parent().expect("a folder").display());
    drop(arena);
    let arena = learnt(&[("exact", &[]), ("rooted", &["--root", &root])]);
    let [exact, rooted] = ["exact.profile", "rooted.profile"].map(|name| arena.path(name));
    let rooted_text = fs::read(&rooted).expect("read a profile");
    assert!(rooted_text.windows(10).any(|w| w == b"e2e-kill-*"), "the root is not in the profile");
    let session = arena.session("--sandbox").start();
    // Sites, and programs with where they come from, are both looked up again under each profile.
    let (began, workers, beat) = (Instant::now(), workers(&arena), Beat::start(&arena));
    let mut swaps = 0;
    let mut swap = || {
        swaps += 1;
        put(&arena, if swaps % 2 == 0 { &exact } else { &rooted });
        let told = ask(&session, "reload");
        assert!(told.contains("loaded again"), "{told}");
        swaps
    };
    let mut leaks = Vec::new();
    for attacker in 1..=attackers {
        let attacked = attack_beside(&arena, || {
            swap();
        });
        attacked.check("between swaps");
        leaks.push(attacked.leaks);
        while swap() < wanted * attacker / attackers {}
    }
    let took = began.elapsed();
    beat.beats();
    wait_until("the shell's programs still run", || beat.beats());
    beat.stop();
    a_bad_file_changes_nothing(&arena, &session);
    let calls = arena.stop(workers);
    assert_only_attackers(&arena, session, attackers + 1, calls);
    println!(
        "\n{swaps} swaps of the profile in {took:.1?} beside {calls} allowed calls of 2 workers; {attackers} \
         attackers in between: calls that got through (min, median, max {})",
        spread(&leaks)
    );
}

fn a_bad_file_changes_nothing(arena: &Arena, session: &Running) {
    let good = fs::read(arena.path("exact.profile")).expect("read a profile");
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    for bad in [&b"no profile at all"[..], &good[..good.len() / 2], &flipped] {
        let before = Status::of(session).text().lines().nth(1).map(ToOwned::to_owned);
        fs::write(arena.path("bad.profile"), bad).expect("write a file");
        put(arena, &arena.path("bad.profile"));
        let told = ask(session, "reload");
        let why = told.strip_prefix("error: the profile stays as it was: ").map_or(0, str::len);
        assert!(why > 10, "it does not say why: {told}");
        assert_eq!(Status::of(session).text().lines().nth(1).map(ToOwned::to_owned), before);
    }
    arena.twin("unlink");
    arena.attack("unlink").check("after a bad file");
    put(arena, &arena.path("exact.profile"));
}

fn modes() {
    let switches = times(200, 40);
    let arena = learnt(&[("exact", &[])]);
    let session = arena.session("--sandbox").start();
    let mut workers = workers(&arena);
    let switch = |mode: &str| {
        assert_eq!(ask(&session, &format!("mode {mode}")), format!("mode {mode}\n"));
    };
    let mut leaks = Vec::new();
    for n in 0..switches / 2 {
        switch("monitor");
        if n % 25 == 0 {
            // Nobody is killed in between, and as many as reach for it get it.
            let trap = arena.trap("unlink");
            e2e::arena::succeeds(&mut arena.attacker("Bad", "unlink", &trap));
            assert_eq!(trap.leaks(), trap.count);
        }
        if n % 25 == 1 {
            let pid = session.pid().to_string();
            let by_name = Command::new(tracer()).args(["ctl", "--pid", &pid, "mode", "sandbox"]).output();
            assert!(by_name.expect("run ctl").status.success());
        } else {
            switch("sandbox");
        }
        let attacked = arena.attack("unlink");
        attacked.check("after a switch to sandbox");
        leaks.push(attacked.leaks);
    }
    assert!(workers.iter_mut().all(Worker::lives), "a worker was lost");
    let calls = arena.stop(workers);
    assert_only_attackers(&arena, session, leaks.len(), calls);
    println!(
        "\n{switches} switches of the mode beside {calls} allowed calls of 2 workers; {} attackers under sandbox: \
         calls that got through (min, median, max {})",
        leaks.len(),
        spread(&leaks)
    );
}
