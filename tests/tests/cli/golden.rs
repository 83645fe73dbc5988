//! Chains at every call of the golden scripts, on PHP 8.2 and 8.4, with and without the JIT.

use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::session::Session;
use e2e::suite::test;
use libtest_mimic::Trial;
use serde_json::Value;

use super::place::{Place, assert_clean, php, php_images, source};

const CALLS: [&str; 4] = ["unlink", "rename", "clone3", "execve"];

/// All of them.
pub fn tests() -> Vec<Trial> {
    let mut tests = Vec::new();
    for script in ["call_shapes", "lifecycle"] {
        for version in ["82", "84"] {
            for jit in [false, true] {
                let name = format!(
                    "golden_chains_of_{script}_on_{version}_{}",
                    if jit { "jit" } else { "interpreted" }
                );
                tests.push(test(&name, move || compare(script, version, jit)));
            }
        }
        tests.push(test(&format!("{script}_learnt_is_no_violation_ten_of_ten"), move || ten_of_ten(script)));
    }
    tests
}

/// A frame as the golden text and an event both tell it.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Frame {
    kind: String,
    class: Option<String>,
    function: Option<String>,
    file: Option<String>,
    line: Option<u64>,
}

/// A call: operation, path, frames from the innermost.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    name: String,
    path: String,
    frames: Vec<Frame>,
}

fn compare(script: &str, version: &str, jit: bool) {
    let place = cases();
    let folder = place.path("php-cases");
    let expected = golden(&folder, &format!("{script}.php{version}.txt"));
    assert!(expected.len() > 30, "{} golden calls", expected.len());
    let mut command = interpreter(version);
    if jit {
        command.extend(jit_flags(version).iter().map(ToString::to_string));
    }
    fs::write(place.path("nothing.php"), "<?php\n").expect("write a script");
    let with = |last: &str| command.iter().cloned().chain([place.arg(last)]).collect::<Vec<_>>();
    let learnt = session(&place, "--profile", version).run(with("nothing.php"));
    assert_eq!(learnt.status, 0, "{}", learnt.stderr);
    let ran = session(&place, "--monitor", version).run(with(&format!("php-cases/{script}.php")));
    assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    // Told as they return: a vfork returns after its child's exec.
    let mut violations = ran.violations();
    violations.sort_by_key(|e| e["ts"].as_str());
    let seen: Vec<Call> = violations.into_iter().filter_map(|e| call(e, &folder)).collect();
    for (n, (seen, expected)) in seen.iter().zip(&expected).enumerate() {
        assert_eq!(seen, expected, "call {n}");
    }
    assert_eq!(seen.len(), expected.len(), "calls seen");
}

fn ten_of_ten(script: &str) {
    let place = cases();
    let path = place.arg(&format!("php-cases/{script}.php"));
    place.learn(&[&path]);
    grant_generated(&place, &path);
    for _ in 0..10 {
        let ran = place.sandbox(&[&path]);
        assert_clean(&ran);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
    }
}

/// Code from eval is never learnt: it is granted by a pattern that a person writes.
fn grant_generated(place: &Place, path: &str) {
    let mut profile = place.profile();
    let pattern = |evals: usize| format!("{path}{}", " : eval()'d code".repeat(evals));
    let patterns =
        [1, 2].map(|evals| serde_json::json!({"pattern": pattern(evals), "operations": ["unlink"]}));
    profile["generated"] = patterns.to_vec().into();
    let json = place.file("p.json", profile.to_string());
    let done = place.tool(&["import", &json.display().to_string(), "-o", &place.arg("p.profile"), "--force"]);
    assert!(done.status.success(), "import: {}", String::from_utf8_lossy(&done.stderr));
}

/// The scripts in a folder of the test's own: nothing of theirs is there to be deleted.
fn cases() -> Place {
    let place = Place::new();
    let copied = Command::new("cp")
        .arg("-r")
        .arg(source("data/php-cases"))
        .arg(place.path("php-cases"))
        .status()
        .expect("cp");
    assert!(copied.success());
    assert!(!Path::new("/nx").exists(), "the golden scripts delete below /nx, which must not exist");
    place
}

/// 8.4 runs in a root of its own, which takes root.
fn session(place: &Place, mode: &str, version: &str) -> Session {
    if version == "82" {
        return place.ordinary(mode);
    }
    let image = php_images().join("trixie/usr/bin/php8.4");
    place.session(mode).arg("--php").arg(image.display().to_string())
}

