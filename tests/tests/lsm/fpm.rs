//! php-fpm: attacks come to nothing, and whoever served them serves the next request.

use std::fs;
use std::path::Path;

use e2e::fpm::{Answer, Fpm, POOL_USER, Request, Setup, age, own_all};
use e2e::suite::test;
use libtest_mimic::Trial;
use nix::unistd::User;
use serde_json::Value;

use super::trap::Trap;
use super::world::{ATTACKS, TWINS, World, learnt};

const OPERATIONS: &[&str] = &["unlink", "create", "read", "rename", "exec", "kill", "connect_inet", "touch"];
const HONEST: usize = 200;
/// Each with a reload.
const ROUNDS: usize = 10;

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("php_fpm_learnt_is_no_violation_ten_times_of_ten", again),
        test("php_fpm_answers_200_requests_beside_attacks_that_do_nothing", beside),
        test("php_fpm_reloads_under_the_sandbox_and_new_workers_are_confined", reload),
        test("php_fpm_in_a_root_of_its_own_cannot_change_what_it_runs", chrooted),
    ]
}

/// What is uploaded.
pub fn prepare(fpm: &Fpm) {
    let data = fpm.data();
    fs::write(data.join("honest.php"), "<?php return 'honest';\n").expect("write a plugin");
    let code =
        "<?php return (@unlink($_SERVER['DATA'] . '/precious') ? 'gone' : error_get_last()['message']);\n";
    fs::write(data.join("evil.php"), code).expect("write a plugin");
    fs::write(data.join("precious"), "precious").expect("write a file");
    for name in ["honest.php", "evil.php", "precious", "app.log"] {
        let file = data.join(name);
        if !file.exists() {
            fs::write(&file, "").expect("write a file");
        }
        let owner = user();
        std::os::unix::fs::chown(&file, Some(owner), Some(owner)).expect("chown");
    }
}

fn user() -> u32 {
    User::from_name(POOL_USER).expect("look up").expect("the pool's user").uid.as_raw()
}

fn request(
    fpm: &Fpm,
    class: &str,
    operation: &str,
    count: usize,
    php: &Path,
) -> (Value, Option<usize>, Answer) {
    let trap = Trap::set(&fpm.data(), operation, count, user(), php);
    let query = format!("class={class}&op={operation}&in={operation}&n={count}&extra={}", trap.extra());
    let answer = fpm.must(&Request::get(&query));
    let told = serde_json::from_str(answer.text()).unwrap_or_else(|e| panic!("{e}: {}", answer.text()));
    (told, trap.leaks(), answer)
}

fn twins(world: &World, fpm: &Fpm) {
    for operation in OPERATIONS {
        let (told, effects, _) = request(fpm, "Good", operation, TWINS, &world.arena.path("php"));
        let is_done = told["done"] == TWINS && effects.is_none_or(|n| n == TWINS);
        assert!(is_done, "{operation}: {told}, effects: {effects:?}");
    }
    assert_eq!(fpm.ok("include=honest.php"), "honest");
}

/// In the shared session.
pub fn learn(world: &World) {
    let mut fpm = world.fpm();
    fpm.start();
    for _ in 0..5 {
        assert_eq!(fpm.ok(""), "a page");
    }
    twins(world, &fpm);
    fpm.stop();
}

/// Nothing is done, PHP is told so, and lives.
fn attack(world: &World, fpm: &Fpm, operation: &str, count: usize) {
    let (told, effects, answer) = request(fpm, "Bad", operation, count, &world.arena.path("php"));
    let is_denied = told["done"] == 0 && told["denied"] == count && effects.is_none_or(|n| n == 0);
    assert!(is_denied, "{operation}: {told}, effects: {effects:?}");
    assert!(fpm.workers().contains(&answer.worker()), "the worker is gone");
}

