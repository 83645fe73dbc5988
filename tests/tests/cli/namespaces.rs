//! Other pid and mount namespaces, and a chroot: the right process, image and site.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use e2e::session::Ran;
use e2e::suite::test;
use libtest_mimic::Trial;

use super::place::{Place, VICTIMS, assert_clean, source, through};

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("in_a_pid_namespace_the_right_process_is_killed", pid_namespace),
        test("in_a_pid_namespace_the_tracer_refuses_to_start", inside_a_pid_namespace),
        test("php_on_an_overlay_is_watched_and_killed", overlay),
        test("php_on_an_overlay_that_nobody_named_is_refused", overlay_unnamed),
        test("php_in_a_chroot_is_watched_and_killed", chroot),
        test("a_script_of_another_mount_namespace_is_not_the_learnt_one", other_mounts),
    ]
}

/// `inner.php`, learnt as `sh -c LINE` runs it; LINE has `%` where its arguments go.
fn learnt(place: &Place, line: &str, data: &str) {
    let ran = sh(place, "--profile", line, data);
    assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("inner"), "{}{}", ran.stdout, ran.stderr);
}

/// Root makes the namespace, and PHP runs as an ordinary user in it.
fn sh(place: &Place, mode: &str, line: &str, args: &str) -> Ran {
    sh_of(place, "/usr/bin/php", mode, line, args)
}

fn sh_of(place: &Place, image: &str, mode: &str, line: &str, args: &str) -> Ran {
    let session = place.session(mode).arg("--allow-privileged").arg("--force").arg("--php").arg(image);
    session.run(["/bin/sh", "-c", &line.replace('%', args)])
}

const AS_USER: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups";

fn attack(place: &Place, line: &str, data: &str) -> Ran {
    let twin = sh(place, "--sandbox", line, data);
    assert_clean(&twin);
    assert!(twin.stdout.contains("inner"), "{}{}", twin.stdout, twin.stderr);
    place.victims(VICTIMS);
    let ran = sh(place, "--sandbox", line, &format!("{data} harm"));
    assert_harm_killed(place, &ran);
    ran
}

/// `harm()` was killed, and what is gone is what was told.
fn assert_harm_killed(place: &Place, ran: &Ran) {
    assert!(!ran.stdout.contains("inner"), "it was not killed: {}{}", ran.stdout, ran.stderr);
    let violations = ran.violations();
    assert!(!violations.is_empty(), "{}", ran.stderr);
    for event in &violations {
        assert_eq!(event["site"]["function"], "harm", "{event:#}");
        assert_eq!(event["operation"], "unlink", "{event:#}");
        assert_eq!(event["action"], "killed", "{event:#}");
        assert_eq!(event["uid"], 65534, "{event:#}");
    }
    let left = place.left();
    assert!(left > VICTIMS / 2, "only {left} of {VICTIMS} files are left");
    assert_eq!(VICTIMS - left, through(&violations, "unlink"));
}

fn pid_namespace() {
    let place = Place::with("inner.php");
    let line = format!("unshare -pf --mount-proc {AS_USER} /usr/bin/php {} %", place.arg("inner.php"));
    learnt(&place, &line, &place.arg("data"));
    let ran = attack(&place, &line, &place.arg("data"));
    for event in ran.violations() {
        assert_eq!(event["nspid"], 1, "{event:#}");
        assert!(event["pid"].as_u64() > Some(1), "{event:#}");
        assert_eq!(event["site"]["file"], place.arg("inner.php"), "{event:#}");
    }
}

fn inside_a_pid_namespace() {
    let place = Place::new();
    let output = Command::new("unshare")
        .args(["-pf", "--mount-proc"])
        .arg(e2e::session::tracer())
        .args(["--profile", "--profile-file", &place.arg("p.profile"), "--", "/usr/bin/php", "-v"])
        .output()
        .expect("unshare");
    let ran = super::place::finished(&output);
    assert_eq!(ran.status, 125, "{}", ran.stderr);
    assert!(ran.stderr.contains("pid namespace") && ran.stderr.contains("\nHint: "), "{}", ran.stderr);
    assert!(!place.path("p.profile").exists());
}

