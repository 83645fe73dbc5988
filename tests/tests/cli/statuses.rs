//! Exit statuses, and when a session ends.

use std::fs;
use std::time::{Duration, Instant};

use e2e::suite::test;
use libtest_mimic::Trial;

use super::place::{Place, php};

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("status_is_the_commands_own", own),
        test("status_is_128_and_the_signal", signal),
        test("status_is_3_after_a_violation_if_asked", exit_code),
        test("a_session_waits_for_descendants_unless_told_not_to", no_wait),
        test("the_start_line_names_whom_the_command_runs_as", runs_as),
        test("a_session_ends_after_its_duration", duration),
        test("a_command_that_outlives_its_session_is_told_of", outlives),
        test("a_process_that_ends_itself_by_a_signal_is_no_violation", ends_itself),
        test("nobody_is_left_of_a_command_that_forks_while_its_sandbox_ends", chain),
        test("stdout_is_the_commands_and_its_arguments_arrive", stdout),
    ]
}

fn own() {
    let place = Place::new();
    for status in [0, 1, 3, 77, 255] {
        let ran = place.ordinary("--profile").arg("--force").run(php(&["-r", &format!("exit({status});")]));
        assert_eq!(ran.status, status, "{}", ran.stderr);
    }
}

fn signal() {
    let place = Place::new();
    for signal in [libc::SIGTERM, libc::SIGSEGV, libc::SIGKILL] {
        let code = format!("posix_kill(posix_getpid(), {signal}); sleep(10);");
        let ran = place.ordinary("--profile").arg("--force").run(php(&["-r", &code]));
        assert_eq!(ran.status, 128 + signal, "{}", ran.stderr);
    }
}

fn exit_code() {
    let place = Place::new();
    fs::write(place.path("a.php"), "<?php if ($argv[1]) { @unlink('/nowhere'); } exit(5);").expect("write");
    let script = place.arg("a.php");
    let learnt = place.ordinary("--profile").run(php(&[&script, "0"]));
    assert_eq!(learnt.status, 5, "{}", learnt.stderr);
    let run = |more: &str, argument: &str| {
        let session = place.ordinary("--monitor");
        let session = if more.is_empty() { session } else { session.arg(more) };
        session.run(php(&[&script, argument]))
    };
    assert_eq!(run("--exit-code", "1").status, 3);
    assert_eq!(run("--exit-code", "0").status, 5);
    let without = run("", "1");
    assert_eq!((without.status, without.violations().len()), (5, 1), "{}", without.stderr);
}

/// A command that leaves a descendant for two seconds.
const LEAVES: &str =
    "if (pcntl_fork() === 0) { posix_setsid(); usleep(2_000_000); touch($argv[1]); exit; } echo 'left';";

fn no_wait() {
    let place = Place::new();
    let late = place.arg("data/late");
    let run = |more: &str| {
        let _ = fs::remove_file(&late);
        let session = place.ordinary("--profile").arg("--force");
        let session = if more.is_empty() { session } else { session.arg(more) };
        // The descendant has the output, too: it is not waited for here.
        let start = Instant::now();
        let ran = session.run([
            "/bin/sh",
            "-c",
            "exec \"$0\" \"$@\" >/dev/null 2>&1",
            "/usr/bin/php",
            "-r",
            LEAVES,
            &late,
        ]);
        (ran, start.elapsed())
    };
    let (ran, _) = run("");
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(fs::exists(&late).expect("exists"), "the session ended before the descendant");
    let (ran, _) = run("--no-wait");
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(!fs::exists(&late).expect("exists"), "the session waited for the descendant");
}

fn runs_as() {
    let place = Place::new();
    let says = |ran: &e2e::session::Ran, user: &str| {
        let ready =
            ran.stderr.lines().find(|line| line.starts_with("ready: ")).unwrap_or_default().to_owned();
        assert!(ready.contains(&format!("; COMMAND runs as {user}")), "{}", ran.stderr);
    };
    let code = ["-r", "echo posix_geteuid();"];
    let named = place.ordinary("--profile").run(php(&code));
    says(&named, "nobody");
    let session = || place.session("--profile").arg("--force");
    says(&session().environment("SUDO_USER", "root").run(php(&code)), "root");
    let under_sudo = session().environment("SUDO_USER", "nobody").run(php(&code));
    says(&under_sudo, "nobody");
    assert_eq!(under_sudo.stdout, "65534", "{}", under_sudo.stderr);
}

