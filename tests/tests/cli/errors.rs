//! Errors: what failed, what to do, the documented status, and nothing left half-written.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use e2e::session::{Ran, tracer};
use e2e::suite::test;
use libtest_mimic::Trial;
use serde_json::Value;

use super::place::{PHP, Place, finished, php, php_images, run_tracer};

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("error_no_arguments_is_no_usage_error_and_no_mode_is", no_mode),
        test("error_no_such_php", || bad_php("nothing-there", None, "no such file")),
        test("error_not_an_elf", || bad_php("script", Some(b"#!/bin/sh\necho no\n"), "not an ELF")),
        test("error_an_elf_that_is_no_php", an_elf_that_is_no_php),
        test("error_unknown_abi", unknown_abi),
        test("error_no_root", no_root),
        test("error_bad_profiles", bad_profiles),
        test("error_profile_that_is_not_there", missing_profile),
        test("error_profile_of_the_other_view", other_view),
        test("error_profile_of_another_minor", other_minor),
        test("error_full_disk_leaves_nothing_half_written", full_disk),
        test("error_command_not_found_or_not_executable", command),
        test("error_usdt_without_probes", usdt_without_probes),
        test("error_usdt_without_the_environment", usdt_without_environment),
        test("error_no_php_fpm_running", no_fpm),
        test("error_no_such_process", no_such_process),
        test("error_profile_exists", profile_exists),
        test("error_profile_that_nothing_can_be_merged_into", cannot_be_merged),
        test("error_profile_that_cannot_be_written", no_place_for_a_profile),
        test("error_sandbox_as_root", as_root),
        test("error_profile_that_others_can_write", writable_profile),
        test("error_no_such_user", no_such_user),
        test("error_command_that_never_runs_php", never_php),
        test("error_wrong_usage", wrong_usage),
    ]
}

/// An error of the tracer: status, what failed, a hint; no panic, no profile.
fn assert_error(place: &Place, ran: &Ran, status: i32, what: &str) {
    assert_eq!(ran.status, status, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.to_lowercase().contains(&what.to_lowercase()), "no `{what}` in: {}", ran.stderr);
    assert!(ran.stderr.contains("\nHint: "), "no hint: {}", ran.stderr);
    assert!(!ran.stderr.contains("panicked") && !ran.stderr.contains("RUST_BACKTRACE"), "{}", ran.stderr);
    assert_no_litter(place);
}

/// No temporary file of a profile that was not finished.
fn assert_no_litter(place: &Place) {
    for entry in fs::read_dir(place.root()).expect("read") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(
            !name.contains("tmp") && !name.contains("new") && !name.starts_with('.'),
            "left behind: {name}"
        );
    }
}

fn no_profile(place: &Place) {
    assert!(!place.path("p.profile").exists(), "a profile was written");
}

fn no_mode() {
    let place = Place::new();
    let ran = run_tracer(place.root(), &["--", PHP, "-v"]);
    assert_error(&place, &ran, 125, "mode");
    let ran = run_tracer(place.root(), &["--duration", "1"]);
    assert_error(&place, &ran, 125, "mode");
}

fn wrong_usage() {
    let place = Place::new();
    for args in [
        &["--profile", "--sandbox", "--", PHP][..],
        &["--no-such-option"],
        &["--sandbox", "--merge", "--", PHP],
        &["--profile", "--syscalls", "no_such_call", "--", PHP],
        &["--profile", "--root", "no-equals-sign", "--", PHP, "-v"],
        &["--profile", "--events", "-", "--", PHP, "-v"],
    ] {
        let ran = run_tracer(place.root(), args);
        assert_eq!(ran.status, 125, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("Hint: "), "{args:?}: no hint: {}", ran.stderr);
        assert!(!place.path("php.profile").exists(), "{args:?}");
    }
}

