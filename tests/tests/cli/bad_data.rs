//! Whatever the target calls things: no line of output, no JSON event, no terminal breaks.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use e2e::session::Ran;
use e2e::suite::test;
use libtest_mimic::Trial;
use serde_json::Value;

use super::place::{Place, php};

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("bad_names_break_no_output_in_any_mode", any_mode),
        test("bad_names_break_no_terminal", terminal),
        test("names_over_the_cap_are_never_granted", over_the_cap),
    ]
}

/// What would move a cursor, or make text read other than it is.
fn is_control(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn assert_plain(text: &str, what: &str) {
    let bad: BTreeSet<String> =
        text.chars().filter(|c| is_control(*c)).map(|c| c.escape_unicode().to_string()).collect();
    assert!(bad.is_empty(), "{what} has {bad:?}");
    assert!(!text.contains('\u{fffd}'), "{what} is not UTF-8");
}

/// The lines of the tracer are its own: each starts as one of them does.
fn assert_lines(ran: &Ran) {
    assert_plain(&ran.stderr, "stderr");
    for line in ran.stderr.lines() {
        let starts = [
            "killed ",
            "logged ",
            "missed ",
            "ready: ",
            "profile ",
            "monitor: ",
            "sandbox: ",
            "  ",
            " ",
            "─",
            "═",
            "… ",
            "warning: ",
            "notice: ",
        ];
        assert!(
            starts.iter().any(|s| line.starts_with(s)) || line.is_empty(),
            "a line of nobody's: {line:?}"
        );
    }
}

fn run(place: &Place, mode: &str) -> Ran {
    let session = place.ordinary(mode).arg("--force");
    let ran = session.run(php(&[
        "-d",
        "display_errors=0",
        "-d",
        "log_errors=0",
        &place.arg("bad_names.php"),
        &place.arg("data"),
    ]));
    assert_eq!(ran.status, if mode == "--sandbox" { 137 } else { 0 }, "{}{}", ran.stdout, ran.stderr);
    ran
}

/// Every event is one line of plain JSON.
fn assert_events(place: &Place, least: usize) -> Vec<Value> {
    let bytes = fs::read(place.path("events.jsonl")).expect("events");
    let text = String::from_utf8(bytes).expect("events are UTF-8");
    assert_plain(&text, "the event file");
    let events: Vec<Value> =
        text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect();
    assert!(events.len() >= least, "only {} events", events.len());
    assert!(events.iter().all(|e| e["v"] == 1 && e["kind"].is_string()));
    events
}

fn any_mode() {
    let place = Place::with("bad_names.php");
    let nothing = Place::new();
    fs::write(nothing.path("nothing.php"), "<?php\n").expect("write");
    nothing.learn(&[&nothing.arg("nothing.php")]);

    assert_lines(&run(&place, "--profile"));
    assert_events(&place, 20);
    for args in [&["show", "p.profile"][..], &["export", "p.profile"]] {
        let output = place.tool(args);
        assert!(output.status.success(), "{args:?}");
        assert_plain(std::str::from_utf8(&output.stdout).expect("UTF-8"), args[0]);
    }
    // What was learnt reads back the same.
    let json = place.tool(&["export", "p.profile"]).stdout;
    fs::write(place.path("p.json"), &json).expect("write");
    assert!(place.tool(&["import", "p.json", "-o", "again.profile"]).status.success());
    assert_eq!(place.tool(&["export", "again.profile"]).stdout, json);

    fs::copy(nothing.path("p.profile"), place.path("p.profile")).expect("copy");
    let ran = run(&place, "--monitor");
    assert_lines(&ran);
    let events = assert_events(&place, 80);
    let paths: BTreeSet<&str> = events.iter().filter_map(|e| e["args"]["path"].as_str()).collect();
    for shown in [
        "/none/new\nline",
        "/none/\u{1b}[31mred\u{1b}[0m",
        "/none/quote\"back\\slash",
        "/none/\\xff\\xfe\\xfd",
    ] {
        assert!(paths.iter().any(|p| p.ends_with(shown)), "{shown:?} is not among {paths:#?}");
    }
    // A quote does not end the path for whoever reads the line.
    assert!(ran.stderr.contains(r#"/none/quote\"back\slash")"#), "{}", ran.stderr);
    let allowed = place.tool(&["allow", "p.profile", "--from", "events.jsonl"]);
    assert!(allowed.status.success(), "{}", String::from_utf8_lossy(&allowed.stderr));
    assert_plain(std::str::from_utf8(&allowed.stdout).expect("UTF-8"), "allow");
    assert_plain(std::str::from_utf8(&allowed.stderr).expect("UTF-8"), "allow");

    fs::copy(nothing.path("p.profile"), place.path("p.profile")).expect("copy");
    assert_lines(&run(&place, "--sandbox"));
    assert_events(&place, 1);
}

/// On a terminal there are colours and a live line, and still nothing of the target's.
fn terminal() {
    let place = Place::with("bad_names.php");
    fs::write(place.path("nothing.php"), "<?php\n").expect("write");
    place.learn(&[&place.arg("nothing.php")]);
    let line = format!(
        "{} --monitor --profile-file {} --user nobody -- \
         /usr/bin/php -d display_errors=0 -d log_errors=0 {} {}",
        e2e::session::tracer().display(),
        place.arg("p.profile"),
        place.arg("bad_names.php"),
        place.arg("data")
    );
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::null())
        .env("TERM", "xterm")
        .output()
        .expect("script(1) of bsdutils");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("violations"), "{text}");
    // Our own colours are short and end where they began.
    let ours = ["\u{1b}[33m", "\u{1b}[31m", "\u{1b}[1;31m", "\u{1b}[0m", "\u{1b}[K", "\u{1b}[2K", "\r"];
    let rest = ours.iter().fold(text, |text, own| text.replace(own, ""));
    assert_plain(&rest, "the terminal");
}

fn over_the_cap() {
    let place = Place::new();
    let long = "n".repeat(300);
    let script = format!(
        "<?php\nfunction {long}() {{ @unlink('/nowhere'); }}\n{long}();\n\
         function ok() {{ @unlink('/nowhere'); }}\nok();\n"
    );
    fs::write(place.path("a.php"), script).expect("write");
    let learnt = place.learn(&[&place.arg("a.php")]);
    assert!(learnt.stderr.contains("name-too-long"), "{}", learnt.stderr);
    let profile = place.profile();
    assert_eq!(profile["learned"]["unknown"]["name-too-long"], 1, "{}", profile["learned"]);
    let ran = place.ordinary("--monitor").run(php(&[&place.arg("a.php")]));
    let violations = ran.violations();
    assert_eq!(violations.len(), 1, "{violations:#?}");
    assert_eq!(violations[0]["reason"], "unknown-site");
    assert_eq!(violations[0]["grant"], Value::Null);
}