fn duration() {
    let place = Place::new();
    let start = Instant::now();
    let php = place.own_php();
    let mut session = place.session("--profile").args(["--php", &php, "--duration", "1.5"]).start();
    // Something for it to see: it watches whatever runs this PHP.
    let seen = std::process::Command::new(&php).args(["-r", "exit(0);"]).status().expect("php");
    assert!(seen.success());
    session.wait_for("profile ");
    assert!(start.elapsed() > Duration::from_millis(1400), "{:?}", start.elapsed());
    let ran = session.stop();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(place.path("p.profile").exists());
}

fn outlives() {
    let place = Place::new();
    let run = |mode: &str| {
        // It ends by itself; its output is not waited for.
        let command = "touch \"$1\"; exec \"$0\" -r 'sleep(3);' >/dev/null 2>&1";
        let ran = place.ordinary(mode).args(["--duration", "1"]).run([
            "/bin/sh",
            "-c",
            command,
            "/usr/bin/php",
            &place.arg("data/a"),
        ]);
        assert!(ran.stderr.contains("notice: 1 process(es) go on without being watched"), "{}", ran.stderr);
    };
    run("--profile");
    run("--monitor");
}

/// Told to end by somebody else, PHP sends itself the signal once more, wherever its code is.
fn ends_itself() {
    let place = Place::new();
    let run = |mode: &str, code: &str| {
        let session = place.ordinary(mode).args(["--exit-code", "--duration", "1"]);
        let session = if mode == "--profile" { session.arg("--force") } else { session };
        session.run(php(&["-r", &format!("touch('{}'); {code}", place.arg("data/a"))]))
    };
    let told = |mode: &str, signal: &str| {
        let ran = run(mode, &format!("posix_kill(posix_getpid(), {signal}); sleep(10);"));
        let is_expected = if ran.violations().is_empty() { ran.status > 128 } else { ran.status == 3 };
        assert!(is_expected, "{mode} {signal}: {} {}", ran.status, ran.stderr);
        ran.violations().len()
    };
    let learnt = run("--profile", "posix_kill(posix_getpid(), SIGABRT); sleep(10);");
    assert_eq!(learnt.status, 128 + libc::SIGABRT, "{}", learnt.stderr);
    let profile = place.profile().to_string();
    assert!(!profile.contains("kill:self"), "{profile}");
    let stopped = run("--sandbox", "while (true) { usleep(10_000); }");
    assert_eq!(stopped.status, 128 + libc::SIGTERM, "{}", stopped.stderr);
    assert_eq!(stopped.violations().len(), 0, "{}", stopped.stderr);
    // These have no handler.
    assert_eq!([told("--sandbox", "SIGABRT"), told("--sandbox", "SIGKILL")], [0, 0]);
    // PHP's own has one, from which it sends itself the signal once more: that is no other.
    assert_eq!(told("--monitor", "SIGTERM"), 1);
    let handled = run("--monitor", "pcntl_signal(SIGABRT, fn () => 0); posix_kill(posix_getpid(), SIGABRT);");
    assert_eq!(handled.violations().len(), 1, "{}", handled.stderr);
    let other = run("--sandbox", "posix_kill(posix_getpid(), SIGCONT);");
    assert_eq!(other.violations().len(), 1, "{}", other.stderr);
}

fn chain() {
    let place = Place::new();
    e2e::chain::nobody_is_left(place.root(), |mode| place.ordinary(mode));
}

fn stdout() {
    let place = Place::new();
    let ran = place.ordinary("--profile").run(php(&[
        "-r",
        "echo implode('|', $argv), \"\\n\"; fwrite(STDERR, 'mine');",
        "--",
        "--sandbox",
        "a b",
        "",
    ]));
    assert_eq!(ran.stdout, "Standard input code|--sandbox|a b|\n", "{}", ran.stderr);
    assert!(ran.stderr.contains("mine"));
}