/// A mount namespace that a shell has mounted in, and holds until its input ends.
fn in_own_mounts(line: &str) -> Child {
    let mut holder = Command::new("unshare")
        .args(["-m", "sh", "-c", line])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare");
    let mut said = String::new();
    let out = holder.stdout.take().expect("stdout is piped");
    BufReader::new(out).read_line(&mut said).expect("read");
    assert_eq!(said, "ready\n", "it could not be mounted: {line}");
    holder
}

/// A mount namespace in which `/usr` is an overlay, held by a process: what `stat` says of PHP there is not what
/// the kernel has.
struct Overlay(Child);

impl Overlay {
    fn mount(place: &Place) -> Self {
        fs::create_dir(place.path("upper")).expect("make a folder");
        // The upper folder of an overlay cannot be on another overlay, which /tmp may be.
        let line = format!(
            "mount -t tmpfs none {0} && mkdir {0}/u {0}/w && \
             mount -t overlay -o lowerdir=/usr,upperdir={0}/u,workdir={0}/w overlay /usr && echo ready && read end",
            place.arg("upper")
        );
        Self(in_own_mounts(&line))
    }

    /// PHP as this namespace has it.
    fn php(&self) -> String {
        format!("/proc/{}/root/usr/bin/php8.2", self.0.id())
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn overlay() {
    let place = Place::with("inner.php");
    let overlay = Overlay::mount(&place);
    let line =
        format!("nsenter -m -t {} {AS_USER} /usr/bin/php {} %", overlay.0.id(), place.arg("inner.php"));
    let image = overlay.php();
    let run = |mode: &str, args: &str| sh_of(&place, &image, mode, &line, args);
    let learnt = run("--profile", &place.arg("data"));
    assert!(learnt.status == 0 && learnt.stdout.contains("inner"), "{}{}", learnt.stdout, learnt.stderr);
    let twin = run("--sandbox", &place.arg("data"));
    assert_clean(&twin);
    assert!(twin.stdout.contains("inner"), "{}{}", twin.stdout, twin.stderr);
    place.victims(VICTIMS);
    let ran = run("--sandbox", &format!("{} harm", place.arg("data")));
    assert_harm_killed(&place, &ran);
    for event in ran.violations() {
        assert_eq!(event["site"]["file"], place.arg("inner.php"), "{event:#}");
        assert_eq!(event["exe"], "/usr/bin/php8.2", "{event:#}");
    }
}

/// The same path, and another file there, which nobody named: refused, not taken for the one that was.
fn overlay_unnamed() {
    let place = Place::with("inner.php");
    let overlay = Overlay::mount(&place);
    let here = format!("{AS_USER} /usr/bin/php {} %", place.arg("inner.php"));
    let there = format!("nsenter -m -t {} {here}", overlay.0.id());
    learnt(&place, &here, &place.arg("data"));
    place.victims(VICTIMS);
    let ran = sh(&place, "--sandbox", &there, &format!("{} harm", place.arg("data")));
    assert_eq!(place.left(), VICTIMS, "{}", ran.stderr);
    let violations = ran.violations();
    assert!(!violations.is_empty(), "{}", ran.stderr);
    assert!(violations.iter().all(|e| e["action"] == "killed"), "{violations:#?}");
    let ran = sh(&place, "--profile", &there, &place.arg("data"));
    assert_eq!(ran.status, 125, "learnt of a PHP that was not looked at: {}", ran.stderr);
    assert!(ran.stderr.contains("\nHint: "), "{}", ran.stderr);
}

/// A root of its own, with a copy of PHP: another file at another place.
fn chroot() {
    let place = Place::new();
    let root = place.path("root");
    fs::create_dir(&root).expect("make a root");
    copy_with_libraries(&root);
    fs::copy(source("victims/inner.php"), root.join("inner.php")).expect("copy");
    fs::create_dir(root.join("data")).expect("make a folder");
    let image = root.join("usr/bin/php");
    let (session, data) = (place.arg("root"), place.arg("data"));
    let line = format!(
        "unshare -m sh -c 'mount --bind {data} {session}/data && \
         exec chroot --userspec=65534:65534 {session} /usr/bin/php -n /inner.php %'"
    );
    let run = |mode: &str, args: &str| sh_of(&place, &image.display().to_string(), mode, &line, args);
    let learnt = run("--profile", "/data");
    // Without a time zone database PHP warns.
    assert!(learnt.status == 0 && learnt.stdout.contains("inner"), "{}{}", learnt.stdout, learnt.stderr);
    let twin = run("--sandbox", "/data");
    assert_clean(&twin);
    place.victims(VICTIMS);
    let ran = run("--sandbox", "/data harm");
    assert_harm_killed(&place, &ran);
    for event in ran.violations() {
        assert_eq!(event["site"]["file"], "/inner.php", "{event:#}");
        // From the root of the mount namespace: a chroot must not make it look like another program.
        assert_eq!(event["exe"], image.display().to_string(), "{event:#}");
    }
}

fn copy_with_libraries(root: &Path) {
    let script = r#"set -e
        mkdir -p "$1/usr/bin" "$1/tmp"
        cp -L /usr/bin/php "$1/usr/bin/php"
        ldd /usr/bin/php | sed -nE 's|^[^/]*(/[^ ]+) .*|\1|p' | while read f; do
            mkdir -p "$1$(dirname "$f")"; cp -L "$f" "$1$f"
        done"#;
    let done = Command::new("sh").args(["-c", script, "sh"]).arg(root).status().expect("sh");
    assert!(done.success(), "copying PHP and its libraries failed");
}

/// A process of the same user to which `app` is what is in `up`.
fn covered(place: &Place) -> Child {
    let line = format!(
        "mount --bind {} {} && exec {AS_USER} sh -c 'echo ready; read end'",
        place.arg("up"),
        place.arg("app")
    );
    in_own_mounts(&line)
}

/// By way of another process' root the path of a granted script is another file.
fn other_mounts() {
    const START: &str = "<?php function start(string $job): void {
        proc_close(proc_open([PHP_BINARY, $job], [], $pipes)); } start($argv[1]);";
    let place = Place::new();
    fs::create_dir(place.path("app")).and_then(|()| fs::create_dir(place.path("up"))).expect("make folders");
    fs::write(place.path("start.php"), START).expect("write");
    fs::write(place.path("app/job.php"), "<?php unlink(__DIR__ . '/../data/own');").expect("write");
    let harm = format!("<?php for ($n = 0; $n < {VICTIMS}; $n++) {{ unlink(__DIR__ . \"/../data/v/$n\"); }}");
    fs::write(place.path("up/job.php"), harm).expect("write");
    let (start, job) = (place.arg("start.php"), place.arg("app/job.php"));
    place.file("data/own", "");
    place.learn(&[&start, &job]);
    place.file("data/own", "");
    let honest = place.sandbox(&[&start, &job]);
    assert_clean(&honest);
    assert!(!place.path("data/own").exists(), "{}", honest.stderr);
    place.victims(VICTIMS);
    let mut other = covered(&place);
    let ran = place.sandbox(&[&start, &format!("/proc/{}/root{job}", other.id())]);
    drop(other.stdin.take());
    other.wait().expect("wait");
    let told = ran.violations();
    assert!(!told.is_empty() && told.iter().all(|e| e["reason"] == "tainted-identity"), "{told:#?}");
    let left = place.left();
    assert!(left > VICTIMS / 2, "only {left} of {VICTIMS} files are left");
    assert_eq!(VICTIMS - left, through(&told, "unlink"));
}
