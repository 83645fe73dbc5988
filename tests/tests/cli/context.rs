//! `--context known-files`: code of files that the profile does not know has no granted function do its work.
//! `--context N`: nobody has it who was not seen to call it.

use std::fs;
use std::process::Command;

use e2e::session::{Ran, decides_in_kernel};
use e2e::suite::test;
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::place::{PHP, Place, USER, VICTIMS, assert_clean, php, source};

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("context_code_of_a_foreign_file_is_stopped", foreign),
        test("context_of_honest_code_is_known_however_it_is_called", honest),
        test("context_of_evaluated_code_is_known_by_a_pattern_only", evaluated),
        test("context_below_the_limit_of_a_walk_is_unknown", deep),
        test("context_is_that_of_a_child_too", children),
        test("context_is_known_in_another_release", released),
        test("context_is_amended_by_reviewed_events", reviewed),
        test("context_that_was_not_learnt_is_refused", not_learnt),
        test("context_is_part_of_what_is_swapped_in", swapped),
        test("context_of_callers_decides_as_far_as_it_goes", callers),
        test("context_of_callers_is_amended_by_reviewed_events", callers_reviewed),
        test("context_of_callers_is_theirs_in_another_release", callers_released),
    ]
}

const KNOWN: [&str; 2] = ["--context", "known-files"];
const FILES: [&str; 6] = ["callers.php", "index.php", "lib.php", "magic.php", "shapes.php", "foreign.php"];

/// The application in `folder`, and nothing learnt.
fn place_in(folder: &str) -> Place {
    let place = Place::new();
    deploy(&place, folder);
    place
}

fn deploy(place: &Place, folder: &str) {
    fs::create_dir_all(place.path(folder)).expect("make a folder");
    for name in FILES {
        fs::copy(source(&format!("victims/context/{name}")), place.path(&format!("{folder}/{name}")))
            .expect("copy a victim");
    }
}

/// One run of the application in `app`.
fn run(place: &Place, mode: &str, options: &[&str], what: &[&str]) -> Ran {
    run_in(place, "app", mode, options, what)
}

fn run_in(place: &Place, app: &str, mode: &str, options: &[&str], what: &[&str]) -> Ran {
    run_script(place, &format!("{app}/index.php"), mode, options, what)
}

fn run_script(place: &Place, script: &str, mode: &str, options: &[&str], what: &[&str]) -> Ran {
    let session = place.ordinary(mode).args(options.iter().copied());
    let (script, folder) = (place.arg(script), place.arg("data/v"));
    let mut args = vec![script.as_str(), what[0], &folder];
    args.extend(&what[1..]);
    session.run(php(&args))
}

/// Everything honest, with its context.
fn learnt() -> Place {
    let place = place_in("app");
    learn(&place, &[]);
    place
}

fn learn(place: &Place, options: &[&str]) {
    let shapes = shapes(place);
    place.victims(shapes);
    let ran = run(place, "--profile", &[&KNOWN[..], options].concat(), &["all", "1"]);
    assert!(ran.stdout.contains("survived") && place.left() == 0, "{}{}", ran.stdout, ran.stderr);
}

/// How many ways there are.
fn shapes(place: &Place) -> usize {
    let output =
        Command::new(PHP).args([&place.arg("app/index.php"), "count", "", "0"]).output().expect("run PHP");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("not a number: {text}"))
}

/// At most so many calls get through as the strategy lets one process have.
fn assert_stopped(place: &Place, ran: &Ran, of: usize) {
    assert!(!ran.stdout.contains("survived"), "{}{}", ran.stdout, ran.stderr);
    let least = if decides_in_kernel() { of - 1 } else { of / 2 };
    assert!(place.left() >= least, "only {} of {of} are left: {}", place.left(), ran.stderr);
}

fn first(ran: &Ran) -> &Value {
    ran.violations().first().copied().unwrap_or_else(|| panic!("no violation: {}{}", ran.stdout, ran.stderr))
}

