//! A second thread changes the path while the kernel looks at it: what is decided about is what is done.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use e2e::arena::{Arena, Status, USER};
use e2e::session::exported;
use e2e::suite::test;
use libtest_mimic::Trial;
use serde_json::json;

use super::trap::Trap;
use super::world::{ATTACKS, arena, php, session, survives, told, traps};

/// The one.
pub fn tests() -> Vec<Trial> {
    vec![test("a_second_thread_that_changes_the_path_gets_nothing_done", second_thread)]
}

/// What is left of the two folders, and how many of the paths were ever denied.
fn race(arena: &Arena, count: usize) -> (Trap, usize) {
    let trap = traps(arena, &["race"], count, USER).remove(0);
    let command = format!("{} race {} {count}", arena.arg("calls"), trap.folder().display());
    let text = survives(&mut php(arena, USER, "shell.php", &[&command]));
    let denied = told(&text).get("race").unwrap_or_else(|| panic!("nothing was told: {text}")).denied;
    (trap, denied)
}

/// `unlink` is granted in one folder, and the other one is as far away as a few bytes.
fn grant_in_one_folder(arena: &Arena) {
    let path = arena.path("p.profile");
    let mut profile = exported(&path);
    for grant in profile["grants"].as_array_mut().expect("grants") {
        if grant["operation"] == "unlink" {
            grant["constraints"] = json!([{ "path": [arena.arg("traps/race/free/*")] }]);
        }
    }
    fs::write(&path, profile.to_string()).expect("write a profile");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
}

fn second_thread() {
    let arena = arena();
    let of = |mode: &str| session(arena.root(), mode).arg("--php").arg(arena.arg("php"));
    let learning = of("--profile").arg("--syscalls").arg("unlink").start();
    let (trap, denied) = race(&arena, ATTACKS);
    let gone = ["free", "kept"].map(|folder| trap.gone(folder));
    assert!(gone[0] > 0 && gone[1] > 0 && denied == 0, "there is no race: {gone:?}, {denied} denied");
    assert_eq!(learning.stop().status, 0);
    grant_in_one_folder(&arena);

    let running = of("--sandbox").start();
    let (trap, denied) = race(&arena, ATTACKS);
    assert_eq!(trap.leaks(), Some(0), "files are gone that no grant is about");
    assert!(trap.gone("free") > 0 && denied > 0, "{} allowed, {denied} denied", trap.gone("free"));
    Status::of(&running).assert_decided();
    running.stop();
    println!(
        "\n{} of {ATTACKS} files are gone that may go, {denied} of the others were reached for, none of them is gone",
        trap.gone("free")
    );
}
