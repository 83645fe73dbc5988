//! A thousand attacks (fewer where the processor is emulated): what each attacking task got done, counted by its effect.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use e2e::fpm::{Client, Fpm, POOL_USER, Request, exists, wait_until};
use e2e::suite::{test, times};
use libtest_mimic::Trial;
use nix::unistd::User;

use e2e::arena::{Arena, Status, Trap, objects, pool, query, spread, succeeds};

/// Of each operation with each SAPI: natively a thousand in all.
fn attacks() -> usize {
    times(63, 8)
}

/// Each operation with what makes it. php-fpm has no pcntl: there a shell is what is forked, and what it becomes is
/// the program.
const OPERATIONS: [(&str, &str, &str); 8] = [
    ("unlink", "unlink", "unlink"),
    ("rename", "rename", "rename"),
    ("write", "write", "write"),
    ("openat:create", "create", "create"),
    ("connect", "connect", "connect"),
    ("execve", "exec", "program"),
    ("fork", "fork", "shell"),
    ("kill", "kill", "kill"),
];

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("attacks_leak_one_call_each_at_most", both_sapis),
        test("an_attacker_who_forks_after_each_kill_gets_one_call_for_each_child", supervisor),
        test("every_tenth_request_attacks_and_the_others_are_answered", requests),
    ]
}

fn both_sapis() {
    let (cli, fpm) = (by_cli(), by_fpm());
    let total: usize = [&cli, &fpm].into_iter().flatten().map(Vec::len).sum();
    println!(
        "\n{total} attacks, of up to {} calls each: calls that had their effect, for each attacking task",
        objects()
    );
    println!("{:<15} {:<8} {:>7} {:>3} {:>6} {:>3}", "operation", "sapi", "attacks", "min", "median", "max");
    for (n, (operation, ..)) in OPERATIONS.iter().enumerate() {
        for (sapi, leaks) in [("php-cli", &cli[n]), ("php-fpm", &fpm[n])] {
            println!("{operation:<15} {sapi:<8} {:>7} {}", leaks.len(), spread(leaks));
        }
    }
    assert!(total >= times(1000, 100), "only {total} attacks");
}

/// Leaks of every attack, for each operation.
fn by_cli() -> Vec<Vec<usize>> {
    let arena = Arena::new();
    let operations = OPERATIONS.map(|(_, by, _)| by);
    for operation in operations {
        let attacked = arena.attack(operation);
        let trap = arena.trap(operation);
        assert!(
            attacked.leaks == trap.count,
            "{operation}: the attack does not work where nothing is enforced"
        );
    }
    arena.learn(&["--syscalls", "relevant,write"], &operations);
    let session = arena.session("--sandbox").start();
    let leaks = operations.map(|operation| {
        arena.twin(operation);
        let attack = |_| {
            let attacked = arena.attack(operation);
            attacked.check(operation);
            attacked.leaks
        };
        (0..attacks()).map(attack).collect()
    });
    let status = Status::of(&session);
    status.assert_sound();
    assert!(status.count("kills from the kernel for a violation") >= (attacks() * operations.len()) as u64);
    let ran = session.stop();
    for event in ran.violations() {
        let site = if event["site"].is_null() { &event["origin"][0]["site"] } else { &event["site"] };
        assert_eq!(site["class"], "Bad", "a violation of somebody else: {event:#}");
    }
    leaks.into()
}

fn user() -> u32 {
    User::from_name(POOL_USER).expect("look up").expect("the pool's user").uid.as_raw()
}

/// A learnt operation, which must be answered and do what it is for.
fn twin(fpm: &Fpm, operation: &str) {
    let trap = Trap::set(&fpm.data().join("trap"), operation, user());
    let answer = fpm.ok(&query("Good", operation, &trap, &fpm.app().join("public")));
    assert!(answer.starts_with("survived"), "{operation}: {answer}");
    assert_eq!(trap.leaks(), trap.count, "{operation}: what is learnt does not work: {answer}");
}

fn by_fpm() -> Vec<Vec<usize>> {
    let mut fpm = pool(1);
    let public = fpm.app().join("public");
    let operations = OPERATIONS.map(|(_, _, by)| by);
    fpm.start();
    for operation in operations {
        let trap = Trap::set(&fpm.data().join("trap"), operation, user());
        fpm.ok(&query("Bad", operation, &trap, &public));
        assert!(
            trap.leaks() == trap.count,
            "{operation}: the attack does not work where nothing is enforced"
        );
    }
    fpm.stop();
    let learning = fpm.session("--profile").arg("--syscalls").arg("relevant,write").start();
    fpm.start();
    for operation in operations {
        twin(&fpm, operation);
    }
    assert_eq!(learning.stop().status, 0);
    let running = fpm.session("--sandbox").start();
    fpm.reload();
    let leaks = operations.map(|operation| {
        twin(&fpm, operation);
        (0..attacks()).map(|_| one_request(&fpm, operation, &public)).collect::<Vec<usize>>()
    });
    let status = Status::of(&running);
    status.assert_sound();
    assert!(fpm.lives(), "{}", fpm.said());
    let ran = running.stop();
    let killed = ran.violations().into_iter().filter(|e| e["action"] == "killed");
    for event in killed {
        let site = if event["site"].is_null() { &event["origin"][0]["site"] } else { &event["site"] };
        let is_program = event["operation"] == "exec" && site["function"] == "shell";
        assert!(site["class"] == "Bad" || is_program, "a violation of somebody else: {event:#}");
    }
    leaks.into()
}

