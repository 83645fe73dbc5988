//! `--context`: a hook decides by more of PHP's stack than the site, and what that is not seen to allow does not happen.

use std::fs;

use e2e::arena::{Arena, USER};
use e2e::session::Running;
use e2e::suite::test;
use libtest_mimic::Trial;

use super::trap::Trap;
use super::world::{ATTACKS, TWINS, arena, php, session, survives, traps};

const STORE: &str = "<?php
class Store {
    static function purge($file) { return @unlink($file) ? 'done' : error_get_last()['message']; }
}";
const APP: &str = "<?php
require __DIR__ . '/store.php';
[, $files, $by] = $argv;
$files = glob($files);
if ($by === '') {
    foreach ($files as $file) echo Store::purge($file), PHP_EOL;
} else {
    include $by;
}
echo 'goes on', PHP_EOL;";
const FOREIGN: &str = "<?php
foreach ($files as $file) echo Store::purge($file), PHP_EOL;";

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("known_files_code_of_another_file_has_nothing_done_for_it", || foreign("known-files")),
        test("known_callers_another_caller_has_nothing_done_for_it", || foreign("2")),
    ]
}

fn of_context(arena: &Arena, mode: &str, context: &str) -> Running {
    let session = session(arena.root(), mode).arg("--php").arg(arena.arg("php"));
    session.args(["--syscalls", "unlink", "--context", context]).start()
}

/// Files that are to be deleted, and what PHP said of each.
fn purge(arena: &Arena, count: usize, by: &str) -> (Trap, String) {
    let trap = traps(arena, &["unlink"], count, USER).remove(0);
    let files = format!("{}/*", arena.arg("traps/unlink"));
    let text = survives(&mut php(arena, USER, "context.php", &[&files, by]));
    assert!(text.contains("goes on"), "PHP did not go on: {text}");
    (trap, text)
}

fn foreign(context: &str) {
    let arena = arena();
    for (name, code) in [("store.php", STORE), ("context.php", APP), ("foreign.php", FOREIGN)] {
        fs::write(arena.path(name), code).expect("write a victim");
    }
    let done = |count| {
        let (trap, text) = purge(&arena, count, "");
        assert_eq!((text.matches("done").count(), trap.leaks()), (count, Some(count)), "{text}");
    };
    let learning = of_context(&arena, "--profile", context);
    done(TWINS);
    assert_eq!(learning.stop().status, 0);

    let running = of_context(&arena, "--sandbox", context);
    done(TWINS);
    let (trap, text) = purge(&arena, ATTACKS, &arena.arg("foreign.php"));
    assert_eq!(trap.leaks(), Some(0), "{text}");
    assert_eq!(text.matches("Operation not permitted").count(), ATTACKS, "{text}");
    done(TWINS);
    let ran = running.stop();
    let told = ran.violations();
    assert_eq!(told.len(), ATTACKS, "{}", ran.stderr);
    for event in told {
        assert_eq!(
            (&event["reason"], &event["action"]),
            (&"unknown-context".into(), &"denied".into()),
            "{event:#}"
        );
    }
}
