//! Ways round the sandbox that a review found, and innocents that it killed.

use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use e2e::arena::Status;
use e2e::fpm::{exe_of, wait_until};
use e2e::session::{Ran, Session, decides_in_kernel, ends_with_test};
use e2e::suite::{Procfs, test, times};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::place::{PHP, Place, VICTIMS, assert_clean, php};

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("an_fpm_that_php_code_starts_is_not_the_master", no_master_by_exec),
        test("the_event_file_cannot_be_removed", event_file_stays),
        test("the_folder_of_profiled_scripts_cannot_be_moved", folder_stays),
        test("the_folder_of_profiled_scripts_cannot_be_covered", folder_is_not_covered),
        test("a_script_is_not_reached_by_a_path_that_is_too_long_to_read", too_long),
        test("a_script_is_not_reached_by_a_name_of_the_process_itself", own_names),
        test("a_script_is_not_reached_by_a_hard_link", hard_link),
        test("a_script_is_not_reached_by_a_link_that_is_taken_away_at_once", link_taken_away),
        test("memory_of_a_process_is_not_opened_for_writing", memory),
        test("a_command_blocks_no_signals", no_blocked_signals),
        test("a_script_below_another_root_is_protected_there", other_root),
        test("what_was_done_by_a_process_that_has_ended_is_told", ended),
        test("a_process_that_has_not_begun_is_known_from_there_on", adopted_before_it_begins),
        test("memory_that_the_kernel_moves_makes_nobody_unknown", memory_moves),
        test("memory_that_the_kernel_moves_taints_nobody", memory_moves_at_includes),
        test("memory_that_nobody_has_touched_is_not_waited_for", untouched_memory),
        test("what_php_does_once_in_a_process_is_nobodys_violation", once_per_process),
        test("a_reader_of_events_who_has_stopped_holds_nothing_up", stopped_reader),
        test("more_processes_than_descriptors_are_killed_all_the_same", few_descriptors),
        test("a_sandbox_that_ends_early_takes_its_command_along", ends_early),
        test("a_script_of_an_odd_name_condemns_nobody", odd_names),
        test("a_profile_is_enforced_with_the_calls_it_was_learnt_with", learnt_calls),
    ]
}

fn learnt(what: &str) -> Place {
    let place = Place::with("reviewed.php");
    let args = [place.arg("reviewed.php"), what.to_owned(), place.arg("data")];
    place.learn(&[&args[0], &args[1], &args[2]]);
    let twin = place.sandbox(&[&args[0], &args[1], &args[2]]);
    assert_clean(&twin);
    assert!(twin.stdout.contains("done"), "{}{}", twin.stdout, twin.stderr);
    place
}

fn harm(place: &Place, what: &str, more: &[&str]) -> Ran {
    let (script, data) = (place.arg("reviewed.php"), place.arg("data"));
    let mut args = vec![&script[..], what, &data, "harm"];
    args.extend(more);
    place.sandbox(&args)
}

fn reason<'a>(ran: &'a Ran, operation: &str) -> Vec<&'a Value> {
    ran.violations().into_iter().filter(|e| e["operation"] == operation).map(|e| &e["reason"]).collect()
}

fn no_master_by_exec() {
    let place = learnt("shell");
    let ran = harm(&place, "shell", &[]);
    let fpm: Vec<&Value> = ran
        .violations()
        .into_iter()
        .filter(|e| e["exe"].as_str().is_some_and(|x| x.contains("fpm")))
        .collect();
    assert!(!fpm.is_empty(), "{}", ran.stderr);
    assert!(fpm.iter().all(|e| e["action"] == "killed"), "{fpm:#?}");
}

fn event_file_stays() {
    let place = learnt("remove");
    // Everybody's folder, so that only the sandbox is in the way.
    let events = place.folder("logs").join("events.jsonl").display().to_string();
    let said = under_shell(&place, &events, &format!("remove {} harm {events}", place.arg("data")));
    assert!(said.contains("protected-object"), "{said}");
}

