//! What `phase3-lsm --lsm` shows without any other argument.

use std::process::Command;

use e2e::demonstration::shown;
use e2e::session::tracer;
use e2e::suite::test;
use libtest_mimic::Trial;

/// The one.
pub fn tests() -> Vec<Trial> {
    vec![test("the_demonstration_blocks_every_call_that_is_not_granted", demonstration)]
}

fn demonstration() {
    for attack in shown(Command::new(tracer()).arg("--lsm")) {
        assert!(attack.is_of_a_granted_function() || (attack.sandbox, attack.harm) == (0, 0), "{attack:?}");
    }
}
