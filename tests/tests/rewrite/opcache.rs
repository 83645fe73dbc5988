//! php-fpm with the opcode cache: its literals lie in memory that all workers share, which is never rewritten.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use e2e::arena::Status;
use e2e::fpm::{Fpm, Setup, age, exists, wait_until};
use e2e::suite::test;
use libtest_mimic::Trial;

use super::attacks::attacks;

const TRIES: usize = 3;

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![test("literals_in_the_opcode_cache_stay_as_they_are_for_two_workers", literals)]
}

fn pool(count: usize) -> Fpm {
    let fpm = Fpm::prepare(Setup::workers(2));
    let public = fpm.app().join("public");
    let victim = Path::new(env!("CARGO_MANIFEST_DIR")).join("victims/rewrite/index.php");
    fs::copy(victim, public.join("index.php")).expect("copy a victim");
    let lists: Vec<String> = (0..count)
        .map(|n| {
            let paths = (0..TRIES).map(|k| format!("'{}'", target(&fpm, n, k)));
            format!("[{}]", paths.collect::<Vec<_>>().join(", "))
        })
        .collect();
    let code = format!("<?php\nconst LITERALS = [{}];\n", lists.join(", "));
    fs::write(public.join("literals.php"), code).expect("write a victim");
    for name in ["index.php", "literals.php"] {
        age(&public.join(name));
    }
    fpm
}

fn target(fpm: &Fpm, n: usize, k: usize) -> String {
    fpm.data().join(format!("targets/{n}-{k}")).display().to_string()
}

fn put(fpm: &Fpm, n: usize) {
    for k in 0..TRIES {
        fs::write(target(fpm, n, k), "precious").expect("write a file");
        fs::set_permissions(target(fpm, n, k), fs::Permissions::from_mode(0o666)).expect("open a file");
    }
}

fn gone(fpm: &Fpm, n: usize) -> usize {
    (0..TRIES).filter(|k| !Path::new(&target(fpm, n, *k)).exists()).count()
}

/// The literals as every worker sees them.
fn bytes(fpm: &Fpm) -> String {
    let (mut seen, mut workers) = (HashSet::new(), HashSet::new());
    wait_until("both workers answered", || {
        let answer = fpm.must(&e2e::fpm::Request::get("do=bytes"));
        workers.insert(answer.worker());
        seen.insert(answer.text().to_owned());
        workers.len() == 2
    });
    assert_eq!(seen.len(), 1, "workers see different bytes: {seen:?}");
    seen.into_iter().next().expect("bytes")
}

/// An attack on one worker; how many calls got through.
fn attack(fpm: &Fpm, how: &str, n: usize) -> usize {
    put(fpm, n);
    let before = fpm.workers();
    let answer = fpm.get(&format!("do={how}&n={n}"));
    assert!(answer.is_err(), "{how}: the worker survived: {answer:?}");
    wait_until("the worker is gone, and another there", || {
        let now = fpm.workers();
        before.iter().any(|w| !exists(*w)) && now.len() == 2
    });
    gone(fpm, n)
}

fn literals() {
    let count = attacks();
    let mut fpm = pool(count);
    fpm.make_data("targets");
    let learning = fpm.session("--profile").start();
    fpm.start();
    put(&fpm, 0);
    assert_eq!(fpm.ok("do=delete&n=0"), "1");
    let expected = bytes(&fpm);
    assert_ne!(fpm.ok("do=cached"), "null", "the opcode cache is not on");
    assert_eq!(learning.stop().status, 0);
    let running = fpm.session("--sandbox").start();
    fpm.reload();
    assert_eq!(bytes(&fpm), expected);
    let (mut literal, mut fresh) = (Vec::new(), Vec::new());
    for n in 0..count {
        put(&fpm, n);
        assert_eq!(fpm.ok(&format!("do=delete&n={n}")), "1", "the twin");
        literal.push(attack(&fpm, "literal", n));
        assert_eq!(bytes(&fpm), expected, "after an attack with a literal");
        fresh.push(attack(&fpm, "fresh", n));
    }
    assert_eq!(bytes(&fpm), expected);
    let status = Status::of(&running);
    assert_eq!(status.sum("unknown site: "), 0, "{}", status.text());
    assert!(fpm.lives(), "{}", fpm.said());
    let ran = running.stop();
    for event in ran.violations() {
        let by = event["site"]["function"].as_str();
        let cause = event["cause"].as_str().unwrap_or_default();
        let as_expected = match by {
            Some("literal") => {
                let shared = cause.contains("shared memory") || cause.contains("not writable at that moment");
                event["action"] == "killed" && shared
            }
            Some("fresh") => event["action"] == "rewritten" && event["effect"] == "no",
            _ => false,
        };
        assert!(as_expected, "{event:#}");
    }
    println!(
        "\n{count} attacks with a literal of the opcode cache: {} calls got through, {} at most in each; {count} with a \
         path made in the request: {}",
        literal.iter().sum::<usize>(),
        literal.iter().max().unwrap_or(&0),
        fresh.iter().sum::<usize>(),
    );
    assert!(literal.iter().all(|n| *n <= 1), "{literal:?}");
    assert!(fresh.iter().all(|n| *n == 0), "{fresh:?}");
}