/// The tracer by a shell, with few descriptors: what it said.
fn under_shell(place: &Place, events: &str, args: &str) -> String {
    let script = format!(
        "ulimit -n 256; exec {} --sandbox --profile-file {} --events {events} --user nobody -- php {} {args}",
        e2e::session::tracer().display(),
        place.arg("p.profile"),
        place.arg("reviewed.php"),
    );
    let output = Command::new("sh").args(["-c", &script]).output().expect("run the tracer");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The script in a folder of its own that everybody may move, as the file system sees it.
fn script_in_open_folder(place: &Place) -> String {
    let open = place.folder("open");
    fs::create_dir(open.join("app")).expect("a folder");
    fs::copy(place.path("reviewed.php"), open.join("app/reviewed.php")).expect("copy");
    fs::set_permissions(open.join("app"), PermissionsExt::from_mode(0o777)).expect("open it");
    place.arg("open/app/reviewed.php")
}

fn folder_stays() {
    let place = learnt("rename");
    let (script, data) = (script_in_open_folder(&place), place.arg("data"));
    place.learn(&[&script, "rename", &data]);
    let ran = place.sandbox(&[&script, "rename", &data, "harm", &place.arg("open/app")]);
    assert_eq!(reason(&ran, "rename"), ["protected-object"], "{}", ran.stderr);
    assert_eq!(ran.status, 137, "{}", ran.stderr);
}

fn too_long() {
    let place = learnt("rename");
    let (script, data) = (script_in_open_folder(&place), place.arg("data"));
    place.learn(&[&script, "rename", &data]);
    let path = format!("{}{}/reviewed.php", place.arg("open/app"), "/.".repeat(600));
    let ran = place.sandbox(&[&script, "rename", &data, "harm", &path]);
    assert_eq!(reason(&ran, "rename"), ["protected-object"], "{}", ran.stderr);
    assert_eq!(ran.status, 137, "{}", ran.stderr);
}

fn own_names() {
    let place = learnt("rename");
    let (script, data) = (script_in_open_folder(&place), place.arg("data"));
    place.learn(&[&script, "rename", &data]);
    let app = place.arg("open/app");
    for own in ["/proc/self/cwd/reviewed.php", "/proc/thread-self/cwd/reviewed.php", "reviewed.php"] {
        let ran = place.sandbox(&[&script, "rename", &data, "harm", own, &app]);
        assert_eq!(reason(&ran, "rename"), ["protected-object"], "{own}: {}", ran.stderr);
        // The script is where it was, or the one call took it along.
        let _ = fs::copy(place.path("reviewed.php"), &script);
    }
    // Where it has another number, by a procfs of its own.
    let inside = |mode: &str, harm: &[&str]| {
        let namespace = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", PHP];
        let learnt: [&str; 3] = [&script, "rename", &data];
        let session = place.session(mode).arg("--allow-privileged").arg("--force");
        let _ = fs::remove_file(place.path("data/a"));
        session.run([&namespace[..], &learnt, harm].concat())
    };
    let learning = inside("--profile", &[]);
    assert_eq!(learning.status, 0, "{}{}", learning.stdout, learning.stderr);
    assert_clean(&inside("--sandbox", &[]));
    let ran = inside("--sandbox", &["harm", "/proc/self/cwd/reviewed.php", &app]);
    assert_eq!(reason(&ran, "rename"), ["protected-object"], "{}", ran.stderr);
}

fn hard_link() {
    let place = learnt("edit");
    let (script, data, link) = (script_in_open_folder(&place), place.arg("data"), place.arg("data/link"));
    place.learn(&[&script, "edit", &data]);
    fs::set_permissions(&script, PermissionsExt::from_mode(0o666)).expect("open it");
    fs::hard_link(&script, &link).expect("link");
    let ran = place.sandbox(&[&script, "edit", &data, "harm", &link]);
    assert_eq!(reason(&ran, "openat:write"), ["protected-object"], "{}", ran.stderr);
}

/// By a program, as PHP itself looks where links lead. Who decides in the kernel needs no tracer for that; who does not
/// is told what was opened, once such calls are known to be allowed.
fn link_taken_away() {
    let place = Place::new();
    let program = r#"open(F, ">>", $ARGV[0]); unlink $ARGV[0]; syswrite(F, "// changed\n"); close(F)"#;
    let code = format!(
        "<?php function add($to) {{ exec('exec perl -e '.escapeshellarg('{program}').\" $to\"); }} add($argv[1]);"
    );
    let script = place.file("a.php", &code).display().to_string();
    let (php, link) = (place.own_php(), place.arg("link"));
    let run = |to: &str| {
        std::os::unix::fs::symlink(place.path(to), &link).expect("link");
        Command::new(&php).args(["-n", &script, &link]).status().expect("run PHP");
    };
    let start = |mode: &str| place.session(mode).arg("--allow-privileged").arg("--php").arg(&php).start();
    let learning = start("--profile");
    run("b");
    assert_eq!(learning.stop().status, 0);
    let session = start("--sandbox");
    run("b");
    std::thread::sleep(Duration::from_millis(300));
    if decides_in_kernel() {
        session.signal(Signal::SIGSTOP);
    }
    run("a.php");
    session.signal(Signal::SIGCONT);
    let ran = session.stop();
    assert_eq!(reason(&ran, "openat:create"), ["protected-object"], "{}", ran.stderr);
    let event = ran.violations()[0];
    let opened = if event["action"] == "denied" { "no" } else { "yes" };
    assert_eq!((&event["args"]["path"], &event["effect"]), (&link.into(), &opened.into()), "{event:#}");
    let content = fs::read_to_string(&script).expect("the script");
    assert!(!decides_in_kernel() || (content == code && event["action"] != "missed"), "{event:#}{content}");
    assert_eq!(fs::read_to_string(place.path("b")).expect("its file"), "// changed\n".repeat(2));
}

fn memory() {
    let place = learnt("edit");
    let (script, data, link) = (place.arg("reviewed.php"), place.arg("data"), place.arg("data/link"));
    std::os::unix::fs::symlink("/proc/self/mem", &link).expect("link");
    let procfs = Procfs::mount(place.folder("procfs"));
    let elsewhere = procfs.0.join("self/mem").display().to_string();
    for path in ["/proc/self/mem", &link, &elsewhere] {
        let ran = place.sandbox(&[&script, "edit", &data, "harm", path]);
        assert_eq!(reason(&ran, "openat:write"), ["protected-object"], "{path}: {}", ran.stderr);
    }
}

/// PHP in a root of its own, in a mount namespace of its own, as a pool with `chroot =` or a container has it.
fn other_root() {
    let place = Place::new();
    place.folder("root");
    place.file(
        "a.php",
        // It lives until its root was looked at: of one that has ended nobody knows that it had another.
        "<?php function save($to) { file_put_contents($to, '<?php'); }
        [, $folder, $to] = $argv; @chdir($folder); save($to); sleep(3); echo 'done';",
    );
    let (root, script) = (place.arg("root"), place.arg("a.php"));
    let run = |mode: &str, folder: &str, to: &str| {
        let script = format!(
            "mount -t tmpfs none {root} && mkdir -p {root}/usr {root}/srv/app {root}/tmp {root}/proc &&
            mount --bind /usr {root}/usr && mount --bind /proc {root}/proc && ln -s usr/lib usr/lib64 usr/bin {root} &&
            cp {script} {root}/srv/app && exec chroot {root} /usr/bin/php8.2 -n /srv/app/a.php {folder} {to}",
        );
        let namespace = ["unshare", "--mount", "--propagation", "private", "sh", "-c", &script];
        let session = place.session(mode).arg("--allow-privileged").arg("--force");
        session.run(namespace.map(ToOwned::to_owned).to_vec())
    };
    let learnt = run("--profile", "/tmp", "own");
    assert!(learnt.stdout.contains("done"), "{}{}", learnt.stdout, learnt.stderr);
    assert!(place.profile()["scripts"].to_string().contains("\"/srv/app/a.php\""));
    let twin = run("--sandbox", "/tmp", "own");
    assert_clean(&twin);
    let ways = [
        ("/srv/app", "a.php"),
        ("/", "/srv/app/a.php"),
        ("/srv/app", "../app/./a.php"),
        ("/", "/proc/self/mem"),
    ];
    for (folder, to) in ways {
        let ran = run("--sandbox", folder, to);
        let reasons: Vec<&Value> = ran.violations().into_iter().map(|event| &event["reason"]).collect();
        assert_eq!(reasons, ["protected-object"], "{to}: {}{}", ran.stdout, ran.stderr);
    }
}

fn no_blocked_signals() {
    let place = Place::new();
    place.file("a.php", "<?php echo 'done';");
    let script = format!("grep SigBlk /proc/self/status; exec php {}", place.arg("a.php"));
    let ran = place.session("--profile").run(["sh", "-c", &script]);
    assert!(ran.stdout.contains("SigBlk:\t0000000000000000\n"), "{}{}", ran.stdout, ran.stderr);
}

/// Who is late looks where the paths of a process lead when it is there no more.
fn ended() {
    let place = Place::with("reviewed.php");
    let (script, data, php) = (script_in_open_folder(&place), place.arg("data"), place.own_php());
    let run = |harm: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", &php, &script, "rename", &data]);
        assert!(command.args(harm).status().expect("run PHP").success());
    };
    let learning = place.session("--profile").arg("--php").arg(&php).start();
    run(&[]);
    assert_eq!(learning.stop().status, 0);
    // By a link, which the kernel side does not follow, by a folder that is gone then, and from one.
    std::os::unix::fs::symlink(place.path("open"), place.path("link")).expect("link");
    let given = |path: &str| vec!["harm".to_owned(), place.arg(path)];
    let relative = vec!["harm".to_owned(), "./app".to_owned(), place.arg("open")];
    // Deeper than the kernel side looks.
    let deep = place.path("data").join("d/".repeat(70));
    fs::create_dir_all(&deep).expect("deep folders");
    let up = format!("{}open/app", "../".repeat(71));
    let deep = vec!["harm".to_owned(), up, deep.display().to_string()];
    // Each is refused by the kernel, as there is a file of the new name, so that there is another time.
    for path in [given("link/app"), given("gone/../open/app"), relative, deep] {
        let gone = place.folder("gone");
        let session = place.session("--sandbox").arg("--php").arg(&php).start();
        session.signal(Signal::SIGSTOP);
        run(&path.iter().map(String::as_str).collect::<Vec<_>>());
        let _ = fs::remove_dir(&gone);
        session.signal(Signal::SIGCONT);
        let ran = session.stop();
        assert_eq!(reason(&ran, "rename"), ["protected-object"], "{path:?}: {}", ran.stderr);
        assert_eq!(ran.violations()[0]["action"], "missed", "{path:?}: {}", ran.stderr);
    }
}

