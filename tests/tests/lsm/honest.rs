//! What is honest is learnt, and is no violation afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::arena::{Arena, USER, succeeds};
use e2e::session::exported;
use e2e::suite::test;
use libtest_mimic::Trial;

use super::attacks::{OPERATIONS, names, twins};
use super::world::{TWINS, World, assert_done, granted, honest, learnt, php, run, survives, traps, world};

const VARIANTS: usize = 10;
/// How often what was learnt is done again.
const ROUNDS: usize = 10;
const GOLDEN: [&str; 2] = ["call_shapes", "lifecycle"];

/// The test that learns.
pub fn learning() -> Vec<Trial> {
    vec![
        test("everything_honest_works_where_nobody_watches", || honest(world())),
        test("everything_honest_is_learnt_in_one_session", || {
            learnt();
        }),
        test("an_unlink_of_what_is_not_there_is_a_system_call_that_no_hook_sees", missing),
    ]
}

/// Under sandbox.
pub fn tests() -> Vec<Trial> {
    vec![
        test("ten_variants_learnt_are_no_violation", variants),
        test("golden_scripts_learnt_are_no_violation_ten_times_of_ten", golden),
        test("more_memory_than_when_it_was_learnt_is_no_violation", memory),
        test("what_php_starts_does_what_it_has_learnt_and_nothing_else", descendants),
    ]
}

/// Files of these tests.
pub fn prepare(arena: &Arena) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/php-cases");
    let copied = Command::new("cp").arg("-r").arg(from).arg(arena.path("php-cases")).status().expect("cp");
    assert!(copied.success());
}

/// In the shared session.
pub fn learn(world: &World) {
    twins(world);
    (0..VARIANTS).for_each(|n| variant(world, n));
    golden_scripts(world);
    assert_eq!(world.arena.forks(2, 2, "learn"), (4, 0));
    use_memory(world, 1);
    shell(world, "read line < ");
    inner(world, "outer", "write");
    inner(world, "inner", "unlink");
    succeeds(&mut world.arena.php("missing.php", &[&world.arena.folder("missing").display().to_string()]));
    fs::remove_dir_all(world.arena.path("missing")).expect("remove a folder");
}

/// Each does other things in another order.
fn variant(world: &World, n: usize) {
    let mut operations = names(OPERATIONS);
    operations.rotate_left(n * 3);
    operations.truncate(6);
    let set = traps(&world.arena, &operations, TWINS, USER);
    assert_done(&run(&world.arena, USER, "Good", &set, TWINS), &operations, &set, TWINS);
}

fn golden_scripts(world: &World) {
    for script in GOLDEN {
        let mut command = php(&world.arena, USER, &format!("php-cases/{script}.php"), &[]);
        let output = command.output().expect("run PHP");
        assert!(output.status.success(), "{script}: {output:?}");
    }
}

fn variants() {
    let world = learnt();
    let before = world.violations();
    (0..VARIANTS).for_each(|n| variant(world, n));
    world.assert_no_more(before, "what is learnt is denied");
}

fn golden() {
    let world = learnt();
    let before = world.violations();
    for _ in 0..ROUNDS {
        golden_scripts(world);
        world.assert_no_more(before, "what is learnt is denied");
    }
}

fn use_memory(world: &World, pieces: usize) {
    let text = survives(&mut world.arena.php("memory.php", &[&pieces.to_string()]));
    assert_eq!(text.trim(), (pieces * 100).to_string(), "memory was not to be had");
}

/// What is learnt of a site must not hang on how much it had to do.
fn memory() {
    let world = learnt();
    let before = world.violations();
    use_memory(world, 100_000);
    world.assert_no_more(before, "memory is denied");
}

/// A shell does this with a file; whether the file was changed.
fn shell(world: &World, what: &str) -> bool {
    let file = world.arena.folder("shell").join("file");
    fs::write(&file, "a line\n").expect("write a file");
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("open a file");
    survives(&mut world.arena.php("shell.php", &[&format!("{what}{}", file.display())]));
    fs::read(&file).expect("read a file") != b"a line\n"
}

/// `inner.php`; the file that its innermost function writes or deletes is told.
fn inner(world: &World, role: &str, what: &str) -> PathBuf {
    let file = world.arena.folder("inner").join(what);
    let _ = fs::remove_file(&file);
    if what == "unlink" {
        fs::write(&file, "precious").expect("write a file");
    }
    survives(&mut world.arena.php("inner.php", &[role, what, &file.display().to_string()]));
    file
}

fn descendants() {
    let world = learnt();
    let before = world.violations();
    assert!(!shell(world, "read line < "));
    assert!(inner(world, "outer", "write").exists(), "what is learnt does not work");
    assert!(!inner(world, "inner", "unlink").exists(), "what is learnt does not work");
    world.assert_no_more(before, "what is learnt is denied");
    assert!(!shell(world, "echo changed > "), "the shell wrote");
    assert!(!shell(world, "echo changed >> "), "the shell wrote");
    assert!(world.violations() >= before + 2);
    // Its own site has learnt it, and PHP below PHP has not.
    assert!(inner(world, "outer", "unlink").exists(), "PHP below PHP did what it had learnt elsewhere");
    assert!(world.violations() >= before + 3);
}

fn missing() {
    let world = learnt();
    let (script, folder) = (world.arena.arg("missing.php"), world.arena.folder("missing"));
    let profile = world.arena.path("syscall.profile");
    let php = world.arena.arg("php");
    let output = Command::new(e2e::session::kernel_kill())
        .args(["--profile", "--user", "nobody", "--php", &php, "--profile-file"])
        .arg(&profile)
        .args(["--", &php, "-n", &script, &folder.display().to_string()])
        .output()
        .expect("run phase2-kernel-kill");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let of = |path: &Path| {
        let mut operations = granted(&exported(path), "tidy");
        operations.sort();
        operations
    };
    assert_eq!(of(&profile), ["mkdir", "unlink"]);
    assert_eq!(of(&world.profile()), ["mkdir"]);
}
