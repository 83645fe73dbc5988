//! What is learnt is whole, and enough: the same run, another release folder, a plugin that was reviewed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use e2e::session::Ran;
use e2e::suite::test;
use libtest_mimic::Trial;
use serde_json::Value;

use super::place::{Place, assert_clean, finished, php, spawn_tracer};

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("all_shapes_learnt_are_no_violation_ten_of_ten", shapes),
        test("of_3000_functions_the_1000_that_make_calls_are_in_the_profile", thousand_functions),
        test("flat_out_for_20_s_nothing_is_lost_and_memory_is_flat", flat_out),
        test("code_that_gets_hot_in_the_sandbox_is_no_violation", hot_code),
        test("merge_adds_and_counts", merge),
        test("a_profile_counts_what_was_only_counted", counts),
        test("another_release_folder_is_no_violation", releases),
        test("a_folder_does_not_become_a_release_or_hold_one", no_release),
        test("the_same_script_elsewhere_is_a_violation", elsewhere),
        test("names_in_shared_memory_that_a_child_has_not_touched_are_read", untouched),
        test("scripts_that_have_changed_since_they_were_learnt_are_told", drift),
        test("a_plugin_that_was_reviewed_is_no_violation", plugin),
        test("monitor_lets_everything_go_and_tells_it", monitor),
        test("violations_that_come_faster_than_they_can_be_told_are_counted", too_many),
        test("a_violation_after_allowed_calls_of_its_pair_is_told_in_full", after_allowed),
        test("overwriting_or_renaming_over_a_profiled_script_is_a_violation", protected_object),
    ]
}

fn shapes() {
    let place = Place::with("shapes.php");
    let args = [&place.arg("shapes.php")[..], &place.arg("data")];
    place.learn(&args);
    for _ in 0..10 {
        let ran = place.sandbox(&args);
        assert_clean(&ran);
        assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains("through a shell"), "{}", ran.stdout);
    }
    let left: Vec<_> = fs::read_dir(place.path("data")).expect("read").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Functions that a profile grants `operation`, of one file.
fn functions(profile: &Value, file: &str, operation: &str) -> BTreeSet<String> {
    let grants = profile["grants"].as_array().expect("grants");
    let of = |grant: &Value| {
        let site = &grant["sites"][0];
        (grant["operation"] == operation && site["file"] == file)
            .then(|| site["function"].as_str().map(ToOwned::to_owned))?
    };
    grants.iter().filter_map(of).collect()
}

fn thousand_functions() {
    let place = Place::new();
    let mut text = String::from("<?php\n");
    for n in 0..3000 {
        let body = if n % 3 == 0 { "@unlink('/nowhere/at/all');" } else { "strlen('nothing');" };
        let _ = writeln!(text, "function f{n}() {{ {body} }}");
    }
    text.push_str("for ($n = 0; $n < 3000; $n++) { ('f' . $n)(); }\n");
    fs::write(place.path("many.php"), text).expect("write");
    place.learn(&[&place.arg("many.php")]);
    let profile = place.profile();
    let expected: BTreeSet<String> = (0..3000).step_by(3).map(|n| format!("f{n}")).collect();
    let learnt = functions(&profile, &place.arg("many.php"), "unlink");
    assert_eq!(learnt, expected);
    assert_eq!(profile["complete"], true, "{}", profile["learned"]);
}

/// Resident bytes of a process.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status of the tracer");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

fn flat_out() {
    let place = Place::with("many.php");
    let known = known_grants(&place);
    let tracer = flat_out_session(&place, "p.profile", "20");
    let start = Instant::now();
    let told = || fs::read_to_string(place.path("events.jsonl")).unwrap_or_default().lines().count();
    while told() < known.len() {
        assert!(start.elapsed() < Duration::from_secs(60), "{} of {} grants were seen", told(), known.len());
        std::thread::sleep(Duration::from_millis(100));
    }
    let warm = resident(tracer.id());
    std::thread::sleep(Duration::from_secs(9));
    let late = resident(tracer.id());
    let ran = finished(&tracer.wait_with_output().expect("wait for the tracer"));
    assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(late < warm + (4 << 20), "from {warm} to {late} bytes resident in 9 s");

    let profile = place.profile();
    assert_eq!(grants(&profile), known, "not the known set");
    assert_eq!(profile["complete"], true);
    assert_eq!(profile["learned"]["lost"], 0, "{}", profile["learned"]);
    let events = told();
    let count = profile["grants"].as_array().map_or(0, Vec::len);
    assert!(events <= 2 * count, "{events} events for {count} grants");
    let seen = profile["learned"]["events"].as_u64().expect("events");
    assert!(seen > 10_000, "only {seen} calls were seen");
}