fn beside() {
    let world = learnt();
    let before = world.violations();
    let fpm = world.fpm();
    let workers = fpm.workers();
    assert_eq!(workers.len(), 2);
    twins(world, &fpm);
    for _ in 0..HONEST {
        assert_eq!(fpm.ok(""), "a page");
    }
    world.assert_no_more(before, "honest requests are violations");
    for n in 0..HONEST {
        if n % 20 == 0 {
            let operation = OPERATIONS[n / 20 % OPERATIONS.len()];
            attack(world, &fpm, operation, ATTACKS);
            let told = fpm.ok("include=evil.php");
            assert!(told.contains("Operation not permitted"), "{told}");
            assert!(fpm.data().join("precious").exists(), "the uploaded code did it");
        }
        assert_eq!(fpm.ok(""), "a page");
    }
    assert_eq!(fpm.workers(), workers, "a worker was lost: {}", fpm.said());
}

fn again() {
    let world = learnt();
    let before = world.violations();
    let fpm = world.fpm();
    for _ in 0..ROUNDS {
        fpm.reload();
        twins(world, &fpm);
        for _ in 0..5 {
            assert_eq!(fpm.ok(""), "a page");
        }
        world.assert_no_more(before, "what is learnt is denied");
    }
}

fn reload() {
    let world = learnt();
    let _session = world.sandbox().is_some();
    let mut fpm = world.fpm();
    let before = world.violations();
    fpm.reload();
    assert_eq!(fpm.workers().len(), 2);
    twins(world, &fpm);
    world.assert_no_more(before, "a reload is a violation");
    for operation in OPERATIONS {
        attack(world, &fpm, operation, TWINS);
    }
    let workers = fpm.workers();
    // One more is started for one that is gone.
    e2e::fpm::send(workers[0], nix::sys::signal::Signal::SIGKILL);
    e2e::fpm::wait_until("there are two workers again", || {
        let now = fpm.workers();
        now.len() == 2 && !now.contains(&workers[0])
    });
    for _ in 0..4 {
        attack(world, &fpm, "unlink", TWINS);
        assert_eq!(fpm.ok(""), "a page");
    }
    assert!(fpm.lives());
}

/// PHP names its files from its own root, the kernel from the namespace's: learnt with a warm opcode cache, no hook has
/// seen them opened.
fn chrooted() {
    let mut fpm = Fpm::prepare(Setup {
        chroot: true,
        front: "edit.php".into(),
        ready: "at=/none/x".into(),
        ..Setup::workers(1)
    });
    let script = fpm.app().join("public/lib.php");
    let code = "<?php function write($at) { return (int) @file_put_contents($at, 'changed'); }\n";
    fs::write(&script, code).expect("write a script");
    let front = fpm.app().join("public/edit.php");
    fs::write(&front, "<?php require __DIR__ . '/lib.php'; echo write($_GET['at']);\n")
        .expect("write a script");
    for path in [&script, &front] {
        age(path);
    }
    own_all(fpm.app());
    let note = fpm.make_data("notes").join("note");
    let inside = |path: &Path| format!("at=/{}", path.strip_prefix(fpm.base()).expect("below").display());
    let (at_note, at_script) = (inside(&note), inside(&script));
    fpm.start();
    let watch = |mode: &str| fpm.session(mode).arg("--lsm");
    let work = || {
        for _ in 0..3 {
            assert_eq!(fpm.ok(&at_note), "7", "what is learnt is denied");
        }
    };
    work();
    let learning = watch("--profile").start();
    work();
    assert_eq!(learning.stop().status, 0);
    let running = watch("--sandbox").start();
    work();
    assert_eq!(fpm.ok(&at_script), "0", "a script was opened for writing");
    assert_eq!(fs::read_to_string(&script).expect("read a script"), code);
    work();
    let ran = running.stop();
    let reasons: Vec<_> = ran.violations().iter().map(|v| v["reason"].clone()).collect();
    assert_eq!(reasons, ["protected-object"]);
}
