//! The control socket: the mode by its name, root only, refused to subjects.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};

use e2e::session::{cross_checks, decides_in_kernel, tracer};
use e2e::suite::test;
use libtest_mimic::Trial;

use super::place::Place;

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("the_mode_changes_by_its_name_while_running", by_name),
        test("a_sandbox_does_not_listen_at_all_returns_of_the_machine", returns),
        test("a_profile_that_does_not_speak_of_all_that_is_policed_is_not_swapped_in", narrower),
        test("a_profile_of_another_minor_version_of_php_is_not_swapped_in", other_minor),
        test("subjects_that_may_signal_the_tracer_are_refused_in_a_sandbox", may_signal),
        test("ctl_without_a_session_says_so", nobody),
    ]
}

fn ctl(pid: i32, args: &[&str]) -> Output {
    Command::new(tracer()).arg("ctl").arg("--pid").arg(pid.to_string()).args(args).output().expect("run ctl")
}

fn by_name() {
    let place = Place::new();
    let php = place.own_php();
    place.file("ok.php", "<?php function ok($d) { touch(\"$d/ok\"); } ok($argv[1]);");
    let evil = "<?php function ok($d) { touch(\"$d/ok\"); } ok($argv[1]); while (true) { @unlink('/none'); usleep(20000); }";
    let run = |script: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(place.path("php"));
        command.arg(place.path(script)).arg(place.path("data")).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let learning = place.session("--profile").arg("--php").arg(&php).start();
    assert!(run("ok.php").status().expect("run PHP").success());
    assert_eq!(learning.stop().status, 0);
    place.file("ok.php", evil);
    let mut session = place.session("--monitor").arg("--php").arg(&php).start();
    let mut victim = run("ok.php").spawn().expect("run PHP");
    session.wait_for("logged unlink");
    let status = String::from_utf8_lossy(&ctl(session.pid(), &["status"]).stdout).into_owned();
    assert!(status.starts_with("mode monitor\n"), "{status}");
    let odd = ctl(session.pid(), &["mode", "toggle"]);
    assert_eq!(odd.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&odd.stderr).contains("\nHint: "), "{odd:?}");
    assert!(victim.try_wait().expect("wait").is_none(), "only logged until now");
    let switched = ctl(session.pid(), &["mode", "sandbox"]);
    assert_eq!(String::from_utf8_lossy(&switched.stdout), "mode sandbox\n");
    assert_eq!(victim.wait().expect("wait").signal(), Some(libc::SIGKILL));
    session.stop();
}

/// Whether a process has attached something where all calls return.
fn listens_at_returns(pid: i32) -> bool {
    let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the tracer's files").flatten();
    files
        .filter_map(|file| fs::read_to_string(file.path()).ok())
        .any(|told| told.lines().any(|line| line.split_ascii_whitespace().last() == Some("sys_exit")))
}

/// Who decides in user space has calls told by work of their tasks, where the kernel can; who decides in the kernel does
/// not need them.
fn returns() {
    let place = Place::new();
    let php = place.own_php();
    place.file("ok.php", "<?php function ok($d) { touch(\"$d/ok\"); } ok($argv[1]);");
    learn_running(&place, &php, &[]);
    let session = place.session("--sandbox").args(["--php", &php]).start();
    let btf = fs::read("/sys/kernel/btf/vmlinux").expect("the kernel's types");
    let work = b"bpf_task_work_schedule_resume";
    // With --cross-check what is allowed is told, too.
    let has_to = cross_checks() || !decides_in_kernel() && !btf.windows(work.len()).any(|at| at == work);
    assert_eq!(listens_at_returns(session.pid()), has_to);
    assert!(ctl(session.pid(), &["mode", "monitor"]).status.success());
    assert!(listens_at_returns(session.pid()), "this test would not see it");
    session.stop();
}