fn flat_out_session(place: &Place, profile: &str, seconds: &str) -> Child {
    let (script, data) = (place.arg("many.php"), place.arg("data"));
    let args = ["--profile", "--user", "nobody", "--profile-file", profile, "--events", "events.jsonl", "--"];
    spawn_tracer(place.root(), &[&args[..], &["/usr/bin/php", &script, seconds, &data]].concat())
}

/// What a short run of it has.
fn known_grants(place: &Place) -> BTreeSet<String> {
    let short = Place::with("many.php");
    let ran = finished(&flat_out_session(&short, "p.profile", "1").wait_with_output().expect("wait"));
    assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    let here = place.root().display().to_string();
    let there = short.root().display().to_string();
    grants(&short.profile()).iter().map(|grant| grant.replace(&there, &here)).collect()
}

/// Whom a profile grants what, without the counts and samples.
fn grants(profile: &Value) -> BTreeSet<String> {
    let of = |grant: &Value| {
        let mut grant = grant.clone();
        let map = grant.as_object_mut().expect("an object");
        for name in ["seen", "samples", "sinks"] {
            map.remove(name);
        }
        grant.to_string()
    };
    profile["grants"].as_array().expect("grants").iter().map(of).collect()
}

/// A script that calls one of its functions so often: `some.php WHICH TIMES`.
fn some(place: &Place) -> String {
    let text = "<?php\nfunction one() { @unlink('/nowhere/1'); }\nfunction two() { @unlink('/nowhere/2'); }\n\
                for ($n = 0; $n < $argv[2]; $n++) { $argv[1](); }\n";
    fs::write(place.path("some.php"), text).expect("write");
    place.arg("some.php")
}

fn seen(profile: &Value, function: &str) -> u64 {
    let grants = profile["grants"].as_array().expect("grants");
    let found = grants.iter().find(|g| g["sites"][0]["function"] == function && g["operation"] == "unlink");
    found.unwrap_or_else(|| panic!("no grant for {function}: {profile:#}"))["seen"].as_u64().expect("a count")
}

/// The JIT compiles what was cold while learning; what it compiles of a stranger's code is a violation.
fn hot_code() {
    const JIT: [&str; 8] = [
        "-d",
        "opcache.enable_cli=1",
        "-d",
        "opcache.jit=tracing",
        "-d",
        "opcache.jit_buffer_size=16M",
        "-d",
        "opcache.file_update_protection=0",
    ];
    let place = Place::new();
    let sum = "function NAME(int $n): int { $s = 0; while ($n--) { $s += $n * 3 % 7; } return $s; }";
    let text = format!(
        "<?php {} echo sum($argv[1]); if (isset($argv[2])) {{ include $argv[2]; }}",
        sum.replace("NAME", "sum")
    );
    place.file("hot.php", text);
    place.file("data/upload.php", format!("<?php {} other(50000);", sum.replace("NAME", "other")));
    let (script, upload) = (place.arg("hot.php"), place.arg("data/upload.php"));
    place.learn(&[&JIT[..], &[&script, "10"]].concat());
    assert_clean(&place.sandbox(&[&JIT[..], &[&script, "50000"]].concat()));
    let ran = place.ordinary("--monitor").run(php(&[&JIT[..], &[&script, "10", &upload]].concat()));
    let is_told = |e: &Value| e["operation"] == "mprotect:exec" && e["site"]["function"] == "other";
    assert!(ran.violations().iter().any(|e| is_told(e)), "{:#?}", ran.violations());
}

fn merge() {
    let place = Place::new();
    let script = some(&place);
    place.learn(&[&script, "one", "10"]);
    place.learn_more(&[&script, "two", "3"]);
    place.learn_more(&[&script, "one", "5"]);
    let profile = place.profile();
    assert_eq!((seen(&profile, "one"), seen(&profile, "two")), (15, 3));
    assert_eq!(profile["learned"]["runs"], 3);
    for function in ["one", "two"] {
        assert_clean(&place.sandbox(&[&script, function, "2"]));
    }
}