/// Of what a granted mount may do: the folder of the tracer's socket may be seen elsewhere, a script's not covered.
fn folder_is_not_covered() {
    let place = Place::new();
    place.folder("app");
    place.file("app/a.php", "<?php @unlink('/nowhere'); echo 'done';");
    for folder in ["empty", "elsewhere"] {
        place.folder(folder);
    }
    let run = |mode: &str, more: &[&str], from: &str, to: &str| {
        let script = format!(
            "mount --rbind {from} {to} && mount --bind /run {} && exec php {}",
            place.arg("elsewhere"),
            place.arg("app/a.php")
        );
        let namespace = ["unshare", "--mount", "--propagation", "private", "sh", "-c", &script];
        let session = place.session(mode).arg("--allow-privileged").args(more.iter().copied());
        session.run(namespace.map(ToOwned::to_owned).to_vec())
    };
    let (empty, elsewhere) = (place.arg("empty"), place.arg("elsewhere"));
    let learnt = run("--profile", &["--force"], &empty, &elsewhere);
    assert_eq!(learnt.status, 0, "{}{}", learnt.stdout, learnt.stderr);
    let twin = run("--sandbox", &[], &empty, &elsewhere);
    assert_clean(&twin);
    assert!(twin.stdout.contains("done"), "{}{}", twin.stdout, twin.stderr);
    let ran = run("--sandbox", &[], &empty, &place.arg("app"));
    assert_eq!(reason(&ran, "mount"), ["protected-object"], "{}", ran.stderr);
    let action = &ran.violations()[0]["action"];
    // A program that does nothing more may have ended before user space is there.
    assert!(action == "killed" || (!decides_in_kernel() && action == "missed"), "{action}: {}", ran.stderr);
}

