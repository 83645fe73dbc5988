//! What a binary does without any argument.

use std::process::Command;

use e2e::demonstration::shown;
use e2e::session::{decides_in_kernel, tracer};
use e2e::suite::test;
use libtest_mimic::Trial;

/// The one.
pub fn tests() -> Vec<Trial> {
    vec![test("the_demonstration_blocks_attacks_and_answers_honest_requests", demonstration)]
}

fn demonstration() {
    for attack in shown(&mut Command::new(tracer())) {
        // A request or a program each has one call; who has more in one process is stopped after one.
        let is_stopped = attack.blocked == 0 || attack.sandbox <= 1 || !decides_in_kernel();
        assert!(is_stopped, "{attack:?}");
    }
}