fn counts() {
    let place = Place::new();
    let script = some(&place);
    place.learn(&[&script, "one", "12345"]);
    assert_eq!(seen(&place.profile(), "one"), 12345);
}

/// A release of a small application.
fn release(place: &Place, name: &str) -> String {
    let folder = place.path(&format!("releases/{name}"));
    fs::create_dir_all(folder.join("src")).expect("make a release");
    let main = r#"<?php
require __DIR__ . '/src/lib.php';
(new Lib)->work($argv[1]);
(function ($dir) { touch("$dir/z"); unlink("$dir/z"); })($argv[1]);
echo shell_exec('echo done');
"#;
    let lib = r#"<?php
class Lib { function work($dir) { file_put_contents("$dir/x", 'x'); unlink("$dir/x"); } }
"#;
    fs::write(folder.join("main.php"), main).expect("write");
    fs::write(folder.join("src/lib.php"), lib).expect("write");
    folder.join("main.php").display().to_string()
}

fn releases() {
    let place = Place::new();
    let (first, second) = (release(&place, "20260101"), release(&place, "20260202"));
    let root = format!("app={}", place.arg("releases/*"));
    let data = place.arg("data");
    let learnt = place.ordinary("--profile").arg("--root").arg(&root).run(php(&[&first, &data]));
    assert_eq!(learnt.status, 0, "{}", learnt.stderr);
    for _ in 0..3 {
        let ran = place.sandbox(&[&second, &data]);
        assert_clean(&ran);
        assert_eq!((ran.status, ran.stdout.trim()), (0, "done"), "{}", ran.stderr);
    }
    let profile = place.profile();
    let sites =
        profile["grants"].as_array().expect("grants").iter().filter_map(|g| g["sites"].as_array()).flatten();
    let files: BTreeSet<&str> = sites.filter_map(|s| s["file"].as_str()).collect();
    assert_eq!(files.into_iter().collect::<Vec<_>>(), ["app:main.php", "app:src/lib.php"]);
}