/// As a container that is started anew is: the tracer gets to know of it while the loader is at work.
fn adopted_before_it_begins() {
    let place = Place::new();
    place.file("a.php", "<?php function own() { touch('/tmp/nothing/there'); } @own(); echo 'done';");
    let (php, library, script) = (place.own_php(), place.library("hold.c"), place.arg("a.php"));
    let hold = place.file("hold", "");
    let start = || {
        let mut command = Command::new(&php);
        command
            .arg(&script)
            .uid(65534)
            .gid(65534)
            .env("LD_PRELOAD", &library)
            .env("HOLD", &hold)
            .stdout(Stdio::piped());
        ends_with_test(&mut command).spawn().expect("run PHP")
    };
    let finish = |running: Child| {
        let _ = fs::remove_file(&hold);
        running.wait_with_output().expect("wait for PHP")
    };
    let learning = place.session("--profile").arg("--php").arg(&php).start();
    assert_eq!(finish(start()).stdout, b"done");
    assert_eq!(learning.stop().status, 0);
    fs::write(&hold, "").expect("write a file");
    let process = start();
    wait_until("it is PHP", || exe_of(process.id() as i32).is_some_and(|exe| exe == Path::new(&php)));
    let session = place.session("--sandbox").arg("--php").arg(&php).start();
    let output = finish(process);
    let ran = session.stop();
    assert_clean(&ran);
    assert!(ran.stderr.contains("1 process(es) watched"), "{}", ran.stderr);
    assert_eq!(output.stdout, b"done", "{:?} {}", output.status, ran.stderr);
}

