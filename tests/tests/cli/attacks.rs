//! Attacks, judged by their effect; each beside its twin that is in the profile and succeeds.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;

use e2e::session::Ran;
use e2e::suite::test;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::place::{Place, VICTIMS, assert_clean, line_of, source, through};

/// All of them.
pub fn tests() -> Vec<Trial> {
    let unlinks = [
        ("static_method", "function", Some("Store"), Some("purge")),
        ("closure", "closure", None, None),
        ("deep", "function", None, Some("deep")),
        ("destructor", "function", Some("Bomb"), Some("__destruct")),
        ("namespaced", "function", None, Some("Evil\\remove")),
    ];
    let mut tests: Vec<Trial> = unlinks
        .into_iter()
        .map(|(shape, kind, class, function)| {
            test(&format!("unlink_is_killed_{shape}"), move || {
                unlink_is_killed(shape, &json!({"kind": kind, "class": class, "function": function}));
            })
        })
        .collect();
    tests.extend([
        test("what_is_in_the_profile_succeeds", twins_succeed),
        test("unlink_is_killed_in_an_included_upload", upload),
        test("unlink_is_killed_in_eval", eval),
        test("unlink_is_killed_as_a_shutdown_function", shutdown_function),
        test("unlink_is_killed_in_a_forked_child_and_the_parent_lives", forked_child),
        test("another_program_is_killed_in_a_grandchild_through_sh", shell),
        test("another_operation_of_an_allowed_program_is_killed", shell_itself),
        test("another_program_is_killed_through_pcntl_exec", pcntl_exec),
        test("pcntl_exec_is_killed_at_a_site_that_never_did", pcntl_exec_unseen),
        test("truncating_is_killed_at_a_site_that_learnt_reading", || {
            open_for_writing("open_truncate", "openat:create");
        }),
        test("writing_is_killed_at_a_site_that_learnt_reading", || {
            open_for_writing("open_write", "openat:write");
        }),
        test("signalling_the_tracer_is_killed_where_signalling_is_allowed", signal_the_tracer),
        test("the_tracers_own_files_are_protected", own_files),
        test("connect_is_killed_and_little_is_received", connect),
    ]);
    tests
}

/// A place with a profile of what `attacks.php` is allowed, and fresh victims.
fn learnt() -> Place {
    let place = Place::with("attacks.php");
    fs::copy(source("victims/included.php"), place.path("included.php")).expect("copy");
    place.learn(&[&place.arg("attacks.php"), "learn", &place.arg("data")]);
    assert_twins_done(&place);
    place.victims(VICTIMS);
    place
}

fn attack(place: &Place, shape: &str) -> Ran {
    place.sandbox(&[&place.arg("attacks.php"), shape, &place.arg("data")])
}

/// What the profile allows was done: a file that a twin had to delete would still be there.
fn assert_twins_done(place: &Place) {
    let left = |name: &str| place.path("data").join(name).exists();
    // `i` is what sh moved `h` to.
    let names = ["a", "b", "c", "d", "f", "g", "h", "i"];
    let undone: Vec<&str> = names.into_iter().filter(|n| left(n)).collect();
    assert!(undone.is_empty(), "left by the twins: {undone:?}");
}

fn twins_succeed() {
    let place = learnt();
    for _ in 0..3 {
        let ran = attack(&place, "learn");
        assert_clean(&ran);
        assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
        assert_twins_done(&place);
        assert!(!place.path("data/e").exists(), "the destructor's twin did not run");
        assert!(!place.path("data/empty").exists(), "the shutdown function's twin did not run");
    }
    assert_eq!(place.intact(), VICTIMS);
}

/// Killed in time, and told as it was.
fn unlink_is_killed(shape: &str, site: &Value) {
    let place = learnt();
    let ran = attack(&place, shape);
    assert_twins_done(&place);
    let line = line_of(&place.path("attacks.php"), &format!("/* attack: {shape} */"));
    let mut site = site.clone();
    site["file"] = place.arg("attacks.php").into();
    site["line"] = line.into();
    assert_eq!(ran.status, 137, "not killed: {}{}", ran.stdout, ran.stderr);
    // A destructor runs when the script is through.
    assert_eq!(ran.stdout.contains("survived"), shape == "destructor", "{}", ran.stdout);
    assert_unlinks(&place, &ran, &site, "unlink");
}