fn foreign() {
    let place = learnt();
    let file = place.arg("app/foreign.php");
    let attack = ["include", &VICTIMS.to_string(), &file];
    // Each of its calls is a granted one.
    place.victims(VICTIMS);
    let without = run(&place, "--sandbox", &[], &attack);
    assert_clean(&without);
    assert_eq!((without.status, place.left()), (0, 0), "{}", without.stderr);
    assert!(
        without.stderr.contains("notice: the profile was learnt with --context known-files"),
        "{}",
        without.stderr
    );

    place.victims(VICTIMS);
    let ran = run(&place, "--sandbox", &KNOWN, &attack);
    assert_stopped(&place, &ran, VICTIMS);
    assert!(ran.violations().iter().all(|event| event["reason"] == "unknown-context"), "{}", ran.stderr);
    let told = first(&ran);
    assert_eq!(
        (&told["operation"], &told["site"]["function"]),
        (&json!("unlink"), &json!("purge")),
        "{told:#}"
    );
    assert_eq!(told["unknown_file"], file.as_str(), "{told:#}");
    assert_eq!(told["cause"], format!("on its chain: {file}"), "{told:#}");
    assert_eq!(told["grant"], Value::Null, "{told:#}");
    assert_eq!(told["chain"][1]["file"], file.as_str(), "{told:#}");
    assert!(ran.stderr.contains(&format!("(unknown-context: on its chain: {file}) pid ")), "{}", ran.stderr);

    // Monitor lets it go on, and every call is told.
    place.victims(20);
    let ran = run(&place, "--monitor", &KNOWN, &["include", "20", &file]);
    let told = ran.violations();
    assert_eq!((told.len(), place.left()), (20, 0), "{}", ran.stderr);
    assert!(told.iter().all(|event| event["reason"] == "unknown-context" && event["effect"] == "yes"));
}

fn honest() {
    let place = learnt();
    let profile = place.profile();
    assert_eq!(profile["context"], "known-files");
    let files: Vec<&str> =
        profile["files"].as_array().expect("files").iter().filter_map(Value::as_str).collect();
    let known = ["app/index.php", "app/magic.php", "app/shapes.php"].map(|name| place.arg(name));
    assert_eq!(files, known.each_ref().map(String::as_str));
    // On chains only: no site is there, and it is a script of the profile all the same.
    let shapes_php = Value::from(place.arg("app/shapes.php"));
    let grants = profile["grants"].as_array().expect("grants");
    assert!(grants.iter().all(|grant| grant["sites"][0]["file"] != shapes_php), "{profile:#}");
    let scripts = profile["scripts"].as_array().expect("scripts");
    assert!(scripts.iter().any(|script| script["file"] == shapes_php), "{profile:#}");

    for mode in ["--monitor", "--sandbox"] {
        place.victims(shapes(&place));
        let ran = run(&place, mode, &KNOWN, &["all", "1"]);
        assert_clean(&ran);
        assert_eq!((ran.status, place.left()), (0, 0), "{mode}: {}{}", ran.stdout, ran.stderr);
    }
    // Many calls of one site, from different chains in turn.
    place.victims(200);
    assert_clean(&run(&place, "--sandbox", &KNOWN, &["generator", "200"]));
    assert_eq!(place.left(), 0);
}

fn evaluated() {
    let place = learnt();
    place.victims(600);
    let ran = run(&place, "--sandbox", &KNOWN, &["eval", "600"]);
    assert_stopped(&place, &ran, 600);
    let told = first(&ran);
    let cause = told["cause"].as_str().unwrap_or_default();
    assert!(told["reason"] == "unknown-context" && cause.contains("eval()'d code"), "{told:#}");
    assert!(told["unknown_file"].is_null(), "nothing could list it: {told:#}");

    let mut profile = place.profile();
    let pattern = format!("{} : eval()'d code", place.arg("app/index.php"));
    profile["generated"] = json!([{"pattern": pattern, "operations": []}]);
    fs::write(place.path("p.profile"), profile.to_string()).expect("write a profile");
    place.victims(50);
    let ran = run(&place, "--sandbox", &KNOWN, &["eval", "50"]);
    assert_clean(&ran);
    assert_eq!((ran.status, place.left()), (0, 0), "{}", ran.stderr);
}

/// Of a chain that goes on nobody can say that all of it is known.
fn deep() {
    let place = learnt();
    for (frames, clean) in [("110", true), ("200", false)] {
        place.victims(1);
        let ran = run(&place, "--monitor", &KNOWN, &["deep", frames]);
        if clean {
            assert_clean(&ran);
            continue;
        }
        let told = first(&ran);
        assert_eq!(
            (&told["reason"], &told["cause"]),
            (&json!("unknown-context"), &json!("on its chain: stack-too-deep"))
        );
        assert!(ran.stderr.contains("chains of which not every file could be told: "), "{}", ran.stderr);
    }
    place.victims(1);
    assert_clean(&run(&place, "--sandbox", &[], &["deep", "200"]));
}