/// The kernel makes huge pages of a process' memory and small ones again: nobody can read it without waiting meanwhile.
fn memory_moves() {
    let unlink = r#"@unlink("$d/none");"#;
    for more in [&[][..], &["--context", "known-files"], &["--context", "2"]] {
        let (moved, ran) = monitored_while_memory_moves(unlink, more);
        let unknown = ran.violations().len();
        // Without waiting ten and more. Where who moves it is preempted meanwhile, that takes longer than a program can
        // wait.
        assert!(moved > times(1000, 50) && unknown <= 5, "{more:?}: {unknown} of {moved}: {}", ran.stderr);
    }
}

fn memory_moves_at_includes() {
    let taints = || {
        let (moved, ran) = monitored_while_memory_moves(r#"include "$d/../included.php";"#, &[]);
        assert!(moved > times(1000, 50), "{moved}");
        ran.events.into_iter().filter(|e| e["kind"] == "taint").collect::<Vec<_>>()
    };
    // Without waiting each time. One is enough, and who moves it may be preempted meanwhile.
    let mut told = taints();
    for _ in 0..2 {
        if !told.is_empty() {
            told = taints();
        }
    }
    assert!(told.is_empty(), "{told:#?}");
}

/// It would be waited for in vain, on a processor that nobody else can have meanwhile: whoever kills is late.
fn untouched_memory() {
    const STARTS: u64 = 10;
    let place = Place::new();
    place.file("a.php", "<?php echo 'done';");
    let (php, library, script) = (place.own_php(), place.library("untouched.c"), place.arg("a.php"));
    let run = || {
        let mut command = Command::new(&php);
        command.arg(&script).uid(65534).gid(65534).env("LD_PRELOAD", &library);
        let output = ends_with_test(&mut command).output().expect("run PHP");
        assert_eq!(output.stdout, b"done", "{output:?}");
    };
    let learning = place.session("--profile").arg("--php").arg(&php).start();
    run();
    assert_eq!(learning.stop().status, 0);
    let session = place.session("--sandbox").arg("--php").arg(&php).start();
    (0..STARTS).for_each(|_| run());
    let status = Status::of(&session);
    assert_clean(&session.stop());
    let (unreadable, waits) =
        (status.count("arguments not readable"), status.count("waits for memory that could not be read"));
    // Where the kernel decides, it did not need to read them.
    assert!(decides_in_kernel() || unreadable >= 4 * STARTS, "{}", status.text());
    // Where user space decides, what it is told for the first time is waited for.
    assert!(waits <= STARTS / 2, "{}", status.text());
}

/// Does `work` over and over while the kernel moves the memory of who does it. How often it was moved.
fn monitored_while_memory_moves(work: &str, more: &[&str]) -> (usize, Ran) {
    let place = Place::new();
    place.file("included.php", "<?php $included = 1;");
    place.file(
        "a.php",
        format!(
            r#"<?php function own($d) {{ while (file_exists("$d/go")) for ($n = 0; $n < 1000; $n++) {{ {work} }} }}
            file_put_contents("$argv[1]/pid", getmypid()); own($argv[1]); echo 'done';"#
        ),
    );
    let (data, pid) = (place.folder("data"), place.path("data/pid"));
    let command = || php(&[&place.arg("a.php"), &data.display().to_string()]);
    let run = |session: Session, meanwhile: &dyn Fn()| {
        place.file("data/go", "");
        std::thread::scope(|scope| {
            let ran = scope.spawn(|| session.run(command()));
            let until = Instant::now() + Duration::from_secs(60);
            while !ran.is_finished() && !pid.exists() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
            }
            std::thread::sleep(Duration::from_millis(300));
            meanwhile();
            let _ = fs::remove_file(data.join("go"));
            let _ = fs::remove_file(&pid);
            ran.join().expect("it ran")
        })
    };
    let learnt = run(place.ordinary("--profile").args(more.iter().copied()), &|| {});
    assert_eq!(learnt.status, 0, "{}", learnt.stderr);
    let moved = AtomicUsize::new(0);
    let ran = run(place.ordinary("--monitor").args(more.iter().copied()), &|| {
        let php = fs::read_to_string(&pid).expect("read").parse().expect("a number");
        moved.store((0..times(1000, 50)).map(|_| move_memory(php)).sum(), Relaxed);
    });
    assert_eq!(ran.stdout, "done", "{}", ran.stderr);
    (moved.into_inner(), ran)
}