fn bad_php(name: &str, content: Option<&[u8]>, what: &str) {
    let place = Place::new();
    if let Some(content) = content {
        place.file(name, content);
    }
    let ran = place.session("--profile").arg("--php").arg(place.arg(name)).run(php(&["-r", "1;"]));
    assert_error(&place, &ran, 125, what);
    assert!(ran.stderr.contains(name), "{}", ran.stderr);
    no_profile(&place);
}

fn an_elf_that_is_no_php() {
    let place = Place::new();
    let ran = place.session("--profile").arg("--php").arg("/bin/true").run(php(&["-r", "1;"]));
    assert_error(&place, &ran, 125, "not a PHP");
    no_profile(&place);
}

/// A copy of PHP whose ABI is none that exists.
fn unknown_abi() {
    let place = Place::new();
    let mut bytes = fs::read(PHP).expect("read PHP");
    let mark = b"API20220829,NTS";
    let found: Vec<usize> =
        bytes.windows(mark.len()).enumerate().filter(|(_, w)| w == mark).map(|(n, _)| n).collect();
    assert!(!found.is_empty(), "{PHP} is not the PHP that this test knows");
    for at in found {
        bytes[at + 3..at + 11].copy_from_slice(b"20990101");
    }
    let copy = place.file("php-from-the-future", bytes);
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("chmod");
    let named =
        place.ordinary("--profile").arg("--php").arg(copy.display().to_string()).run(php(&["-r", "1;"]));
    assert_error(&place, &named, 125, "unknown PHP build");
    assert!(named.stderr.contains("20990101"), "{}", named.stderr);
    no_profile(&place);
    let run = place.ordinary("--profile").run([copy.display().to_string(), "-r".into(), "1;".into()]);
    assert_eq!(run.status, 125, "COMMAND of an unknown PHP was watched: {}", run.stderr);
    assert!(run.stderr.contains("\nHint: "), "{}", run.stderr);
    no_profile(&place);
}

fn no_root() {
    let place = Place::new();
    // Where an ordinary user can run it.
    let copy = place.path("tracer");
    fs::copy(tracer(), &copy).expect("copy");
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .args(["--profile", "--profile-file"])
        .args([place.arg("data/p.profile"), "--".into(), PHP.into(), "-v".into()])
        .output()
        .expect("setpriv");
    let ran = finished(&output);
    assert_error(&place, &ran, 125, "root");
    assert!(!ran.stdout.contains("PHP 8"), "COMMAND was run: {}", ran.stdout);
    assert!(!place.path("data/p.profile").exists());
}

/// A place with a good profile of a trivial script, and a sandbox of it.
fn learnt() -> Place {
    let place = Place::new();
    fs::write(place.path("a.php"), "<?php\nfunction f() { @unlink('/nowhere'); }\nf();\necho 'ran';\n")
        .expect("write");
    place.learn(&[&place.arg("a.php")]);
    place
}

fn sandboxed(place: &Place, mode: &str) -> Ran {
    place.ordinary(mode).run(php(&[&place.arg("a.php")]))
}

fn bad_profiles() {
    let place = learnt();
    let good = fs::read(place.path("p.profile")).expect("read");
    let mut corrupted = good.clone();
    *corrupted.last_mut().expect("content") ^= 1;
    let mut future = good.clone();
    future[8..12].copy_from_slice(&99u32.to_le_bytes());
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("truncated", good[..good.len() - 7].to_vec(), "truncated"),
        ("cut in its header", good[..20].to_vec(), "truncated"),
        ("trailing", [&good[..], b"more"].concat(), "too many"),
        ("corrupted", corrupted, "corrupted"),
        ("future", future, "version 99"),
        ("empty", Vec::new(), "not a profile"),
        ("foreign", b"\x7fELF what is this".to_vec(), "not a profile"),
        ("broken JSON", b"{\"view\": ".to_vec(), "JSON"),
        ("JSON of something else", b"{}".to_vec(), "JSON"),
    ];
    for (name, content, what) in cases {
        fs::write(place.path("p.profile"), &content).expect("write");
        for mode in ["--sandbox", "--monitor"] {
            let ran = sandboxed(&place, mode);
            assert!(!ran.stdout.contains("ran"), "{name}: COMMAND was run");
            assert_error(&place, &ran, 125, what);
        }
        let merged = place.ordinary("--profile").arg("--merge").run(php(&[&place.arg("a.php")]));
        assert_error(&place, &merged, 125, what);
        assert_eq!(fs::read(place.path("p.profile")).expect("read"), content, "{name}: it was written to");
    }
    fs::write(place.path("p.profile"), good).expect("write");
    assert_eq!(sandboxed(&place, "--sandbox").stdout, "ran");
}

