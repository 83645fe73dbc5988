//! Code from stream wrappers: what the profile lists has names and grants of its own, all else is tainted.

use std::process::Command;

use e2e::suite::test;
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::place::{Place, VICTIMS, assert_clean, php, php_images, source};

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("wrapper_that_is_listed_has_grants_of_its_own", honest),
        test("wrapper_that_is_listed_excuses_no_forgery", forged),
        test("wrapper_that_is_not_listed_is_tainted_and_nothing_is_learnt_of_it", not_listed),
        test("wrapper_of_phps_own_is_never_listed", never_listed),
        test("taint_is_told_once_with_its_cause_names_and_chain", told),
        test("main_script_has_the_name_of_the_file_that_was_opened", main_script),
        test("code_that_is_converted_before_it_is_compiled_is_tainted", converted),
        test("code_that_is_compiled_within_other_code_or_in_fibers_is_not_tainted", honest_compilations),
        test("code_that_is_converted_from_within_is_tainted", converted_from_within),
        test("wrapper_is_listed_or_not_by_the_profile_of_the_moment", reloaded),
    ]
}

/// Attacks whose code says that it is `plain.php`, or is from elsewhere.
const FORGED: [&str; 10] = [
    "forged",
    "forged-once",
    "searched",
    "forged-other",
    "forged-nested",
    "forged-broken",
    "filtered",
    "spelt",
    "unlisted",
    "file",
];

/// Does nothing but what a wrapper may do on its way.
const HONEST: [&str; 4] = ["own", "own-searched", "evaluating", "missing"];

/// Without a profile.
fn place() -> Place {
    let place = Place::new();
    for name in ["memory.php", "plain.php", "helper.php"] {
        std::fs::copy(source(&format!("victims/wrappers/{name}")), place.path(name)).expect("copy a victim");
    }
    place
}

fn run(place: &Place, mode: &str, options: &[&str], shape: &str) -> e2e::session::Ran {
    let script = place.arg("memory.php");
    let session = place.ordinary(mode).args(options.iter().copied());
    session.run(php(&[&script, shape, &place.arg("data")]))
}

/// Learns shapes, each with two files to be deleted.
fn learn(place: &Place, shapes: &[&str], wrappers: &[&str]) {
    for (index, shape) in shapes.iter().enumerate() {
        place.victims(2);
        let how: &[&str] = if index == 0 { &["--force"] } else { &["--merge"] };
        let ran = run(place, "--profile", &[how, wrappers].concat(), shape);
        assert!(ran.stdout.contains("survived"), "{shape}: {}{}", ran.stdout, ran.stderr);
    }
    place.victims(VICTIMS);
}

/// With all that is honest learnt, and `mem` listed, too.
fn learnt() -> Place {
    let place = place();
    let shapes = [&["plain", "honest", "named"][..], &HONEST].concat();
    learn(&place, &shapes, &["--wrapper", "vfs", "--wrapper", "mem"]);
    place
}

fn reasons(violations: &[&Value]) -> Vec<String> {
    violations.iter().map(|event| event["reason"].as_str().unwrap_or_default().to_owned()).collect()
}

