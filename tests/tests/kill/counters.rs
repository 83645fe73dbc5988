//! What a user can ask for: the numbers, which must add up.

use e2e::session::Running;
use e2e::suite::test;
use libtest_mimic::Trial;

use e2e::arena::{Arena, Status, checked, succeeds};

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![test("counters_add_up_by_reason", by_reason)]
}

/// Each attack with the reason for which its first call is a violation.
const REASONS: [(&str, &str); 3] = [
    ("unlink", "violations: site-not-in-profile"),
    ("mode", "violations: operation-not-in-profile"),
    ("program", "violations: program-not-in-profile"),
];

fn by_reason() {
    let arena = Arena::new();
    arena.learn(&[], &["unlink", "mode", "program"]);
    in_monitor(&arena);
    in_sandbox(&arena);
}

fn counts(session: &Running) -> [u64; 3] {
    let status = Status::of(session);
    status.assert_sound();
    REASONS.map(|(_, reason)| status.count(reason))
}

fn in_monitor(arena: &Arena) {
    let session = checked(arena.session("--monitor")).start();
    assert_eq!(counts(&session), [0; 3]);
    for (operation, _) in REASONS {
        arena.twin(operation);
    }
    let status = Status::of(&session);
    status.assert_sound();
    assert!(status.count("calls allowed there") > 0, "{}", status.text());
    assert_eq!(status.sum("violations: "), 0, "{}", status.text());
    // Whoever attacks is only counted: every call is one violation, its reason is known.
    let mut before = counts(&session);
    for (n, (operation, reason)) in REASONS.into_iter().enumerate() {
        let trap = arena.trap(operation);
        succeeds(&mut arena.attacker("Bad", operation, &trap));
        assert_eq!(trap.leaks(), trap.count, "{operation}: monitor blocked it");
        let now = counts(&session);
        let rose = [0, 1, 2].map(|n| now[n] - before[n]);
        let expected = match operation {
            // The program itself, and what it then does as a program that is not in the profile.
            "program" => rose[n] >= 1,
            _ => rose[n] == trap.count as u64,
        };
        assert!(expected, "{operation}: {reason} rose by {rose:?}");
        assert_eq!(rose.iter().sum::<u64>(), rose[n], "{operation}: other reasons, too: {rose:?}");
        before = now;
    }
    let status = Status::of(&session);
    assert_eq!(status.count("kills from the kernel for a violation"), 0, "monitor only counts");
    let violations = status.sum("violations: ");
    let ran = session.stop();
    assert_eq!(ran.violations().len() as u64, violations, "told and counted");
}

fn in_sandbox(arena: &Arena) {
    const ROUNDS: usize = 5;
    let session = checked(arena.session("--sandbox")).start();
    for _ in 0..ROUNDS {
        for (operation, _) in REASONS {
            arena.twin(operation);
            let attacked = arena.attack(operation);
            assert!(attacked.leaks <= 1, "{operation}: {}", attacked.leaks);
            assert_eq!(attacked.is_killed(), operation != "program", "the shell is another process");
        }
    }
    assert_eq!(
        counts(&session),
        [ROUNDS as u64; 3],
        "one violation for each attacker: the first was the last"
    );
    let status = Status::of(&session);
    assert_eq!(status.count("kills from the kernel for a violation"), 3 * ROUNDS as u64, "{}", status.text());
    assert!(status.text().starts_with("mode sandbox\n"), "{}", status.text());
    let ran = session.stop();
    assert_eq!(ran.violations().len(), 3 * ROUNDS, "told and counted");
    assert!(ran.violations().iter().all(|v| v["action"] == "killed"), "{:#?}", ran.violations());
}