/// COMMAND itself died of it.
fn assert_killed(ran: &Ran) {
    assert_eq!(ran.status, 137, "not killed: {}{}", ran.stdout, ran.stderr);
    assert!(!ran.stdout.contains("survived"), "{}", ran.stdout);
}

/// Every violation is an unlink of a victim at that site, all was killed, and no more is gone than was told.
fn assert_unlinks(place: &Place, ran: &Ran, site: &Value, sink: &str) {
    let violations = ran.violations();
    assert!(!violations.is_empty(), "no violation was told: {}", ran.stderr);
    for event in &violations {
        assert_eq!(event["operation"], "unlink", "{event:#}");
        assert_eq!(event["site"], *site, "{event:#}");
        assert_eq!(event["sink"], sink, "{event:#}");
        assert_eq!(event["action"], "killed", "{event:#}");
        assert_eq!(event["mode"], "sandbox", "{event:#}");
        assert!(event["args"]["path"].as_str().is_some_and(|p| p.contains("/data/v/")), "{event:#}");
        assert!(event["effect"] != "yes" || event["ret"] == 0, "{event:#}");
    }
    let left = place.left();
    assert!(left > VICTIMS / 2, "only {left} of {VICTIMS} files are left");
    assert_eq!(VICTIMS - left, through(&violations, "unlink"), "files gone and unlinks told as let through");
    let line = format!("killed unlink(\"{}", place.arg("data/v/"));
    assert!(ran.stderr.contains(&line), "no line for people: {}", ran.stderr);
    assert!(
        ran.stderr.contains(&format!("{} violations, {} let through", violations.len(), VICTIMS - left)),
        "{}",
        ran.stderr
    );
}

/// A function of `attacks.php`, at the line that says so.
fn site_of(place: &Place, function: &str, shape: &str) -> Value {
    let script = place.path("attacks.php");
    let line = line_of(&script, &format!("/* attack: {shape} */"));
    let file = script.display().to_string();
    json!({"kind": "function", "class": null, "function": function, "file": file, "line": line})
}

fn upload() {
    let place = learnt();
    let upload =
        place.file("data/upload.php", "<?php\nforeach (victims($dir) as $file) {\n    @unlink($file);\n}\n");
    let ran = attack(&place, "upload");
    let file = upload.display().to_string();
    let site = json!({"kind": "main", "class": null, "function": null, "file": file, "line": 3});
    assert_killed(&ran);
    assert_unlinks(&place, &ran, &site, "unlink");
    for event in ran.violations() {
        assert_eq!(event["reason"], "site-not-in-profile", "{event:#}");
        assert_eq!(event["script"], place.arg("attacks.php"), "{event:#}");
    }
}

fn eval() {
    let place = learnt();
    let ran = attack(&place, "eval");
    let script = place.path("attacks.php");
    let file = format!("{}({}) : eval()'d code", script.display(), line_of(&script, "/* attack: eval */"));
    assert_killed(&ran);
    let site = json!({"kind": "main", "class": null, "function": null, "file": file, "line": 1});
    assert_unlinks(&place, &ran, &site, "unlink");
}

fn shutdown_function() {
    let place = learnt();
    let ran = attack(&place, "shutdown_function");
    assert_eq!(ran.status, 137, "{}", ran.stderr);
    // The script was through before its shutdown functions ran.
    assert!(ran.stdout.contains("survived"), "{}", ran.stdout);
    let site = json!({"kind": "internal", "class": null, "function": "unlink", "file": null, "line": null});
    assert_unlinks(&place, &ran, &site, "unlink");
}