fn missing_profile() {
    let place = Place::new();
    for mode in ["--sandbox", "--monitor"] {
        let ran = place.ordinary(mode).run(php(&["-r", "echo 'ran';"]));
        assert_error(&place, &ran, 125, "p.profile");
        assert!(
            ran.stderr.contains("--profile "),
            "the hint is not the command that makes one: {}",
            ran.stderr
        );
        assert!(!ran.stdout.contains("ran"));
    }
}

/// Writes the profile back with something changed.
fn amended(place: &Place, change: impl FnOnce(&mut Value)) {
    let mut profile = place.profile();
    change(&mut profile);
    fs::write(place.path("p.profile"), profile.to_string()).expect("write");
}

fn other_view() {
    let place = learnt();
    amended(&place, |profile| {
        profile["view"] = "lsm".into();
        profile["grants"] = Value::Array(Vec::new());
        profile["operations"] = "relevant".into();
    });
    for mode in ["--sandbox", "--monitor"] {
        assert_error(&place, &sandboxed(&place, mode), 125, "view");
    }
}

fn other_minor() {
    let place = learnt();
    amended(&place, |profile| {
        profile["php"]["version"] = "8.1.7".into();
        profile["php"]["minor"] = "8.1".into();
    });
    let ran = sandboxed(&place, "--sandbox");
    assert_error(&place, &ran, 125, "8.1.7");
    assert!(ran.stderr.contains("--accept-php-version"), "{}", ran.stderr);
    let accepted = place.ordinary("--sandbox").arg("--accept-php-version").run(php(&[&place.arg("a.php")]));
    assert_eq!(accepted.stdout, "ran", "{}", accepted.stderr);
    assert!(accepted.stderr.contains("notice: "), "{}", accepted.stderr);
    // Another patch release is only a notice.
    amended(&place, |profile| {
        profile["php"]["version"] = "8.2.0".into();
        profile["php"]["minor"] = "8.2".into();
    });
    let patch = sandboxed(&place, "--sandbox");
    assert_eq!(patch.stdout, "ran", "{}", patch.stderr);
    let notice = patch.stderr.lines().find(|l| l.contains("notice: ")).unwrap_or_default();
    assert!(notice.contains("8.2.0"), "{}", patch.stderr);
    assert!(!notice.contains("Notice(\""), "shown as the program has it: {notice}");
}

/// A file system of one page or so, unmounted at the end.
struct Tiny(std::path::PathBuf);