/// The status of `ctl reload`, and what it said.
fn reload(pid: i32) -> (i32, String) {
    let Output { status, stdout, stderr } = ctl(pid, &["reload"]);
    (status.code().expect("it ended"), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

fn run_honest(place: &Place, php: &str) {
    let run = Command::new(php).args([place.arg("ok.php"), place.arg("data")]).status();
    assert!(run.expect("run PHP").success());
}

/// By a session that is there before it.
fn learn_running(place: &Place, php: &str, options: &[&str]) {
    let learning = place.session("--profile").args(["--php", php]).args(options.iter().copied()).start();
    run_honest(place, php);
    assert_eq!(learning.stop().status, 0);
}

fn narrower() {
    let place = Place::new();
    let php = place.own_php();
    place.file("ok.php", "<?php function ok($d) { mkdir(\"$d/ok\"); rmdir(\"$d/ok\"); } ok($argv[1]);");
    let learn = |operations: &str| {
        learn_running(&place, &php, &["--syscalls", operations, "--force"]);
        fs::read(place.path("p.profile")).expect("read the profile")
    };
    let (narrow, wide) = (learn("mkdir"), learn("mkdir,rmdir"));
    let swapped = |first: &[u8], second: &[u8]| {
        fs::write(place.path("p.profile"), first).expect("write the profile");
        let session = place.session("--monitor").arg("--php").arg(&php).start();
        fs::write(place.path("p.profile"), second).expect("write the profile");
        let told = reload(session.pid());
        run_honest(&place, &php);
        let ran = session.stop();
        assert!(ran.violations().is_empty(), "{}", ran.stderr);
        told
    };
    let (status, told) = swapped(&wide, &narrow);
    assert!(status == 125 && told.contains("the profile stays as it was: "), "{told}");
    assert!(
        told.contains("learnt with --syscalls mkdir, and does not speak of all of mkdir,rmdir"),
        "{told}"
    );
    assert!(told.contains("Hint: learn it with --syscalls mkdir,rmdir"), "{told}");
    let (status, told) = swapped(&narrow, &wide);
    assert!(status == 0 && told.contains("loaded again"), "{told}");
    assert!(told.contains("until the next start only mkdir is policed"), "{told}");
    let (_, told) = swapped(&wide, &wide);
    assert!(told.contains("loaded again") && !told.contains("warning"), "{told}");
}

/// As a start would refuse it, and with the same words.
fn other_minor() {
    let place = Place::new();
    let php = place.own_php();
    place.file("ok.php", "<?php touch($argv[1] . '/ok');");
    learn_running(&place, &php, &[]);
    let of_this_php = fs::read(place.path("p.profile")).expect("read the profile");
    let mut of_another = place.profile();
    of_another["php"]["version"] = "7.3.1".into();
    of_another["php"]["minor"] = "7.3".into();
    let swapped = |options: &[&str]| {
        fs::write(place.path("p.profile"), &of_this_php).expect("write the profile");
        let session = place.session("--monitor").args(["--php", &php]).args(options.iter().copied()).start();
        fs::write(place.path("p.profile"), of_another.to_string()).expect("write the profile");
        let told = reload(session.pid());
        session.stop();
        told
    };
    let (status, told) = swapped(&[]);
    assert_eq!(status, 125, "{told}");
    assert!(
        told.contains("stays as it was: the profile was learnt from PHP 7.3.1, and this is PHP"),
        "{told}"
    );
    assert!(told.contains("Hint: learn again with this PHP, or --accept-php-version"), "{told}");
    let (status, told) = swapped(&["--accept-php-version"]);
    assert!(status == 0 && told.contains("loaded again"), "{told}");
    assert!(told.contains("notice: the profile was learnt from PHP 7.3.1"), "{told}");
}

/// Not root, but with a capability that reaches it.
fn may_signal() {
    let place = Place::new();
    let php = place.own_php();
    place.file("ok.php", "<?php touch($argv[1] . '/ok');");
    learn_running(&place, &php, &[]);
    let sandbox = |capabilities: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(format!("--inh-caps={capabilities}")).arg(format!("--ambient-caps={capabilities}"));
        let mut subject = command.args([&php, "-r", "sleep(60);"]).spawn().expect("run PHP");
        e2e::fpm::wait_until("it is PHP", || {
            fs::read_link(format!("/proc/{}/exe", subject.id())).is_ok_and(|exe| exe == place.path("php"))
        });
        let ran = place.session("--sandbox").args(["--php", &php, "--duration", "1"]).watch();
        subject.kill().expect("end it");
        subject.wait().expect("wait");
        ran
    };
    let refused = sandbox("+kill");
    assert_eq!(refused.status, 125, "{}", refused.stderr);
    assert!(refused.stderr.contains("1 subject(s) have CAP_KILL: one call"), "{}", refused.stderr);
    assert!(refused.stderr.contains("--allow-privileged"), "{}", refused.stderr);
    let harmless = sandbox("+net_bind_service");
    assert_eq!(harmless.status, 0, "{}", harmless.stderr);
}

fn nobody() {
    let output = ctl(1, &["status"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Hint:"));
}