fn interpreter(version: &str) -> Vec<String> {
    if version == "82" {
        return php(&[]);
    }
    let path = php_images().join("bin/php8.4");
    assert!(path.exists(), "PHP 8.4 is not there: run tests/php/fetch as root");
    vec![path.display().to_string()]
}

fn jit_flags(version: &str) -> &'static [&'static str] {
    const LOADED: [&str; 6] =
        ["-d", "opcache.enable_cli=1", "-d", "opcache.jit=tracing", "-d", "opcache.jit_buffer_size=64M"];
    const TO_LOAD: [&str; 8] = [
        "-d",
        "zend_extension=opcache",
        "-d",
        "opcache.enable_cli=1",
        "-d",
        "opcache.jit=tracing",
        "-d",
        "opcache.jit_buffer_size=64M",
    ];
    if version == "82" { &LOADED } else { &TO_LOAD }
}

// ---- the golden texts ----

fn golden(folder: &Path, name: &str) -> Vec<Call> {
    let text = fs::read_to_string(folder.join(name)).expect("golden text");
    let mut calls: Vec<Call> = Vec::new();
    for line in text.lines() {
        if let Some(call) = golden_call(line) {
            calls.push(call);
        } else if let (Some(frame), Some(call)) = (golden_frame(line, folder), calls.last_mut()) {
            call.frames.push(frame);
        }
    }
    calls
}

/// `unlink("/nx/a") depth 4 rc 0`; what the script printed may stand before it.
fn golden_call(line: &str) -> Option<Call> {
    let (before, rest) = line.split_once("(\"")?;
    let (path, rest) = rest.split_once("\")")?;
    rest.starts_with(" depth ").then_some(())?;
    let name = CALLS.into_iter().find(|name| before.ends_with(name))?;
    Some(Call { name: name.into(), path: path.into(), frames: Vec::new() })
}

/// `   #1 Class::function  user file.php:3`; `None` for frames that events leave out.
fn golden_frame(line: &str, folder: &Path) -> Option<Frame> {
    let (name, place) = line.strip_prefix("   #")?.split_once(' ')?.1.split_once("  ")?;
    let (class, function) = match name.rsplit_once("::").filter(|_| !name.contains('{')) {
        Some((class, function)) => (Some(class), function),
        None => (None, name),
    };
    let is_main = name.ends_with("{main/include/eval}");
    if place == "INTERNAL" {
        return (!is_main).then(|| internal(class, function));
    }
    let (file, line) =
        place.strip_prefix("user ").or_else(|| place.strip_prefix("EVAL "))?.rsplit_once(':')?;
    let is_closure = name.contains("{closure");
    let kind = if is_main {
        "main"
    } else if is_closure {
        "closure"
    } else {
        "function"
    };
    let class = class.map(|c| c.split("\\x00").next().unwrap_or(c).to_owned());
    Some(Frame {
        kind: kind.into(),
        class: class.filter(|_| kind == "function"),
        function: (kind == "function").then(|| function.into()),
        file: Some(folder.join(file).display().to_string()),
        line: line.parse().ok(),
    })
}

/// A trampoline's name is whatever the caller chose: it is not told.
fn internal(class: Option<&str>, function: &str) -> Frame {
    let forged = function.starts_with("forged_name");
    Frame {
        kind: if forged { "unknown" } else { "internal" }.into(),
        class: class.filter(|_| !forged).map(Into::into),
        function: (!forged).then(|| function.into()),
        file: None,
        line: None,
    }
}

// ---- events ----

fn call(event: &Value, folder: &Path) -> Option<Call> {
    let operation = event["operation"].as_str()?.split(':').next()?;
    let name = CALLS.into_iter().find(|name| *name == operation)?;
    if event["site"].is_null() {
        return None; // another program's
    }
    let given = if name == "execve" { &event["args"]["program"] } else { &event["args"]["path"] };
    let path = given.as_str().or_else(|| event["args"]["path"].as_str()).unwrap_or_default();
    let frames: Vec<Frame> = event["frames"].as_array()?.iter().map(frame).collect();
    assert!(
        frames.iter().all(|f| f.file.as_ref().is_none_or(|f| Path::new(f).starts_with(folder))),
        "{event}"
    );
    Some(Call { name: name.into(), path: path.into(), frames })
}

fn frame(frame: &Value) -> Frame {
    let text = |field: &str| frame[field].as_str().map(ToOwned::to_owned);
    Frame {
        kind: text("kind").unwrap_or_default(),
        class: text("class"),
        function: text("function"),
        file: text("file"),
        line: frame["line"].as_u64(),
    }
}