impl Tiny {
    fn mount(at: std::path::PathBuf) -> Self {
        fs::create_dir(&at).expect("make a folder");
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=4k,mode=755", "tiny"]).arg(&at).status();
        assert!(done.expect("mount").success());
        Self(at)
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn full_disk() {
    let place = Place::new();
    let tiny = Tiny::mount(place.path("tiny"));
    let mut text = String::from("<?php\n");
    for n in 0..400 {
        let name = format!("a_function_with_a_long_name_{n}");
        let _ = writeln!(text, "function {name}() {{ @unlink('/nowhere'); }} {name}();");
    }
    fs::write(place.path("a.php"), text).expect("write");
    let run = |force: &str| {
        let profile = place.arg("tiny/p.profile");
        run_tracer(
            place.root(),
            &[
                "--profile",
                force,
                "--user",
                "nobody",
                "--profile-file",
                &profile,
                "--",
                PHP,
                &place.arg("a.php"),
            ],
        )
    };
    let ran = run("--force");
    assert_error(&place, &ran, 125, "No space left");
    assert_eq!(fs::read_dir(&tiny.0).expect("read").count(), 0, "something was left");
    // What was there stays as it was.
    fs::write(tiny.0.join("p.profile"), "before").expect("write");
    assert_error(&place, &run("--force"), 125, "No space left");
    assert_eq!(fs::read(tiny.0.join("p.profile")).expect("read"), b"before");
}

fn command() {
    let place = learnt();
    let plain = place.file("plain", "not a program");
    for mode in ["--profile", "--sandbox"] {
        let run = |command: &str| place.ordinary(mode).arg("--force").run([command]);
        assert_error(&place, &run("no-such-command-anywhere"), 127, "not found");
        assert_error(&place, &run("/no/such/file"), 127, "not found");
        assert_error(&place, &run(&plain.display().to_string()), 126, "not executable");
        assert_error(&place, &run("/tmp"), 126, "not executable");
    }
    let script = place.file("script", "#!/no/such/interpreter\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("chmod");
    let ran = place.ordinary("--profile").arg("--force").run([script.display().to_string()]);
    assert!(
        [126, 127].contains(&ran.status) && ran.stderr.contains("Hint: "),
        "{}: {}",
        ran.status,
        ran.stderr
    );
}

fn usdt_without_probes() {
    let place = Place::new();
    let image = php_images().join("trixie/usr/bin/php8.4");
    assert!(image.exists(), "PHP 8.4 is not there: run tests/php/fetch as root");
    let ran = place
        .ordinary("--profile")
        .arg("--attribution")
        .arg("usdt")
        .arg("--php")
        .arg(image.display().to_string())
        .run(php(&["-r", "1;"]));
    assert_error(&place, &ran, 125, "probe");
    no_profile(&place);
}

fn usdt_without_environment() {
    let place = Place::new();
    let ran = place.ordinary("--profile").arg("--attribution").arg("usdt").run(php(&["-r", "echo 'ran';"]));
    assert_error(&place, &ran, 125, "USE_ZEND_DTRACE");
    no_profile(&place);
}

fn no_fpm() {
    let place = Place::new();
    let own = std::process::id().to_string();
    let narrowed = run_tracer(place.root(), &["--profile", "--pid", &own]);
    assert_error(&place, &narrowed, 125, "no php-fpm");
    assert!(narrowed.stderr.contains("--php"), "{}", narrowed.stderr);
    // All processes of this machine: not where somebody else's php-fpm runs.
    let running = Command::new("pgrep").arg("php-fpm").output().expect("pgrep");
    if running.stdout.is_empty() {
        assert_error(&place, &run_tracer(place.root(), &["--profile"]), 125, "no php-fpm");
    }
    assert!(!place.path("php.profile").exists());
}

fn no_such_process() {
    let place = learnt();
    let mut ended = Command::new("true").spawn().expect("spawn");
    ended.wait().expect("wait");
    let pid = ended.id().to_string();
    for mode in ["--profile", "--monitor", "--sandbox"] {
        let ran =
            place.session(mode).args(["--force", "--php", PHP, "--duration", "1", "--pid", &pid]).watch();
        assert_error(&place, &ran, 125, &format!("--pid {pid}: there is no such process"));
    }
}

fn profile_exists() {
    let place = learnt();
    let before = fs::read(place.path("p.profile")).expect("read");
    let ran = sandboxed(&place, "--profile");
    assert_error(&place, &ran, 125, "exists already");
    assert!(ran.stderr.contains("--merge") && ran.stderr.contains("--force"), "{}", ran.stderr);
    assert!(!ran.stdout.contains("ran"));
    assert_eq!(fs::read(place.path("p.profile")).expect("read"), before);
}

/// Known at the start: COMMAND does not run for nothing.
fn cannot_be_merged() {
    let place = learnt();
    let merged = || place.ordinary("--profile").arg("--merge").run(php(&[&place.arg("a.php")]));
    for (part, key, value, what) in [
        ("attribution", None, "usdt", "one has the attribution `usdt`, the other `stack`"),
        ("php", Some("minor"), "8.1", "one has the PHP release `8.1`, the other"),
    ] {
        let good = fs::read(place.path("p.profile")).expect("read");
        amended(&place, |profile| match key {
            None => profile[part] = value.into(),
            Some(key) => {
                profile[part][key] = value.into();
                profile[part]["version"] = format!("{value}.7").into();
            }
        });
        let ran = merged();
        assert_error(&place, &ran, 125, what);
        assert!(!ran.stdout.contains("ran"), "COMMAND was run: {}", ran.stdout);
        fs::write(place.path("p.profile"), good).expect("write");
    }
    // JSON stays JSON.
    let json = place.profile();
    fs::write(place.path("p.profile"), json.to_string()).expect("write");
    let ran = merged();
    assert_eq!(ran.stdout, "ran", "{}", ran.stderr);
    let written: Value =
        serde_json::from_slice(&fs::read(place.path("p.profile")).expect("read")).expect("JSON");
    assert_eq!(written["learned"]["runs"], 2);
}

fn no_place_for_a_profile() {
    let place = Place::new();
    for (path, what) in [("data", "it is a directory"), ("nowhere/p.profile", "No such file")] {
        let path = place.arg(path);
        for more in ["--force", "--merge"] {
            let ran = run_tracer(
                place.root(),
                &["--profile", more, "--profile-file", &path, "--", "/bin/echo", "ran"],
            );
            assert_error(&place, &ran, 125, what);
            assert!(
                ran.stderr.contains("cannot write the profile") && !ran.stdout.contains("ran"),
                "{}",
                ran.stderr
            );
        }
    }
}

fn as_root() {
    let place = learnt();
    let ran = place.session("--sandbox").run(php(&[&place.arg("a.php")]));
    assert_error(&place, &ran, 125, "root");
    assert!(ran.stderr.contains("--allow-privileged") && ran.stderr.contains("--user"), "{}", ran.stderr);
    assert!(!ran.stdout.contains("ran"));
    let accepted = place.session("--sandbox").arg("--allow-privileged").run(php(&[&place.arg("a.php")]));
    assert_eq!(accepted.stdout, "ran", "{}", accepted.stderr);
    assert!(accepted.stderr.contains("warning: "), "{}", accepted.stderr);
}

fn writable_profile() {
    let place = learnt();
    let profile = place.path("p.profile");
    let mode = |mode: u32| fs::set_permissions(&profile, fs::Permissions::from_mode(mode)).expect("chmod");
    mode(0o666);
    assert_error(&place, &sandboxed(&place, "--sandbox"), 125, "others can write it");
    mode(0o644);
    std::os::unix::fs::chown(&profile, Some(65534), None).expect("chown");
    assert_error(&place, &sandboxed(&place, "--sandbox"), 125, "owns it");
    std::os::unix::fs::chown(&profile, Some(0), None).expect("chown");
    fs::set_permissions(place.root(), fs::Permissions::from_mode(0o777)).expect("chmod");
    assert_error(&place, &sandboxed(&place, "--sandbox"), 125, "others can write the directory");
    fs::set_permissions(place.root(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let real = place.path("real.profile");
    fs::rename(&profile, &real).expect("rename");
    std::os::unix::fs::symlink(&real, &profile).expect("symlink");
    assert_error(&place, &sandboxed(&place, "--sandbox"), 125, "symbolic link");
    fs::rename(&real, &profile).expect("rename");
    assert_eq!(sandboxed(&place, "--sandbox").stdout, "ran");
}

fn no_such_user() {
    let place = Place::new();
    let ran = place.session("--profile").arg("--user").arg("nobody-at-all").run(php(&["-v"]));
    assert_error(&place, &ran, 125, "nobody-at-all");
    no_profile(&place);
}

fn never_php() {
    let place = Place::new();
    let ran = place.ordinary("--profile").run(["/bin/echo", "hello"]);
    assert_error(&place, &ran, 125, "no process of a PHP image");
    no_profile(&place);
}
