//! The reproduction: attribution by USDT probes, with class and file, of any depth; drift is told.

use std::process::Command;

use e2e::session::tracer;
use e2e::suite::test;
use libtest_mimic::Trial;
use serde_json::Value;

use super::place::{Place, VICTIMS, assert_clean};

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("usdt_learns_and_sandboxes_by_class_and_file", learns_and_sandboxes),
        test("usdt_drift_is_unknown_and_counted", drift),
        test("usdt_says_that_the_profile_was_learnt_otherwise", learnt_otherwise),
    ]
}

/// A session by USDT: what the tracer said, and its events.
fn run(place: &Place, mode: &str, last: &[&str]) -> (String, Vec<Value>) {
    let events = place.path("events.jsonl");
    let _ = std::fs::remove_file(&events);
    let output = Command::new(tracer())
        .args([mode, "--attribution", "usdt", "--user", "nobody", "--profile-file", &place.arg("p.profile")])
        .args(["--events", &place.arg("events.jsonl"), "--", "/usr/bin/php", &place.arg("usdt.php")])
        .arg(place.arg("data"))
        .args(last)
        .env("USE_ZEND_DTRACE", "1")
        .output()
        .expect("run the tracer");
    let lines = std::fs::read_to_string(events).unwrap_or_default();
    let events = lines.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    (String::from_utf8_lossy(&output.stderr).into_owned(), events)
}

fn learnt() -> Place {
    let place = Place::with("usdt.php");
    let (said, events) = run(&place, "--profile", &[]);
    let site = |event: &&Value| event["site"]["class"] == "Store" && event["site"]["function"] == "deep";
    let deep = events.iter().find(site).unwrap_or_else(|| panic!("no Store::deep: {said}"));
    assert_eq!(deep["site"]["file"], place.arg("usdt.php"), "{deep:#}");
    assert!(said.contains("; 0 not granted"), "{said}");
    place
}

fn learns_and_sandboxes() {
    let place = learnt();
    let (said, events) = run(&place, "--sandbox", &[]);
    assert!(!events.iter().any(|e| e["kind"] == "violation"), "{said}");
    place.victims(VICTIMS);
    let (said, events) = run(&place, "--sandbox", &["harm"]);
    assert!(place.left() > VICTIMS / 2, "{said}");
    let first = events.iter().find(|e| e["kind"] == "violation").expect("a violation");
    assert_eq!(first["site"]["class"], "Store", "{first:#}");
    assert_eq!(first["site"]["function"], "evil", "{first:#}");
    assert_eq!(first["action"], "killed", "{first:#}");
}

fn drift() {
    let place = learnt();
    // The probes do not see that a fiber is left and entered again.
    let (said, events) = run(&place, "--monitor", &["fiber"]);
    assert!(said.contains("usdt: returns that matched no entry"), "{said}");
    let unknown = |e: &&Value| e["reason"] == "unknown-site" && e["cause"] == "shadow-stack-drift";
    assert!(events.iter().any(|e| unknown(&e)), "{said}");
}

fn learnt_otherwise() {
    const NOTICE: &str = "notice: the profile was learnt with --attribution usdt";
    let place = learnt();
    assert!(!run(&place, "--sandbox", &[]).0.contains(NOTICE));
    let ran = place.sandbox(&[&place.arg("usdt.php"), &place.arg("data")]);
    assert_clean(&ran);
    assert!(ran.stderr.contains(NOTICE), "{}", ran.stderr);
}