/// Makes small pages of huge ones, and huge ones again. How often that was done.
fn move_memory(pid: i32) -> usize {
    const HUGE: usize = 2 << 20;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    // SAFETY: takes a number and flags.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if process < 0 {
        return 0; // it was killed
    }
    // SAFETY: a new descriptor of nobody else's.
    let process = unsafe { OwnedFd::from_raw_fd(process as i32) };
    let mut done = 0;
    for line in maps.lines().filter(|line| line.contains(" rw-p ") && line.split_whitespace().count() == 5) {
        let (from, rest) = line.split_once('-').expect("a range");
        let bound = |text: &str| usize::from_str_radix(text, 16).expect("an address");
        let (from, to) = (bound(from).next_multiple_of(HUGE), bound(rest.split(' ').next().expect("an end")));
        if to < from + HUGE {
            continue;
        }
        let parts = [(from + 4096, HUGE / 2, libc::MADV_COLD), (from, HUGE, libc::MADV_COLLAPSE)];
        for (start, len, advice) in parts {
            let range = libc::iovec { iov_base: start as *mut _, iov_len: len };
            // SAFETY: the range is another process', and no advice of these two changes what is in it.
            let failed = unsafe {
                libc::syscall(libc::SYS_process_madvise, process.as_raw_fd(), &raw const range, 1, advice, 0)
            };
            done += usize::from(failed >= 0);
        }
    }
    done
}

