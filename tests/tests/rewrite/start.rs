//! What is refused before anything runs.

use e2e::session::Session;
use e2e::suite::test;
use libtest_mimic::Trial;

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![test("to_deny_without_the_kill_is_refused", deny)]
}

fn deny() {
    let folder = tempfile::tempdir().expect("a folder");
    let ran = Session::new(folder.path(), "--profile").arg("--action").arg("deny").run(["true"]);
    assert_eq!(ran.status, 125);
    assert!(ran.stderr.contains("Hint: use --action deny,kill"), "{}", ran.stderr);
}