fn forked_child() {
    let place = learnt();
    let ran = attack(&place, "forked_child");
    assert_eq!(ran.status, 0, "the parent did not go on: {}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("signal 9"), "the child was not killed: {}", ran.stdout);
    let site = site_of(&place, "in_child", "forked_child");
    assert_unlinks(&place, &ran, &site, "unlink");
}

/// The violation is of a program that was started by `function` through `sink`.
fn assert_origin(event: &Value, script: &Path, function: &str, sink: &str) {
    let origin =
        event["origin"].as_array().and_then(|o| o.last()).unwrap_or_else(|| panic!("no origin: {event:#}"));
    assert_eq!(event["site"], Value::Null, "{event:#}");
    assert_eq!(origin["site"]["function"], function, "{event:#}");
    assert_eq!(origin["site"]["file"], script.display().to_string(), "{event:#}");
    assert_eq!(origin["sink"], sink, "{event:#}");
}

fn shell() {
    let place = learnt();
    let ran = attack(&place, "shell");
    assert_twins_done(&place);
    assert_eq!(ran.status, 0, "PHP itself did nothing wrong: {}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("status 137"), "rm was not killed: {}", ran.stdout);
    let violations = ran.violations();
    let exec =
        violations.iter().find(|e| e["operation"] == "exec").unwrap_or_else(|| panic!("{violations:#?}"));
    assert_eq!(exec["exe"], "/usr/bin/rm", "{exec:#}");
    assert_eq!(exec["reason"], "program-not-in-profile", "{exec:#}");
    assert!(violations.iter().all(|e| e["action"] == "killed"), "{violations:#?}");
    for event in &violations {
        assert_origin(event, &place.path("attacks.php"), "through_shell", "exec");
    }
    assert_through_program(&place, &ran);
}

/// What `rm` deleted is what was told.
fn assert_through_program(place: &Place, ran: &Ran) {
    let left = place.left();
    assert!(left > VICTIMS / 2, "only {left} of {VICTIMS} files are left");
    let violations = ran.violations();
    assert_eq!(VICTIMS - left, through(&violations, "unlinkat") + through(&violations, "unlink"));
}

fn shell_itself() {
    let place = learnt();
    let ran = attack(&place, "shell_itself");
    assert_eq!(ran.status, 0, "PHP itself did nothing wrong: {}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("status 137"), "sh was not killed: {}", ran.stdout);
    let violations = ran.violations();
    assert!(!violations.is_empty(), "{}", ran.stderr);
    for event in &violations {
        assert_eq!(event["exe"], "/usr/bin/dash", "{event:#}");
        assert_eq!(event["operation"], "openat:create", "{event:#}");
        assert_eq!(event["reason"], "operation-not-in-profile", "{event:#}");
        assert_eq!(event["action"], "killed", "{event:#}");
        assert_origin(event, &place.path("attacks.php"), "through_shell", "exec");
    }
    let intact = place.intact();
    assert!(intact > VICTIMS / 2, "only {intact} of {VICTIMS} files are intact");
    assert_eq!(VICTIMS - intact, through(&violations, "openat"));
}

fn pcntl_exec() {
    let place = learnt();
    let ran = attack(&place, "pcntl_exec");
    assert_killed(&ran);
    let violations = ran.violations();
    let exec =
        violations.iter().find(|e| e["operation"] == "exec").unwrap_or_else(|| panic!("{violations:#?}"));
    assert_eq!(exec["exe"], "/usr/bin/rm", "{exec:#}");
    assert_eq!(exec["args"]["program"], "/usr/bin/rm", "{exec:#}");
    assert_eq!(exec["reason"], "program-not-in-profile", "{exec:#}");
    for event in &violations {
        assert_eq!(event["action"], "killed", "{event:#}");
        assert_origin(event, &place.path("attacks.php"), "replace", "pcntl_exec");
    }
    assert_through_program(&place, &ran);
}

fn pcntl_exec_unseen() {
    let place = learnt();
    let ran = attack(&place, "pcntl_exec_unseen");
    assert_killed(&ran);
    let violations = ran.violations();
    let first = violations[0];
    assert_eq!(first["operation"], "execve", "{first:#}");
    let site = site_of(&place, "replace_unseen", "pcntl_exec_unseen");
    assert_eq!(first["site"], site, "{first:#}");
    assert_eq!(first["sink"], "pcntl_exec", "{first:#}");
    assert_eq!(first["reason"], "site-not-in-profile", "{first:#}");
    assert!(violations.iter().all(|e| e["action"] == "killed"), "{violations:#?}");
    assert_through_program(&place, &ran);
}

fn open_for_writing(shape: &str, operation: &str) {
    let place = learnt();
    let ran = attack(&place, shape);
    assert_twins_done(&place);
    assert_killed(&ran);
    let site = site_of(&place, "load", "open");
    let violations = ran.violations();
    assert!(!violations.is_empty(), "{}", ran.stderr);
    for event in &violations {
        assert_eq!(event["operation"], operation, "{event:#}");
        assert_eq!(event["site"], site, "{event:#}");
        assert_eq!(event["sink"], "fopen", "{event:#}");
        assert_eq!(event["reason"], "operation-not-in-profile", "{event:#}");
        assert_eq!(event["action"], "killed", "{event:#}");
    }
    let changed = VICTIMS - place.intact();
    let opened = through(&violations, "openat");
    assert!(changed < VICTIMS / 2, "{changed} of {VICTIMS} files are changed");
    // The last one may have been opened and not yet written to.
    let unwritten = usize::from(shape == "open_write");
    assert!(
        changed <= opened && opened <= changed + unwritten,
        "{changed} changed, {opened} told as let through"
    );
}

fn connect() {
    let place = Place::with("attacks.php");
    fs::copy(source("victims/included.php"), place.path("included.php")).expect("copy");
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = listener.local_addr().expect("address").port();
    let address = format!("tcp://127.0.0.1:{port}");
    let receiver = std::thread::spawn(move || received(&listener));
    place.learn(&[&place.arg("attacks.php"), "learn", &place.arg("data"), &address]);
    let ran = place.sandbox(&[&place.arg("attacks.php"), "connect", &place.arg("data"), &address]);
    // Ends the receiver.
    let mut last = std::net::TcpStream::connect(("127.0.0.1", port)).expect("connect");
    std::io::Write::write_all(&mut last, b"end").expect("write");
    drop(last);
    let texts = receiver.join().expect("the receiver");
    assert_killed(&ran);
    let violations = ran.violations();
    assert!(!violations.is_empty(), "{}", ran.stderr);
    // Creating the socket is one already: it may be killed before it connects.
    for event in &violations {
        assert_eq!(event["site"]["function"], "send", "{event:#}");
        assert_eq!(event["sink"], "stream_socket_client", "{event:#}");
        assert_eq!(event["action"], "killed", "{event:#}");
    }
    let connects: Vec<_> = violations.iter().filter(|e| e["operation"] == "connect:inet").collect();
    for event in &connects {
        assert_eq!(event["args"]["address"], "127.0.0.1", "{event:#}");
        assert_eq!(event["args"]["port"], port, "{event:#}");
    }
    let of = |text: &str| texts.iter().filter(|t| *t == text).count();
    assert_eq!(of("hello"), 2, "the twin's are not received: {texts:?}");
    assert!(of("secret") <= connects.len(), "{} messages, {} connects told", of("secret"), connects.len());
    assert!(of("secret") < VICTIMS / 2, "{} of {VICTIMS} messages were received", of("secret"));
}

/// What was received on each connection until one that says `end`.
fn received(listener: &TcpListener) -> Vec<String> {
    let contents = listener.incoming().map(|stream| {
        let mut content = String::new();
        let _ = stream.expect("a connection").read_to_string(&mut content);
        content
    });
    contents.take_while(|content| content != "end").collect()
}

fn signal_the_tracer() {
    let place = Place::with("signal.php");
    let (script, own) = (place.arg("signal.php"), std::process::id().to_string());
    place.learn(&[&script, &own]);
    let twin = place.sandbox(&[&script, &own]);
    assert_clean(&twin);
    assert!(twin.stdout.contains("survived"), "{}", twin.stderr);
    // COMMAND's parent is the tracer.
    let ran = place.sandbox(&[&script]);
    assert_killed(&ran);
    for event in ran.violations() {
        assert_eq!(event["operation"], "kill:stranger", "{event:#}");
        assert_eq!(event["reason"], "protected-object", "{event:#}");
        assert_eq!(event["grant"], Value::Null, "no grant allows it: {event:#}");
    }
}

fn own_files() {
    let place = Place::with("put.php");
    let (script, free) = (place.arg("put.php"), place.arg("data/free"));
    place.learn(&[&script, &free]);
    let (profile, events) = (place.arg("p.profile"), place.arg("events.jsonl"));
    let ran = place.ordinary("--monitor").run(super::place::php(&[&script, &free, &profile, &events]));
    let violations = ran.violations();
    let paths: Vec<_> = violations.iter().map(|e| e["args"]["path"].as_str()).collect();
    assert_eq!(paths, [Some(&profile[..]), Some(&events[..])], "{}", ran.stderr);
    assert!(violations.iter().all(|e| e["reason"] == "protected-object"), "{violations:#?}");
}