/// Code that is put where a release would be has its name and its grants.
fn no_release() {
    for pattern in ["releases/*", "releases/*/public"] {
        let place = Place::new();
        place.folder("releases");
        let inside = pattern.replacen('*', "1", 1);
        fs::create_dir_all(place.path(&inside)).expect("make a release");
        let script = place.arg(&format!("{inside}/main.php"));
        let code = "<?php\nfunction put($from, $to) { return rename($from, $to); }\n\
                    mkdir($argv[1] . '/made');\nvar_dump(put($argv[1] . '/made', $argv[2]));\n\
                    usleep(500000);\necho 'went on';\n";
        fs::write(&script, code).expect("write");
        let (root, data) = (format!("app={}", place.arg(pattern)), place.arg("data"));
        let to = |name: &str| [&script[..], &data, &place.arg(name)].map(str::to_owned);
        let run = |args: [String; 3]| php(&args.each_ref().map(String::as_str));
        let learnt = place.ordinary("--profile").arg("--root").arg(&root).run(run(to("data/a")));
        assert!(learnt.stdout.contains("went on"), "{}{}", learnt.stdout, learnt.stderr);
        let ran = place.ordinary("--sandbox").run(run(to("data/b")));
        assert_clean(&ran);
        assert!(ran.stdout.contains("true") && place.path("data/b").exists(), "{}{}", ran.stdout, ran.stderr);
        let ran = place.ordinary("--sandbox").run(run(to("releases/2")));
        assert_eq!(ran.status, 137, "{pattern}: {}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.violations()[0]["reason"], "protected-object", "{pattern}");
        assert!(!ran.stdout.contains("went on"), "{pattern}");
    }
}

fn elsewhere() {
    let place = Place::new();
    let (first, second) = (release(&place, "20260101"), release(&place, "20260202"));
    place.learn(&[&first, &place.arg("data")]);
    let ran = place.sandbox(&[&second, &place.arg("data")]);
    assert_eq!(ran.status, 137, "{}", ran.stderr);
    assert_eq!(ran.violations()[0]["reason"], "site-not-in-profile");
}

/// The file's name is behind the code, far from what a child runs of it.
fn untouched() {
    let place = Place::new();
    let far = "    $a = strlen($argv[0]);\n".repeat(5000);
    let call =
        "if (pcntl_fork() === 0) { posix_kill(posix_getpid(), SIGKILL); }\npcntl_wait($s);\n".repeat(10);
    fs::write(place.path("main.php"), format!("<?php\n{call}if ($argc > 5) {{\n{far}}}\n")).expect("write");
    let script = place.arg("main.php");
    let args = ["-d", "opcache.enable_cli=1", "-d", "opcache.file_update_protection=0", &script];
    let learnt = place.learn(&args);
    assert!(!learnt.stderr.contains("unreadable"), "{}", learnt.stderr);
    let ran = place.sandbox(&args);
    assert_clean(&ran);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
}

fn drift() {
    let place = Place::new();
    let (first, second) = (release(&place, "20260101"), release(&place, "20260202"));
    let (root, data) = (format!("app={}", place.arg("releases/*")), place.arg("data"));
    let learnt = place.ordinary("--profile").arg("--root").arg(&root).run(php(&[&first, &data]));
    assert_eq!(learnt.status, 0, "{}", learnt.stderr);
    let told = |ran: &Ran| -> Vec<String> {
        let notices = ran.events.iter().filter(|event| event["kind"] == "notice");
        let path = |event: &Value| {
            assert_eq!(event["cause"], "script-changed", "{event}");
            event["args"]["path"].as_str().expect("a path").to_owned()
        };
        notices.map(path).collect()
    };
    let same = place.sandbox(&[&second, &data]);
    assert_eq!(told(&same), Vec::<String>::new());
    assert!(!same.stderr.contains("have changed"), "{}", same.stderr);
    let changed = place.arg("releases/20260202/src/lib.php");
    let code = fs::read_to_string(&changed).expect("read a script");
    fs::write(&changed, code + "// another version\n").expect("change a script");
    let other = place.sandbox(&[&second, &data]);
    // Told, and no more: whoever deploys a release changes scripts.
    assert_clean(&other);
    assert_eq!(other.status, 0, "{}", other.stderr);
    assert_eq!(told(&other), [&changed[..]]);
    let line =
        format!("1 file(s) of the profile's 2 scripts have changed since they were learnt: {changed};");
    assert!(other.stderr.contains(&line), "{}", other.stderr);
}

fn plugin() {
    let place = Place::with("plugins.php");
    fs::create_dir(place.path("plugins")).expect("make a folder");
    let plugin = |name: &str, body: &str| {
        fs::write(place.path(&format!("plugins/{name}.php")), format!("<?php\n{body}\n")).expect("write");
    };
    plugin("a", "touch(\"$dir/a\"); unlink(\"$dir/a\");");
    let (script, data) = (place.arg("plugins.php"), place.arg("data"));
    place.learn(&[&script, &data]);
    plugin("b", "touch(\"$dir/b\"); rename(\"$dir/b\", \"$dir/c\"); unlink(\"$dir/c\"); echo `echo hello`;");
    let unreviewed = place.sandbox(&[&script, &data]);
    assert_eq!(unreviewed.status, 137, "let through before anyone reviewed it: {}", unreviewed.stderr);
    // What it did before the signal landed.
    for name in ["b", "c"] {
        let _ = fs::remove_file(place.path("data").join(name));
    }
    let monitored = place.ordinary("--monitor").run(php(&[&script, &data]));
    assert_eq!((monitored.status, monitored.stdout.trim()), (0, "hello"), "{}", monitored.stderr);
    assert!(!monitored.violations().is_empty());
    let allowed = place.tool(&["allow", &place.arg("p.profile"), "--from", &place.arg("events.jsonl")]);
    assert!(allowed.status.success(), "{}", String::from_utf8_lossy(&allowed.stderr));
    for _ in 0..3 {
        let ran = place.sandbox(&[&script, &data]);
        assert_clean(&ran);
        assert_eq!((ran.status, ran.stdout.trim()), (0, "hello"), "{}", ran.stderr);
    }
}

fn too_many() {
    const CALLS: u64 = 100_000;
    let place = Place::new();
    let script = some(&place);
    place.learn(&[&script, "one", "1"]);
    let ran = place.ordinary("--monitor").run(php(&[&script, "two", &CALLS.to_string()]));
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let lost = |cause: &str| -> u64 {
        let of = ran.events.iter().filter(|e| e["kind"] == "lost" && e["cause"] == cause);
        of.filter_map(|e| e["count"].as_u64()).sum()
    };
    let (told, counted) = (ran.violations().len() as u64, lost("more violations at once than can be told"));
    assert!(counted > 0, "all were told: {}", ran.stderr);
    assert!(ran.stderr.contains(&format!("monitor: {} violations", told + counted)), "{}", ran.stderr);
    assert!(told + counted <= CALLS, "{told} told, {counted} counted");
    let unheard = lost("the ring buffer was full");
    assert!(
        told + counted + unheard >= CALLS,
        "{told} told, {counted} counted, {unheard} lost: {}",
        ran.stderr
    );
}

fn monitor() {
    let place = Place::new();
    let script = some(&place);
    place.learn(&[&script, "one", "1"]);
    let ran = place.ordinary("--monitor").run(php(&[&script, "two", "1000"]));
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let violations = ran.violations();
    assert_eq!(violations.len(), 1000);
    for event in violations {
        assert_eq!(
            (event["action"].as_str(), event["effect"].as_str()),
            (Some("logged"), Some("no")),
            "{event:#}"
        );
        assert_eq!(event["reason"], "site-not-in-profile", "{event:#}");
    }
    assert!(ran.stderr.contains("1000 violations, 0 let through"), "{}", ran.stderr);
    // The lines are few, whatever the count.
    assert!(ran.stderr.lines().count() < 30, "{}", ran.stderr);
}

/// What a site that may create files does to `$argv[2]`, in the way `$argv[1]`.
const WRITER: &str = r#"<?php
function put(string $to): void { file_put_contents($to, "<?php\n"); }
function move(string $from, string $to): void { @rename($from, $to); }
function hard(string $from, string $to): void { @link($from, $to); }
[, $how, $to, $dir] = $argv;
// Often enough that the signal lands before the end.
for ($n = 0; $n < 1000; $n++) {
    touch("$dir/new");
    match ($how) {
        'put' => put($to),
        'move' => move("$dir/new", $to),
        'link' => hard($to, "$dir/other"),
    };
}
echo "survived\n";
"#;

fn protected_object() {
    for how in ["put", "move", "link"] {
        let place = Place::new();
        fs::write(place.path("writer.php"), WRITER).expect("write");
        // Writable for whom PHP runs as: only the tracer keeps it.
        place.folder("app");
        let target = place.file("app/target.php", "<?php\nfunction f() { @unlink('/nowhere'); }\nf();\n");
        let (writer, data) = (place.arg("writer.php"), place.arg("data"));
        place.learn(&[&writer, how, &place.arg("data/free"), &data]);
        place.learn_more(&[&target.display().to_string()]);
        for name in ["free", "other"] {
            let _ = fs::remove_file(place.path("data").join(name));
        }
        if how == "link" {
            place.file("data/free", "x");
        }
        let twin = place.sandbox(&[&writer, how, &place.arg("data/free"), &data]);
        assert_clean(&twin);
        assert!(twin.stdout.contains("survived"), "{how}: {}", twin.stderr);
        let _ = fs::remove_file(place.path("data/other"));
        let ran = place.sandbox(&[&writer, how, &target.display().to_string(), &data]);
        let violations = ran.violations();
        assert!(!violations.is_empty(), "{how}: no violation: {}", ran.stderr);
        assert_eq!(violations[0]["reason"], "protected-object", "{how}: {:#}", violations[0]);
        assert_eq!(violations[0]["action"], "killed", "{how}: {:#}", violations[0]);
        assert_eq!(ran.status, 137, "{how}: {}{}", ran.stdout, ran.stderr);
    }
}

/// The kernel side spares calls of a pair that is known to be allowed their chain and return, and must not spare
/// one that is not allowed. The pauses are for the tracer to mark the pair.
fn after_allowed() {
    let place = Place::with("put.php");
    place.folder("app");
    let target = place
        .file("app/target.php", "<?php\nfunction f() { @unlink('/nowhere'); }\nf();\n")
        .display()
        .to_string();
    let free = place.arg("data/free");
    let script = place.arg("put.php");
    place.learn(&[&script, &free]);
    place.learn_more(&[&target]);
    let ran = place.ordinary("--monitor").run(php(&[&script, &free, &free, &target, &free]));
    let violations = ran.violations();
    assert_eq!(violations.len(), 1, "{}", ran.stderr);
    assert_eq!(violations[0]["reason"], "protected-object", "{:#}", violations[0]);
    assert_eq!(violations[0]["args"]["path"], target, "{:#}", violations[0]);
    assert_eq!(violations[0]["effect"], "yes", "{:#}", violations[0]);
    assert_eq!(violations[0]["chain"].as_array().map(Vec::len), Some(2), "{:#}", violations[0]);
}