/// A program is started by a call, and that call has a context; what was recorded of it goes on as ever.
fn children() {
    let place = Place::new();
    fs::write(place.path("run.php"), "<?php\nfunction start($f) { return shell_exec(\"echo x > $f\"); }\n")
        .expect("write");
    let main = "<?php\nrequire __DIR__ . '/run.php';\nif (isset($argv[2])) { include $argv[2]; } else { start($argv[1]); }\n";
    fs::write(place.path("main.php"), main).expect("write");
    let foreign = place.file("foreign.php", "<?php\nstart($argv[1]);\n").display().to_string();
    let (script, out) = (place.arg("main.php"), place.arg("data/out"));
    let sandboxed = |mode: &str, options: &[&str], args: &[&str]| {
        let _ = fs::remove_file(&out);
        let session = place.ordinary(mode).args(options.iter().copied());
        session.run(php(&[&[script.as_str(), &out], args].concat()))
    };
    let ran = sandboxed("--profile", &KNOWN, &[]);
    assert!(fs::exists(&out).expect("exists"), "{}", ran.stderr);
    let ran = sandboxed("--sandbox", &KNOWN, &[]);
    assert_clean(&ran);
    assert!(fs::exists(&out).expect("exists"), "{}", ran.stderr);
    assert_clean(&sandboxed("--sandbox", &[], &[&foreign]));
    assert!(fs::exists(&out).expect("exists"), "without the setting it goes through");
    let ran = sandboxed("--sandbox", &KNOWN, &[&foreign]);
    assert!(!fs::exists(&out).expect("exists"), "{}", ran.stderr);
    assert!(ran.violations().iter().any(|event| event["reason"] == "unknown-context"), "{}", ran.stderr);
}

/// Files below a root are known wherever the root is; those that nobody has seen are not.
fn released() {
    let place = place_in("app");
    fs::rename(place.path("app"), place.path("r1")).expect("rename");
    std::os::unix::fs::symlink(place.path("r1"), place.path("app")).expect("link");
    let root = format!("app={}/r*", place.root().display());
    learn(&place, &["--root", &root]);
    let files = place.profile()["files"].to_string();
    assert!(files.contains("app:shapes.php") && !files.contains("/r1/"), "{files}");
    deploy(&place, "r2");
    let attack = place.arg("r2/foreign.php");
    place.victims(50);
    let ran = run_in(&place, "r2", "--sandbox", &KNOWN, &["below 60", "50"]);
    assert_clean(&ran);
    assert_eq!((ran.status, place.left()), (0, 0), "{}", ran.stderr);
    place.victims(600);
    let ran = run_in(&place, "r2", "--sandbox", &KNOWN, &["include", "600", &attack]);
    assert_stopped(&place, &ran, 600);
    assert_eq!(first(&ran)["unknown_file"], "app:foreign.php", "{}", ran.stderr);
}