/// An attack on the only worker; what got through.
fn one_request(fpm: &Fpm, operation: &str, public: &Path) -> usize {
    let worker = fpm.must(&Request::get("")).worker();
    let trap = Trap::set(&fpm.data().join("trap"), operation, user());
    let answer = fpm.get(&query("Bad", operation, &trap, public));
    if operation == "program" {
        // Here it is the shell that attacks, and dies; the worker only started it.
        let text = answer.expect("the worker did nothing wrong").body;
        assert!(text.contains("137") || text.trim().ends_with(" 9"), "the shell was not killed: {text}");
    } else {
        assert!(answer.is_err(), "{operation}: the worker survived: {answer:?}");
        wait_until("the worker is gone", || !exists(worker));
    }
    let leaks = trap.leaks();
    assert!(leaks <= 1, "{operation}: {leaks} calls got through");
    leaks
}

fn supervisor() {
    const CHILDREN: usize = 50;
    const TRIES: usize = 5;
    let parents = times(4, 1);
    let arena = Arena::new();
    let supervise = |class: &str| {
        let folder = arena.folder("trap");
        for child in 0..CHILDREN {
            for n in 0..TRIES {
                fs::write(folder.join(format!("{child}-{n}")), "precious").expect("write a file");
            }
        }
        let arguments =
            [class, "supervise", &folder.display().to_string(), &CHILDREN.to_string(), &TRIES.to_string()];
        let told = succeeds(&mut arena.php("attack.php", &arguments));
        let gone =
            |child: usize| (0..TRIES).filter(|n| !folder.join(format!("{child}-{n}")).exists()).count();
        let leaks: Vec<usize> = (0..CHILDREN).map(gone).collect();
        let _ = fs::remove_dir_all(&folder);
        (leaks, told.matches(" 9").count())
    };
    assert_eq!(supervise("Bad"), (vec![TRIES; CHILDREN], 0), "it does not work where nothing is enforced");
    let learning = arena.session("--profile").start();
    supervise("Good");
    assert_eq!(learning.stop().status, 0);
    let session = arena.session("--sandbox").start();
    assert_eq!(supervise("Good"), (vec![TRIES; CHILDREN], 0), "the twin");
    let mut leaks = Vec::new();
    for _ in 0..parents {
        let (more, killed) = supervise("Bad");
        assert_eq!(killed, CHILDREN, "every child is killed");
        leaks.extend(more);
    }
    Status::of(&session).assert_sound();
    session.stop();
    println!(
        "\n{} children of an attacker who forks after each kill: min, median, max {}; {} calls in all",
        leaks.len(),
        spread(&leaks),
        leaks.iter().sum::<usize>()
    );
    assert!(leaks.iter().all(|n| *n <= 1), "{leaks:?}");
}

fn requests() {
    const WORKERS: usize = 3;
    let requests = times(1000, 200);
    let mut fpm = pool(WORKERS);
    let learning = fpm.session("--profile").start();
    fpm.start();
    twin(&fpm, "unlink");
    for _ in 0..20 {
        fpm.ok("");
    }
    assert_eq!(learning.stop().status, 0);
    let running = fpm.session("--sandbox").start();
    fpm.reload();
    let public = fpm.app().join("public");
    let next = AtomicUsize::new(0);
    let one = |client: &Client, n: usize| -> (usize, usize) {
        if !n.is_multiple_of(10) {
            // A worker serves one request at a time: nobody else's dies with it.
            let lost =
                client.request(&Request::get("")).map_or(1, |answer| usize::from(answer.status != 200));
            return (0, lost);
        }
        let trap = Trap::set(&fpm.data().join(format!("trap{n}")), "unlink", user());
        let answer = client.request(&Request::get(&query("Bad", "unlink", &trap, &public)));
        assert!(answer.is_err(), "the attacker survived: {answer:?}");
        (trap.leaks(), 0)
    };
    let client = |client: Client| {
        let (mut leaks, mut lost) = (Vec::new(), 0);
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= requests {
                return (leaks, lost);
            }
            let (leak, more) = one(&client, n);
            if n.is_multiple_of(10) {
                leaks.push(leak);
            }
            lost += more;
        }
    };
    let results: Vec<(Vec<usize>, usize)> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2).map(|_| scope.spawn(|| client(fpm.client()))).collect();
        clients.into_iter().map(|c| c.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
    });
    let leaks: Vec<usize> = results.iter().flat_map(|(leaks, _)| leaks.clone()).collect();
    let lost: usize = results.iter().map(|(_, lost)| lost).sum();
    assert!(fpm.lives(), "{}", fpm.said());
    Status::of(&running).assert_sound();
    running.stop();
    println!(
        "\n{requests} requests to php-fpm, {} of them attacks: {} calls got through (min, median, max {}); {lost} \
         honest requests lost",
        leaks.len(),
        leaks.iter().sum::<usize>(),
        spread(&leaks)
    );
    assert_eq!(leaks.len(), requests / 10);
    assert!(leaks.iter().all(|n| *n <= 1), "{leaks:?}");
    assert_eq!(lost, 0, "honest requests were not answered: {}", fpm.said());
}