fn honest() {
    let place = learnt();
    let profile = place.profile();
    assert_eq!(profile["wrappers"], serde_json::json!(["mem", "vfs"]));
    let files = |operation: &str| -> Vec<String> {
        let grants = profile["grants"].as_array().expect("grants").iter();
        let of = grants.filter(|grant| grant["operation"] == operation);
        of.map(|grant| grant["sites"][0]["file"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let mut unlinks = files("unlink");
    unlinks.sort();
    let [helper, plain] = ["helper.php", "plain.php"].map(|name| place.arg(name));
    assert_eq!(
        unlinks,
        [&helper, &plain, "vfs://root/eval.php", "vfs://root/own.php", "vfs://root/purge.php"]
    );
    for shape in HONEST {
        let ran = run(&place, "--sandbox", &[], shape);
        assert_clean(&ran);
        assert!(ran.stdout.contains("survived"), "{shape}: {}{}", ran.stdout, ran.stderr);
    }
    assert_eq!(place.left(), VICTIMS);
    for shape in ["honest", "named", "plain"] {
        place.victims(3);
        let ran = run(&place, "--sandbox", &[], shape);
        assert_clean(&ran);
        assert_eq!((ran.status, place.left()), (0, 0), "{shape}: {}{}", ran.stdout, ran.stderr);
    }
}

/// No attack gets far, and the reason is told.
fn forged() {
    let place = learnt();
    for shape in FORGED {
        place.victims(VICTIMS);
        let ran = run(&place, "--sandbox", &[], shape);
        let told = reasons(&ran.violations());
        assert!(!told.is_empty(), "{shape}: no violation: {}{}", ran.stdout, ran.stderr);
        assert!(told.iter().all(|reason| reason == "tainted-identity"), "{shape}: {told:?}");
        assert!(place.left() > VICTIMS / 2, "{shape}: only {} of {VICTIMS} are left", place.left());
        assert!(!ran.stdout.contains("survived"), "{shape}: {}", ran.stdout);
    }
}

/// With `zend.multibyte` a request says in which encoding the next file is.
fn converted() {
    let place = Place::new();
    let (main, settings) = (place.arg("main.php"), place.path("settings.php"));
    place.file(
        "main.php",
        "<?php if (isset($argv[1])) ini_set('zend.script_encoding', $argv[1]); include 'settings.php';",
    );
    // Read as HTML it deletes all, where it is one string.
    let code = "<?php $v = glob(__DIR__ . '/data/v/*'); unlink($v[0]); return '&#39;.implode(array_map(`unlink`, $v)).&#39;';";
    std::fs::write(settings, code.replace('`', "\"")).expect("write a script");
    let extension = mbstring(&place);
    let run = |mode: &str, encoding: &[&str]| {
        place.victims(VICTIMS);
        let command = ["-d", &extension, "-d", "zend.multibyte=1", &main];
        place.ordinary(mode).run(php(&[&command[..], encoding].concat()))
    };
    assert_eq!(run("--profile", &[]).status, 0);
    // Of PHP's own encoding nothing is converted.
    for honest in [&[][..], &["UTF-8"]] {
        assert_clean(&run("--sandbox", honest));
        assert_eq!(place.left(), VICTIMS - 1);
    }
    let ran = run("--sandbox", &["HTML-ENTITIES"]);
    let reasons = reasons(&ran.violations());
    assert!(reasons.first().is_some_and(|first| first == "tainted-identity"), "{}", ran.stderr);
    assert!(ran.stderr.contains("tainted the pool: code-converted-from-another-encoding"), "{}", ran.stderr);
    assert!(place.left() > 0, "all are gone: {}", ran.stderr);
}

/// A handler of deprecations that are told amid a compilation needs a file of its own; fibers include files in turn.
fn honest_compilations() {
    let place = Place::new();
    place.file("old.php", "<?php function old($a = 1, $b) {} unlink(array_pop($victims));");
    place.file("handler.php", "<?php unlink(array_pop($victims));");
    place.file("included.php", "<?php unlink(array_pop($victims));");
    place.file(
        "main.php",
        r"<?php $victims = glob(__DIR__ . '/data/v/*');
        set_error_handler(function () use (&$victims) { include 'handler.php'; return true; });
        include 'old.php';
        restore_error_handler();
        $include = function () use (&$victims) { include 'included.php'; Fiber::suspend(); include 'included.php'; };
        $fibers = [new Fiber($include), new Fiber($include)];
        foreach ($fibers as $fiber) $fiber->start();
        foreach ($fibers as $fiber) $fiber->resume();
        include 'included.php';",
    );
    for mode in ["--profile", "--sandbox"] {
        place.victims(VICTIMS);
        let ran = place.ordinary(mode).run(php(&[&place.arg("main.php")]));
        if mode == "--sandbox" {
            assert_clean(&ran);
        }
        assert_eq!(place.left(), VICTIMS - 7, "{}{}", ran.stdout, ran.stderr);
    }
}

/// Code may say itself what it is encoded in; what PHP's own encoding does not have is then whatever the request has set.
fn converted_from_within() {
    let place = Place::new();
    let main = place.arg("main.php");
    place.file(
        "main.php",
        "<?php if (isset($argv[1])) { ini_set('internal_encoding', 'ASCII'); mb_substitute_character(0x27); }
        include 'settings.php';",
    );
    let code = "<?php declare(encoding='UTF-8'); $v = glob(__DIR__ . '/data/v/*'); unlink($v[0]);
        return '\u{416}.implode(array_map(`unlink`, $v)).\u{416}';";
    std::fs::write(place.path("settings.php"), code.replace('`', "\"")).expect("write a script");
    let extension = mbstring(&place);
    let run = |mode: &str, multibyte: &str, attack: &[&str]| {
        place.victims(VICTIMS);
        let command = ["-d", &extension, "-d", multibyte, &main];
        place.ordinary(mode).run(php(&[&command[..], attack].concat()))
    };
    // Without that setting what it says has no effect.
    assert_eq!(run("--profile", "zend.multibyte=0", &[]).status, 0);
    assert_clean(&run("--sandbox", "zend.multibyte=0", &[]));
    assert_eq!(place.left(), VICTIMS - 1);
    let ran = run("--monitor", "zend.multibyte=1", &["attack"]);
    assert_eq!(place.left(), 0, "it does not work: {}{}", ran.stdout, ran.stderr);
    let ran = run("--sandbox", "zend.multibyte=1", &["attack"]);
    let reasons = reasons(&ran.violations());
    assert!(reasons.first().is_some_and(|first| first == "tainted-identity"), "{}", ran.stderr);
    assert!(ran.stderr.contains("tainted the pool: code-converted-from-another-encoding"), "{}", ran.stderr);
    assert!(place.left() > 0, "all are gone: {}", ran.stderr);
}

/// PHP's setting that loads it.
fn mbstring(place: &Place) -> String {
    let library = php_images().join("bookworm/usr/lib/php/20220829/mbstring.so");
    std::fs::copy(library, place.path("mbstring.so")).expect("mbstring is not there: run tests/php/fetch");
    format!("extension={}", place.arg("mbstring.so"))
}

/// Between a path is opened and its meaning found out, who may change that has time.
fn main_script() {
    let place = Place::new();
    let (job, other, library) =
        (place.arg("job.php"), place.arg("other.php"), place.library("wrappers/instead.c"));
    let delete = "<?php foreach (glob(__DIR__ . '/data/v/*') as $file) unlink($file);";
    std::fs::write(&job, delete).expect("write a script");
    std::fs::write(&other, delete).expect("write a script");
    std::os::unix::fs::symlink(&job, place.path("link.php")).expect("make a link");
    let run = |mode: &str, script: &str, instead: &str| {
        place.victims(if mode == "--profile" { 2 } else { VICTIMS });
        let preload = format!("LD_PRELOAD={library}");
        let command = ["env", &preload, instead, "/usr/bin/php", script];
        place.ordinary(mode).arg("--force").run(command)
    };
    assert_eq!(run("--profile", &job, "UNUSED=").status, 0);
    for script in [&job, &place.arg("link.php")] {
        let ran = run("--sandbox", script, "UNUSED=");
        assert_clean(&ran);
        assert_eq!(place.left(), 0, "{script}: {}", ran.stderr);
    }
    let ran = run("--sandbox", &job, &format!("INSTEAD={other}"));
    assert_eq!(
        reasons(&ran.violations()).first().map(String::as_str),
        Some("tainted-identity"),
        "{}",
        ran.stderr
    );
    assert!(place.left() > VICTIMS / 2, "only {} of {VICTIMS} are left", place.left());
    // By its own name it is what it is.
    let ran = run("--sandbox", &other, "UNUSED=");
    assert_eq!(
        reasons(&ran.violations()).first().map(String::as_str),
        Some("site-not-in-profile"),
        "{}",
        ran.stderr
    );
}

fn not_listed() {
    let place = place();
    learn(&place, &["plain", "honest"], &[]);
    let profile = place.profile();
    assert!(profile["wrappers"].is_null(), "{profile:#}");
    assert!(profile["learned"]["unknown"].to_string().contains("tainted-identity"), "{profile:#}");
    assert!(!profile["grants"].to_string().contains("vfs://"), "{profile:#}");
    for shape in ["honest", "forged"] {
        place.victims(VICTIMS);
        let ran = run(&place, "--sandbox", &[], shape);
        assert!(reasons(&ran.violations()).contains(&"tainted-identity".into()), "{shape}: {}", ran.stderr);
        assert!(place.left() > VICTIMS / 2, "{shape}: only {} of {VICTIMS} are left", place.left());
    }
}

/// What made it, who, and what was tainted; and that the same happens without a word where nothing is wrong.
fn told() {
    let place = learnt();
    let [memory, plain] = ["memory.php", "plain.php"].map(|name| place.arg(name));
    for (shape, cause, scope, path, path2) in [
        ("filtered", "code-from-a-stream", "request", "php://filter/", None),
        ("spelt", "code-from-a-stream", "request", "VFS://root/purge.php", None),
        ("forged", "code-with-the-name-of-another-file", "request", "vfs://root/purge.php", Some(&plain)),
        ("file", "wrapper-of-files-taken-away", "pool", "file", None),
        ("searched", "code-from-a-stream-where-a-file-was-asked-for", "pool", "purge.php", Some(&plain)),
    ] {
        place.victims(1);
        let ran = run(&place, "--monitor", &[], shape);
        let taints: Vec<_> = ran.events.iter().filter(|event| event["kind"] == "taint").collect();
        let [taint] = taints[..] else { panic!("{shape}: {} taints: {taints:#?}", taints.len()) };
        assert_eq!((&taint["cause"], &taint["scope"]), (&cause.into(), &scope.into()), "{shape}: {taint:#}");
        let asked = taint["args"]["path"].as_str().unwrap_or_default();
        assert!(asked.starts_with(path), "{shape}: {taint:#}");
        assert_eq!(taint["args"]["path2"].as_str(), path2.map(String::as_str), "{shape}: {taint:#}");
        assert_eq!(taint["chain"][0]["file"], memory.as_str(), "{shape}: {taint:#}");
        assert_eq!((&taint["script"], &taint["count"]), (&memory.as_str().into(), &1.into()), "{taint:#}");
        // Before the first call that it makes a violation.
        let first = |kind: &str| ran.events.iter().position(|event| event["kind"] == kind);
        assert!(first("taint") < first("violation"), "{shape}: {}", ran.stderr);
        assert!(ran.stderr.contains(&format!("tainted the {scope}: {cause} ")), "{shape}: {}", ran.stderr);
        assert!(ran.stderr.contains("requests that became tainted: 1"), "{shape}: {}", ran.stderr);
        assert_eq!(ran.stderr.contains("pools that became tainted: 1"), scope == "pool", "{}", ran.stderr);
    }
    for shape in ["own", "honest", "plain"] {
        place.victims(1);
        let ran = run(&place, "--monitor", &[], shape);
        assert!(ran.events.iter().all(|event| event["kind"] != "taint"), "{shape}: {:#?}", ran.events);
        assert!(!ran.stderr.contains("tainted"), "{shape}: {}", ran.stderr);
    }
}

/// Neither by an option nor by a profile that was made by hand.
fn never_listed() {
    let place = place();
    for scheme in ["file", "php", "data", "phar", "FILE", "vfs://", "*", "../x"] {
        let ran = run(&place, "--profile", &["--wrapper", scheme], "plain");
        assert_eq!(ran.status, 125, "{scheme}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("--wrapper: ") && ran.stderr.contains("Hint: name a wrapper"),
            "{}",
            ran.stderr
        );
        assert!(!place.path("p.profile").exists(), "{scheme}: a profile was written");
    }
    learn(&place, &["plain"], &[]);
    let refused = run(&place, "--sandbox", &["--wrapper", "vfs"], "plain");
    assert_eq!(refused.status, 125, "{}", refused.stderr);
    assert!(refused.stderr.contains("--wrapper is for --profile"), "{}", refused.stderr);
    assert!(refused.stderr.contains("Hint: learn it"), "{}", refused.stderr);

    let json = serde_json::to_string(&place.profile()).expect("JSON");
    for scheme in ["file", "php", "data", "phar", "glob", "compress.zlib", "VFS"] {
        let listed = json.replacen('{', &format!("{{\"wrappers\": [\"{scheme}\"], "), 1);
        let file = place.path("p.profile");
        std::fs::write(&file, listed).expect("write a profile");
        let ran = run(&place, "--sandbox", &[], "plain");
        assert_eq!(ran.status, 125, "{scheme}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("wrappers[0]") && ran.stderr.contains("Hint: correct it"),
            "{}",
            ran.stderr
        );
    }
}

/// By hand, and taken away again while the session runs.
fn reloaded() {
    let place = learnt();
    let mut profile = place.profile();
    let import = |profile: &Value| {
        std::fs::write(place.path("p.json"), profile.to_string()).expect("write JSON");
        place.tool(&["import", "p.json", "-o", "p.profile", "--force"])
    };
    profile["wrappers"] = serde_json::json!(["mem"]);
    let said = String::from_utf8_lossy(&import(&profile).stderr).into_owned();
    assert!(said.contains("of one of `wrappers`"), "grants are left over: {said}");
    profile["grants"].as_array_mut().expect("grants").retain(|grant| !grant.to_string().contains("vfs://"));
    let with = std::fs::read(place.path("p.profile")).expect("read the profile");

    let mut session = place.session("--monitor").arg("--php").arg(place.own_php()).start();
    let honest = || {
        place.victims(1);
        let mut run = Command::new(place.path("php"));
        run.args([&place.arg("memory.php"), "honest", &place.arg("data")]);
        assert!(run.status().expect("run PHP").success());
    };
    honest();
    assert!(import(&profile).status.success());
    session.signal(Signal::SIGHUP);
    session.wait_for("loaded again");
    honest();
    session.wait_for("tainted-identity");
    std::fs::write(place.path("p.profile"), with).expect("write the profile");
    session.signal(Signal::SIGHUP);
    session.wait_for("loaded again");
    honest();
    let ran = session.stop();
    let violations = ran.violations();
    assert!(reasons(&violations).iter().all(|reason| reason == "tainted-identity"), "{}", ran.stderr);
    let unlinks = violations.iter().filter(|event| event["operation"] == "unlink").count();
    assert_eq!(unlinks, 1, "of the run in the middle: {}", ran.stderr);
}