/// What turns out to be honest is listed.
fn reviewed() {
    let place = learnt();
    let file = place.arg("app/foreign.php");
    place.victims(3);
    run(&place, "--monitor", &KNOWN, &["include", "3", &file]);
    let output = place.tool(&["allow", "--from", "events.jsonl", "p.profile"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, format!("listed the file {file}\n"), "{}", String::from_utf8_lossy(&output.stderr));
    place.victims(3);
    let ran = run(&place, "--sandbox", &KNOWN, &["include", "3", &file]);
    assert_clean(&ran);
    assert_eq!((ran.status, place.left()), (0, 0), "{}", ran.stderr);
}

fn not_learnt() {
    let place = place_in("app");
    place.victims(1);
    let ran = run(&place, "--profile", &[], &["plain", "1"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(place.profile()["context"].is_null() && place.profile()["files"].is_null());
    let refused = |mode: &str, options: &[&str], what: &str, hint: &str| {
        let ran = run(&place, mode, options, &["plain", "0"]);
        assert_eq!(ran.status, 125, "{options:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(what) && ran.stderr.contains("Hint: "), "{options:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(hint), "{options:?}: {}", ran.stderr);
        assert!(!ran.stdout.contains("survived"), "COMMAND was run");
    };
    for mode in ["--sandbox", "--monitor"] {
        refused(
            mode,
            &KNOWN,
            "learnt with --context nearest",
            "learn again: --profile --context known-files",
        );
    }
    refused(
        "--profile",
        &["--merge", "--context", "known-files"],
        "learnt with --context nearest",
        "leave --context out",
    );
    for text in ["0", "9", "all"] {
        refused("--profile", &["--force", "--context", text], "neither nearest nor known-files", "--help");
    }
    refused("--sandbox", &["--context", "2"], "learnt with --context nearest", "--profile --context 2");
    assert_clean(&run(&place, "--sandbox", &["--context", "nearest"], &["plain", "0"]));

    // Another run adds to what there is, in the way in which that was learnt.
    learn(&place, &["--force"]);
    place.victims(1);
    let merged = run(&place, "--profile", &["--merge"], &["plain", "1"]);
    assert_eq!(merged.status, 0, "{}", merged.stderr);
    assert_eq!(place.profile()["context"], "known-files");
    refused(
        "--profile",
        &["--merge", "--context", "nearest"],
        "learnt with --context known-files",
        "leave --context out",
    );
    let usdt = ["--context", "known-files", "--attribution", "usdt"];
    let session = place.ordinary("--sandbox").args(usdt);
    let ran = session.run(["env", "USE_ZEND_DTRACE=1", PHP, "-r", "1;"]);
    assert_eq!(ran.status, 125, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("--attribution usdt does not") && ran.stderr.contains("Hint: "),
        "{}",
        ran.stderr
    );
}

/// A profile that says less does not replace one, and files that were taken out are foreign at once.
fn swapped() {
    let place = learnt();
    let with = place.profile();
    let replace =
        |profile: &Value| fs::write(place.path("p.profile"), profile.to_string()).expect("write a profile");
    // The machine's PHP is run by other tests, too, and this session would see them.
    let php = place.own_php();
    let options = ["--php", &php, "--context", "known-files"];
    let mut session = place.session("--monitor").args(options).start();
    let purge = || {
        place.victims(1);
        let args = [place.arg("app/index.php"), "below 60".into(), place.arg("data/v"), "1".into()];
        let status = Command::new("setpriv")
            .stdout(std::process::Stdio::null())
            .args([&format!("--reuid={USER}"), "--clear-groups", "--", &php])
            .args(args)
            .status();
        assert!(status.expect("run PHP").success());
    };
    purge();
    let mut less = with.clone();
    less["context"] = "nearest".into();
    replace(&less);
    session.signal(Signal::SIGHUP);
    session.wait_for("the profile stays as it was: the profile was learnt with --context nearest");
    purge();
    let mut fewer = with.clone();
    fewer["files"].as_array_mut().expect("files").retain(|file| !file.to_string().contains("shapes.php"));
    replace(&fewer);
    session.signal(Signal::SIGHUP);
    session.wait_for("loaded again");
    purge();
    session.wait_for("unknown-context");
    replace(&with);
    session.signal(Signal::SIGHUP);
    session.wait_for("loaded again");
    purge();
    let ran = session.stop();
    let told = ran.violations();
    assert!(told.iter().all(|event| event["reason"] == "unknown-context"), "{}", ran.stderr);
    assert!(told.iter().all(|event| event["unknown_file"] == place.arg("app/shapes.php")), "{}", ran.stderr);
    assert_eq!(told.iter().filter(|event| event["operation"] == "unlink").count(), 1, "{}", ran.stderr);
}

/// One run of what one function deletes, called by several.
fn purge(place: &Place, mode: &str, context: &str, who: &str, count: usize) -> Ran {
    place.victims(count);
    run_script(place, "app/callers.php", mode, &["--context", context], &[who, &count.to_string()])
}

/// Learnt of honest callers, as many frames as are looked at.
fn callers_learnt(frames: &str) -> Place {
    let place = place_in("app");
    let ran = purge(&place, "--profile", frames, "nightly", 3);
    assert!(ran.stdout.contains("survived") && place.left() == 0, "{}{}", ran.stdout, ran.stderr);
    place
}

fn callers() {
    let place = callers_learnt("3");
    let profile = place.profile();
    assert_eq!(profile["context"], "3");
    let names = |list: &Value| -> Vec<String> {
        let sites = list.as_array().expect("sites").iter();
        sites.map(|site| site["function"].as_str().unwrap_or("{main}").to_owned()).collect()
    };
    let of_unlink: Vec<_> = profile["grants"]
        .as_array()
        .expect("grants")
        .iter()
        .filter(|grant| grant["operation"] == "unlink")
        .map(|grant| names(&grant["sites"]))
        .collect();
    assert_eq!(of_unlink, [["purge", "rotate", "nightly"]]);
    // Nobody may change who is trusted to call.
    let scripts = profile["scripts"].to_string();
    assert!(scripts.contains("app/lib.php") && scripts.contains("app/callers.php"), "{scripts}");

    let passes = |context: &str, who: &str| {
        let ran = purge(&place, "--sandbox", context, who, 20);
        assert_clean(&ran);
        assert_eq!((ran.status, place.left()), (0, 0), "{context} {who}: {}{}", ran.stdout, ran.stderr);
    };
    for context in ["nearest", "2", "3"] {
        passes(context, "nightly");
    }
    // What is below the third frame is not looked at, neither how far down the chain goes.
    for who in ["generator", "fiber", "deep"] {
        passes("3", who);
    }
    passes("nearest", "debug");
    passes("nearest", "main");
    passes("2", "weekly");

    for (context, who, by) in [
        ("2", "debug", vec!["debug() in "]),
        ("2", "main", vec!["{main} in "]),
        ("3", "debug", vec!["debug() in ", "{main} in "]),
        ("3", "main", vec!["{main} in "]),
        ("3", "weekly", vec!["rotate() in ", "weekly() in "]),
    ] {
        let ran = purge(&place, "--sandbox", context, who, 600);
        assert_stopped(&place, &ran, 600);
        let told = first(&ran);
        assert_eq!(
            (&told["reason"], &told["operation"], &told["site"]["function"]),
            (&json!("unknown-context"), &json!("unlink"), &json!("purge")),
            "{context} {who}: {told:#}"
        );
        let file = place.arg("app/callers.php");
        let by: Vec<String> = by.iter().map(|who| format!("{who}{file}")).collect();
        let cause = format!("called by {}", by.join(" < "));
        assert_eq!(told["cause"], cause, "{told:#}");
        assert!(ran.stderr.contains(&format!("(unknown-context: {cause}) pid ")), "{}", ran.stderr);
        assert_eq!(told["grant"]["sites"].as_array().map(Vec::len), Some(by.len() + 1), "{told:#}");
    }
    let refused = purge(&place, "--sandbox", "4", "nightly", 1);
    assert_eq!(refused.status, 125, "{}", refused.stderr);
    let refused = purge(&place, "--sandbox", "known-files", "nightly", 1);
    assert_eq!(refused.status, 125, "{}", refused.stderr);
}

/// What turns out to be honest is granted as it was called, and to nobody else.
fn callers_reviewed() {
    let place = callers_learnt("2");
    let ran = purge(&place, "--monitor", "2", "debug", 3);
    assert_eq!((ran.violations().len(), place.left()), (3, 0), "{}", ran.stderr);
    let output = place.tool(&["allow", "--from", "events.jsonl", "p.profile"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(" < debug() in "), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let ran = purge(&place, "--sandbox", "2", "debug", 50);
    assert_clean(&ran);
    assert_eq!((ran.status, place.left()), (0, 0), "{}", ran.stderr);
    let ran = purge(&place, "--sandbox", "2", "main", 600);
    assert_stopped(&place, &ran, 600);
}

fn callers_released() {
    let place = place_in("app");
    fs::rename(place.path("app"), place.path("r1")).expect("rename");
    let root = format!("app={}/r*", place.root().display());
    let in_release = |release: &str, mode: &str, options: &[&str], who: &str| {
        place.victims(600);
        let options = [&["--context", "3"], options].concat();
        run_script(&place, &format!("{release}/callers.php"), mode, &options, &[who, "600"])
    };
    let ran = in_release("r1", "--profile", &["--root", &root], "nightly");
    assert!(ran.stdout.contains("survived"), "{}{}", ran.stdout, ran.stderr);
    let stored = place.profile()["grants"].to_string();
    assert!(stored.contains("app:callers.php") && !stored.contains("/r1/callers.php"), "{stored}");
    deploy(&place, "r2");
    let ran = in_release("r2", "--sandbox", &[], "nightly");
    assert_clean(&ran);
    assert_eq!((ran.status, place.left()), (0, 0), "{}", ran.stderr);
    let ran = in_release("r2", "--sandbox", &[], "weekly");
    assert_stopped(&place, &ran, 600);
    assert_eq!(first(&ran)["reason"], "unknown-context", "{}", ran.stderr);
}