fn once_per_process() {
    let place = learnt("order");
    let other_order = harm(&place, "order", &[]);
    assert_clean(&other_order);
    assert_eq!(other_order.status, 0, "{}{}", other_order.stdout, other_order.stderr);
}

fn stopped_reader() {
    let place = learnt("forks");
    place.victims(VICTIMS);
    let pipe = place.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let reader = fs::File::options().read(true).write(true).open(&pipe).expect("open it");
    let (script, data) = (place.arg("reviewed.php"), place.arg("data"));
    let session = place.ordinary("--monitor").events_to(&pipe);
    let ran = session.run(php(&[&script, "forks", &data, "harm"]));
    assert_eq!((ran.status, place.left()), (0, 0), "{}", ran.stderr);
    let counted = format!("monitor: {VICTIMS} violations, {VICTIMS} let through");
    assert!(ran.stderr.contains(&counted), "{}", ran.stderr);
    assert!(ran.stderr.contains("events that were not written: "), "{}", ran.stderr);
    drop(reader);
}

fn few_descriptors() {
    let place = learnt("forks");
    place.victims(VICTIMS);
    let said = under_shell(&place, &place.arg("events.jsonl"), &format!("forks {} harm", place.arg("data")));
    assert!(place.left() > VICTIMS / 2, "{} of {VICTIMS} are left: {said}", place.left());
    assert!(said.contains("killed unlink"), "{said}");
}

fn ends_early() {
    let place = learnt("sleep");
    let started = Instant::now();
    let (script, data) = (place.arg("reviewed.php"), place.arg("data"));
    let session = place.ordinary("--sandbox").arg("--duration").arg("1");
    let ran = session.run(php(&[&script, "sleep", &data, "harm"]));
    assert!(started.elapsed() < Duration::from_secs(15), "COMMAND went on");
    assert!(ran.status > 128, "{}: {}", ran.status, ran.stderr);
    assert!(!ran.stdout.contains("done"));
}

fn odd_names() {
    let place = Place::new();
    place.folder("odd\u{1}name");
    place.file(
        "odd\u{1}name/a.php",
        "<?php touch($argv[1]); for ($i = 0; $i < 5; $i++) usleep(100000); echo 'done';",
    );
    let (script, own) = (place.arg("odd\u{1}name/a.php"), place.arg("data/own"));
    place.learn(&[&script, &own]);
    let ran = place.sandbox(&[&script, &own]);
    assert_clean(&ran);
    assert!(ran.stdout.contains("done"), "{}", ran.stderr);
}

fn learnt_calls() {
    let place = Place::with("reviewed.php");
    let (script, data) = (place.arg("reviewed.php"), place.arg("data"));
    let learning = place.ordinary("--profile").arg("--syscalls").arg("unlink,openat:create");
    assert_eq!(learning.run(php(&[&script, "remove", &data])).status, 0);
    assert_clean(&place.sandbox(&[&script, "remove", &data]));
    let more =
        place.ordinary("--sandbox").arg("--syscalls").arg("relevant").run(php(&[&script, "remove", &data]));
    assert_eq!(more.status, 125, "{}", more.stderr);
    assert!(more.stderr.contains("Hint:"), "{}", more.stderr);
}
