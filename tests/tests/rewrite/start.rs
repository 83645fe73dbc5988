//! What is refused before anything runs.

use e2e::session::{Session, kernel_kill};
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

/// Where lockdown forbids it.
pub fn forbidden() {
    let folder = tempfile::tempdir().expect("a folder");
    let php = ["/usr/bin/php8.2", "-r", ";"];
    let learnt = std::process::Command::new(kernel_kill())
        .args(["--profile", "--user", "nobody", "--profile-file"])
        .arg(folder.path().join("p.profile"))
        .arg("--")
        .args(php)
        .output()
        .expect("learn");
    assert!(learnt.status.success(), "{learnt:?}");
    for mode in ["--monitor", "--sandbox"] {
        let ran = Session::new(folder.path(), mode).arg("--user").arg("nobody").run(php);
        assert_eq!(ran.status, 125, "{}", ran.stderr);
        assert!(ran.stderr.contains("lockdown"), "{}", ran.stderr);
        assert!(ran.stderr.contains("Hint: use phase2-kernel-kill"), "{}", ran.stderr);
    }
}
