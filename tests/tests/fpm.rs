//! Stock php-fpm: learnt, then enforced, while it goes on serving.
//!
//! Attacks are checked by their effect: what of two thousand files is left, what bytes arrived. A strategy that
//! kills from user space lets some calls through; none may run to its end.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use e2e::fpm::{Client, Fpm, Request, Setup, age, exists, send, wait_until};
use e2e::session::{Ran, Running, Session, decides_in_kernel, events_so_far, exported, php_profile};
use e2e::suite::test;
use nix::sys::signal::Signal;
use serde_json::Value;

const MANY: usize = 2000;
const WWW_DATA: u64 = 33;

/// The violations that were told so far.
fn violations(fpm: &Fpm) -> Vec<Value> {
    events_so_far(&fpm.base().join("events.jsonl")).into_iter().filter(|e| e["kind"] == "violation").collect()
}

fn no_violation(ran: &Ran) {
    assert!(ran.violations().is_empty(), "{:#?}\n{}", ran.violations().first(), ran.stderr);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
}

fn nobody_killed(ran: &Ran) {
    let killed: Vec<_> = ran.violations().into_iter().filter(|v| v["action"] != "logged").collect();
    assert!(killed.is_empty(), "{:#?}\n{}", killed.first(), ran.stderr);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |all, b| format!("{all}%{b:02x}"))
}

/// A mail server of the test's own, which counts what arrives.
struct MailServer {
    address: String,
    bytes: Arc<AtomicUsize>,
}

impl MailServer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = format!("tcp://{}", listener.local_addr().expect("its address"));
        let bytes = Arc::new(AtomicUsize::new(0));
        let total = bytes.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut text = Vec::new();
                let _ = stream.read_to_end(&mut text);
                total.fetch_add(text.len(), Ordering::Relaxed);
            }
        });
        Self { address, bytes }
    }
}

/// What the application does all day.
fn day(fpm: &Fpm, mail: &MailServer, rounds: usize) {
    for round in 0..rounds {
        fpm.ok(&format!("do=page&name=n{round}"));
        fpm.must(&Request::get("do=session").cookie(&format!("PHPSESSID=abcdefghij{}", round % 3)));
        fpm.must(&Request::upload("do=upload", &format!("f{round}.txt"), "some text"));
        let file = fpm.data().join(format!("uploads/f{round}.txt"));
        assert_eq!(fpm.ok(&format!("do=shell&file={}", file.display())), "9");
        fpm.ok(&format!("do=socket&to={}", encoded(&mail.address)));
    }
}

/// The twins of the attacks: the same, by code that is learnt. Each must have its effect.
fn twins(fpm: &Fpm) {
    for name in ["static", "closure", "deep", "eval", "destructor", "name"] {
        let folder = fpm.make_targets("twin", 3);
        fpm.ok(&format!("do=good-{name}&in=twin"));
        assert_eq!(left(&folder), 0, "{name}");
    }
    let folder = fpm.make_targets("twin", 3);
    fpm.ok("do=good-shutdown&in=twin");
    assert!(names(&folder).iter().all(|n| n.contains(".moved")), "{:?}", names(&folder));
    let clean = fpm.app().join("templates/clean.php");
    fpm.ok(&format!("do=include&in=twin&file={}", clean.display()));
    assert_eq!(left(&folder), 0);
    fpm.make_targets("twin", 3);
    assert_eq!(fpm.ok("do=load&in=twin&mode=r"), "27");
    fs::remove_dir_all(folder).expect("remove the twins' files");
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

/// How many files are still there with what they held.
fn left(folder: &Path) -> usize {
    names(folder).iter().filter(|n| fs::metadata(folder.join(n)).is_ok_and(|m| m.len() > 0)).count()
}

/// A profile of everything that the application does, learnt from the first instruction on.
fn learn(fpm: &mut Fpm, mail: &MailServer, options: &[&str]) {
    let begun = fpm.session("--profile").args(options.iter().copied());
    let running = begun.start();
    fpm.start();
    day(fpm, mail, 3);
    twins(fpm);
    fpm.ok("do=slow&us=1000");
    fpm.ok("do=plugin");
    let ran = running.stop();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
}

fn learnt(setup: Setup) -> (Fpm, MailServer) {
    let (mut fpm, mail) = (Fpm::prepare(setup), MailServer::start());
    learn(&mut fpm, &mail, &[]);
    (fpm, mail)
}

fn a_running_pool_is_learnt_and_then_does_nothing_wrong() {
    let (mut fpm, mail) = (Fpm::running(Setup::workers(2)), MailServer::start());
    let running = fpm.session("--profile").start();
    fpm.reload(); // what the opcode cache holds already would not be opened again
    day(&fpm, &mail, 40);
    no_violation(&running.stop());
    let running = fpm.session("--sandbox").start();
    day(&fpm, &mail, 200);
    no_violation(&running.stop());
    for _ in 0..10 {
        let running = fpm.session("--sandbox").start();
        day(&fpm, &mail, 5);
        no_violation(&running.stop());
    }
    assert!(fpm.lives());
}

fn a_running_pool_is_found_without_being_named() {
    let (fpm, mail) = (Fpm::running(Setup::workers(2)), MailServer::start());
    // Narrowed to what the test started: the image is found, and so are the workers below the master.
    let found = |mode: &str| Session::new(fpm.base(), mode).arg("--pid").arg(fpm.master().to_string());
    let running = found("--profile").start();
    fpm.reload();
    day(&fpm, &mail, 5);
    running.has_said(&fpm.binary().display().to_string());
    let ran = running.stop();
    let sites = ran.events.iter().filter(|e| e["site"]["class"] == "Good").count();
    assert!(sites > 0, "PHP functions of the workers are told: {}", ran.stderr);
    let running = found("--sandbox").start();
    day(&fpm, &mail, 20);
    no_violation(&running.stop());
}

fn a_pool_that_starts_after_the_tracer_is_learnt_and_enforced() {
    let (mut fpm, mail) = learnt(Setup::workers(2));
    fpm.stop();
    let running = fpm.session("--sandbox").start();
    fpm.start();
    day(&fpm, &mail, 40);
    twins(&fpm);
    fpm.stop();
    no_violation(&running.stop());
}

/// Requests of somebody else, all of which must be answered.
struct Traffic {
    stop: Arc<AtomicBool>,
    served: JoinHandle<usize>,
}

impl Traffic {
    fn start(client: Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let served = std::thread::spawn(move || {
            let mut served = 0;
            while !stopped.load(Ordering::Relaxed) {
                let answer =
                    client.request(&Request::get("do=page&name=other")).expect("the other worker serves");
                assert_eq!(answer.status, 200);
                served += 1;
                std::thread::sleep(Duration::from_millis(2)); // a visitor, not a load test
            }
            served
        });
        Self { stop, served }
    }

    fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.served.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// What an event must say.
struct Told {
    operation: &'static str,
    kind: &'static str,
    /// Below the application, and what names the line in it, and the how-manieth of these.
    place: Option<(&'static str, &'static str, usize)>,
    class: Option<&'static str>,
    function: Option<&'static str>,
    sink: Option<&'static str>,
}

impl Told {
    fn check(&self, fpm: &Fpm, event: &Value) -> Result<(), String> {
        let site = &event["site"];
        let expect = |what: &str, is: &Value, should: Value| {
            if *is == should { Ok(()) } else { Err(format!("{what} is {is}, not {should}: {event:#}")) }
        };
        let operation = event["operation"].as_str().unwrap_or_default();
        if !operation.starts_with(self.operation) {
            return Err(format!("operation is {operation}, not {}…: {event:#}", self.operation));
        }
        expect("kind", &site["kind"], self.kind.into())?;
        expect("class", &site["class"], self.class.into())?;
        expect("function", &site["function"], self.function.into())?;
        expect("sink", &event["sink"], self.sink.into())?;
        expect("mode", &event["mode"], "sandbox".into())?;
        expect("uid", &event["uid"], WWW_DATA.into())?;
        let Some((file, needle, nth)) = self.place else { return expect("file", &site["file"], Value::Null) };
        let path = if file.starts_with("uploads/") { fpm.data().join(file) } else { fpm.app().join(file) };
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let line = text.lines().enumerate().filter(|(_, l)| l.contains(needle)).nth(nth).map(|(n, _)| n + 1);
        let line = line.ok_or_else(|| format!("{file} has no {needle}"))?;
        let path = path.display();
        if self.sink == Some("unlink") && needle.contains("eval(") {
            expect("file", &site["file"], format!("{path}({line}) : eval()'d code").into())?;
            return expect("line", &site["line"], 1.into());
        }
        expect("file", &site["file"], path.to_string().into())?;
        expect("line", &site["line"], line.into())
    }
}

/// An attack that ends the worker.
struct Attack {
    name: &'static str,
    query: String,
    told: Told,
}

const UNLINK: &str = "unlink($target)";

fn unlink(
    name: &'static str,
    query: &str,
    kind: &'static str,
    place: Option<(&'static str, &'static str, usize)>,
    class: Option<&'static str>,
    function: Option<&'static str>,
) -> Attack {
    let told = Told { operation: "unlink", kind, place, class, function, sink: Some("unlink") };
    Attack { name, query: query.into(), told }
}

fn attacks(fpm: &Fpm, mail: &MailServer) -> Vec<Attack> {
    let upload = format!("do=include&in=a&file={}/uploads/evil.php", fpm.data().display());
    let command = format!("echo gone >> {}/a/00000", fpm.data().display());
    let bad = Some("Bad");
    let other = |name, query: String, operation, place, function, sink, class| Attack {
        name,
        query,
        told: Told { operation, kind: "function", place, class, function: Some(function), sink: Some(sink) },
    };
    vec![
        unlink(
            "static method",
            "do=bad-static&in=a",
            "function",
            Some(("src/Bad.php", UNLINK, 0)),
            bad,
            Some("drop"),
        ),
        unlink(
            "closure",
            "do=bad-closure&in=a",
            "closure",
            Some(("src/closures_bad.php", UNLINK, 0)),
            None,
            None,
        ),
        unlink(
            "200 frames deep",
            "do=bad-deep&in=a",
            "function",
            Some(("src/Bad.php", UNLINK, 1)),
            bad,
            Some("deep"),
        ),
        unlink("included upload", &upload, "main", Some(("uploads/evil.php", UNLINK, 0)), None, None),
        unlink("eval", "do=bad-eval&in=a", "main", Some(("src/Bad.php", "return eval(", 0)), None, None),
        unlink(
            "destructor at shutdown",
            "do=bad-destructor&in=a",
            "function",
            Some(("src/Bad/Closer.php", UNLINK, 0)),
            Some("Bad\\Closer"),
            Some("__destruct"),
        ),
        unlink("shutdown function", "do=bad-shutdown&in=a", "internal", None, None, Some("unlink")),
        unlink(
            "namespaced function with an allowed short name",
            "do=bad-name&in=a",
            "function",
            Some(("src/names.php", UNLINK, 1)),
            None,
            Some("Evil\\tidy"),
        ),
        other(
            "writing where reading was learnt",
            "do=load&in=a&mode=w".into(),
            "openat:",
            Some(("src/Good.php", "fopen(", 0)),
            "load",
            "fopen",
            Some("Good"),
        ),
        other(
            "a shell of its own",
            format!("do=bad-shell&in=a&command={}", encoded(&command)),
            "", // whatever the C library forks with
            Some(("src/Bad.php", "shell_exec(", 0)),
            "shell",
            "shell_exec",
            bad,
        ),
        other(
            "a connection of its own",
            format!("do=bad-socket&to={}", encoded(&mail.address)),
            "socket:inet",
            Some(("src/Bad.php", "stream_socket_client(", 0)),
            "send",
            "stream_socket_client",
            bad,
        ),
    ]
}

fn in_a_worker_that_served_100_requests_every_attack_is_killed_and_told() {
    let (mut fpm, mail) = learnt(Setup::workers(2));
    let running = fpm.session("--sandbox").start();
    fpm.must(&Request::upload(
        "do=upload",
        "evil.php",
        &format!("<?php\nforeach ($targets as $target) {{ {UNLINK}; }}"),
    ));
    day(&fpm, &mail, 2);
    twins(&fpm);
    let traffic = Traffic::start(fpm.client());
    let mut failures = Vec::new();
    let only = std::env::var("E2E_ATTACK").unwrap_or_default();
    let mut served = HashMap::new();
    for attack in attacks(&fpm, &mail).into_iter().filter(|a| a.name.contains(&only)) {
        if let Err(failure) = one_attack(&fpm, &mail, &attack, &mut served) {
            failures.push(format!("{}: {failure}", attack.name));
        }
    }
    if let Err(failure) = injected_command(&fpm) {
        failures.push(format!("command injection: {failure}"));
    }
    twins(&fpm);
    assert!(traffic.stop() > 100, "the other worker served all the while");
    assert!(fpm.lives());
    let ran = running.stop();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(failures.is_empty(), "{}\n{}", failures.join("\n\n"), ran.stderr);
}

fn one_attack(
    fpm: &Fpm,
    mail: &MailServer,
    attack: &Attack,
    served: &mut HashMap<i32, usize>,
) -> Result<(), String> {
    fpm.warm_up(served, 100);
    let folder = fpm.make_targets("a", MANY);
    let (before, sent) = (violations(fpm).len(), mail.bytes.load(Ordering::Relaxed));
    if let Ok(answer) = fpm.get(&attack.query) {
        return Err(format!("the worker answered: {answer:?}"));
    }
    // A child of the worker may be told first.
    let by_worker = |event: &Value| event["ppid"] == fpm.master();
    wait_until("a violation is told", || violations(fpm)[before..].iter().any(by_worker));
    let all = violations(fpm);
    let new = &all[before..];
    let Some(first) = new.iter().find(|e| by_worker(e)) else { return Err("nothing was told".into()) };
    let worker = first["pid"].as_i64().unwrap_or(0) as i32;
    wait_until("the worker is gone", || !exists(worker));
    attack.told.check(fpm, first)?;
    if first["action"] != "killed" {
        return Err(format!("not killed: {first:#}"));
    }
    if served.get(&worker).copied().unwrap_or(0) < 100 {
        return Err(format!("worker {worker} had served too little: {served:?}"));
    }
    let gone = MANY - left(&folder);
    if gone == MANY {
        return Err("every file is gone".into());
    }
    let arrived = mail.bytes.load(Ordering::Relaxed) - sent;
    if arrived >= 2000 * "secret\n".len() {
        return Err("all bytes arrived".into());
    }
    if attack.query.starts_with("do=bad-shell") {
        let text = fs::read_to_string(folder.join("00000")).unwrap_or_default();
        return if text.matches("gone").count() < 500 { Ok(()) } else { Err("every command ran".into()) };
    }
    // What was let through is told by its effect; the last of it after the first was.
    let told = |effect: &str| violations(fpm)[before..].iter().filter(|e| e["effect"] == effect).count();
    if !attack.query.starts_with("do=bad-socket") {
        wait_until("all that was let through is told", || told("yes") + told("not-seen") >= gone);
        if told("yes") > gone {
            return Err(format!("{gone} files are gone, but {} are told", told("yes")));
        }
    }
    fs::remove_dir_all(folder).map_err(|e| e.to_string())
}

/// A command injection into a function that may start a shell: the grandchild dies, the worker goes on.
fn injected_command(fpm: &Fpm) -> Result<(), String> {
    let folder = fpm.make_targets("a", MANY);
    let before = violations(fpm).len();
    let command = format!("/dev/null; rm -rf {}", folder.display());
    fpm.ok(&format!("do=shell&file={}", encoded(&command)));
    wait_until("a violation is told", || violations(fpm).len() > before);
    let event = &violations(fpm)[before];
    let origin = &event["origin"][0];
    let right = event["reason"] == "program-not-in-profile"
        && event["site"].is_null()
        && event["exe"] == "/usr/bin/rm"
        && origin["site"]["class"] == "Good"
        && origin["site"]["function"] == "size"
        && origin["sink"] == "shell_exec"
        && event["action"] == "killed";
    if !right {
        return Err(format!("{event:#}"));
    }
    if left(&folder) == 0 { Err("every file is gone".into()) } else { Ok(()) }
}

fn reload_reopen_and_respawn_under_sandbox() {
    let (mut fpm, mail) = learnt(Setup::workers(2));
    let running = fpm.session("--sandbox").start();
    let master = fpm.master();
    for _ in 0..3 {
        fpm.reload();
        day(&fpm, &mail, 3);
    }
    fs::rename(fpm.log(), fpm.log().with_extension("1")).expect("move the log");
    fpm.signal(Signal::SIGUSR1);
    wait_until("the log is reopened", || fpm.log().exists());
    day(&fpm, &mail, 3);
    for worker in fpm.workers() {
        send(worker, Signal::SIGKILL);
        wait_until("another worker takes its place", || {
            fpm.workers().iter().all(|w| *w != worker) && fpm.workers().len() == 2
        });
    }
    day(&fpm, &mail, 3);
    assert_eq!(fpm.master(), master);
    assert!(fpm.lives());
    no_violation(&running.stop());
    assert!(fpm.lives());
}

fn a_graceful_reload_under_sandbox_lets_requests_finish() {
    reloads_gracefully(Setup::workers(2));
}

/// The master names its workers by numbers that mean others, or nobody, to the tracer.
fn a_graceful_reload_in_a_pid_namespace_lets_requests_finish() {
    reloads_gracefully(Setup::workers(2).contained(r#"exec "$0" "$@""#));
}

/// The signal comes while PHP code runs, and what its handler does is not that code's.
fn reloads_gracefully(setup: Setup) {
    let setup = Setup { global: "process_control_timeout = 10s".into(), ..setup };
    let (mut fpm, mail) = learnt(setup);
    let running = fpm.session("--sandbox").start();
    for _ in 0..3 {
        let (client, before) = (fpm.client(), fpm.workers());
        let slow = std::thread::spawn(move || client.request(&Request::get("do=slow&us=500000")));
        wait_until("the request is being served", || before.iter().any(|w| serves(*w)));
        fpm.reload();
        assert_eq!(slow.join().expect("a client").expect("an answer").text(), "slept");
    }
    day(&fpm, &mail, 3);
    assert!(fpm.lives());
    no_violation(&running.stop());
}

/// Whether it sleeps in PHP code instead of waiting for a request.
fn serves(worker: i32) -> bool {
    fs::read_to_string(format!("/proc/{worker}/wchan")).is_ok_and(|at| at.contains("nanosleep"))
}

/// The pool scales as `pm` says; the learning run had one quiet worker.
fn scales(pm: &str, at_rest: usize) {
    let (mut fpm, mail) = learnt(Setup::pm(pm));
    let running = fpm.session("--sandbox").start();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let client = fpm.client();
            std::thread::spawn(move || {
                client.request(&Request::get("do=slow&us=4000000")).expect("an answer")
            })
        })
        .collect();
    wait_until("more workers are there", || fpm.workers().len() >= at_rest + 2);
    for client in clients {
        assert_eq!(client.join().expect("a client").text(), "slept");
    }
    wait_until("spare workers are gone", || fpm.workers().len() <= at_rest + 1);
    day(&fpm, &mail, 3);
    assert!(fpm.lives());
    no_violation(&running.stop());
}

fn scaling_on_demand_under_sandbox() {
    scales("pm = ondemand\npm.max_children = 5\npm.process_idle_timeout = 1s", 0);
}

fn dynamic_scaling_under_sandbox() {
    scales(
        "pm = dynamic\npm.max_children = 5\npm.start_servers = 1\npm.min_spare_servers = 1\npm.max_spare_servers = 1",
        1,
    );
}

fn workers_that_end_after_some_requests_are_replaced_under_sandbox() {
    let (mut fpm, mail) = learnt(Setup::pm("pm = static\npm.max_children = 2\npm.max_requests = 7"));
    let running = fpm.session("--sandbox").start();
    let before = fpm.workers();
    day(&fpm, &mail, 10);
    assert!(fpm.workers().iter().all(|w| !before.contains(w)));
    assert!(fpm.lives());
    no_violation(&running.stop());
}

/// Puts a new file at the executable's path, as a package manager does.
fn upgrade(fpm: &Fpm) {
    let beside = fpm.base().join("php-fpm.new");
    fs::copy(fpm.binary(), &beside).expect("copy");
    fs::rename(beside, fpm.binary()).expect("rename");
}

fn an_upgraded_executable_is_watched_from_its_first_instruction() {
    let (mut fpm, mail) = learnt(Setup::workers(2));
    let mut running = fpm.session("--sandbox").start();
    upgrade(&fpm);
    running.wait_for("watched from its first instruction");
    day(&fpm, &mail, 2); // of the old file still
    fpm.stop();
    fpm.start();
    day(&fpm, &mail, 10);
    assert_eq!(violations(&fpm).len(), 0);
    let folder = fpm.make_targets("a", MANY);
    fpm.get("do=bad-static&in=a").expect_err("the worker is killed");
    assert!(left(&folder) > 0);
    let ran = running.stop();
    let first = ran.violations()[0].clone();
    assert_eq!(
        (&first["site"]["function"], &first["action"]),
        (&"drop".into(), &"killed".into()),
        "{first:#}"
    );
}

/// A session about what a path leads to.
fn session_of(fpm: &Fpm, image: &str, mode: &str) -> Session {
    Session::new(fpm.base(), mode).arg("--php").arg(image)
}

/// Learns and enforces what a running pool does, by what its master executes.
fn is_learnt_and_enforced(fpm: &Fpm, mail: &MailServer, options: &[&str]) -> Running {
    let image = format!("/proc/{}/exe", fpm.master());
    let session = |mode: &str| session_of(fpm, &image, mode).args(options.iter().copied());
    let learning = session("--profile").start();
    fpm.reload(); // what the opcode cache holds already would not be opened again
    day(fpm, mail, 3);
    twins(fpm);
    no_violation(&learning.stop());
    let running = session("--sandbox").start();
    day(fpm, mail, 5);
    assert_eq!(violations(fpm).len(), 0);
    drops_are_killed(fpm);
    running
}

fn drops_are_killed(fpm: &Fpm) {
    let folder = fpm.make_targets("a", MANY);
    fpm.get("do=bad-static&in=a").expect_err("the worker is killed");
    assert!(left(&folder) > 0);
}

fn a_pool_whose_executable_was_replaced_is_enforced() {
    let (mut fpm, mail) = learnt(Setup::workers(2));
    upgrade(&fpm);
    let mut running = session_of(&fpm, &format!("/proc/{}/exe", fpm.master()), "--sandbox").start();
    day(&fpm, &mail, 3);
    drops_are_killed(&fpm);
    // The file that is there by now is known, too.
    fpm.stop();
    fpm.start();
    day(&fpm, &mail, 3);
    drops_are_killed(&fpm);
    // And one that comes later.
    upgrade(&fpm);
    running.wait_for("watched from its first instruction");
    fpm.stop();
    fpm.start();
    day(&fpm, &mail, 3);
    drops_are_killed(&fpm);
    let ran = running.stop();
    assert!(ran.violations().iter().all(|v| v["site"]["function"] == "drop"), "{:#?}", ran.violations());
}

/// As in a container: the executable is in a file system that only its own processes see. A shell does `before` first.
fn in_a_container(before: &str) -> Fpm {
    let first = r#"at=$(dirname "$0")/image && mkdir -p $at && mount -t tmpfs none $at"#;
    let line = format!(r#"{before} {first} && cp "$0" $at/php-fpm && exec $at/php-fpm "$@""#);
    Fpm::prepare(Setup::workers(2).contained(&line))
}

fn only_drops(ran: &Ran) {
    assert!(ran.violations().iter().all(|v| v["site"]["function"] == "drop"), "{:#?}", ran.violations());
}

fn a_pool_at_a_path_that_only_its_container_has_is_learnt_and_enforced() {
    let (mut fpm, mail) = (in_a_container(""), MailServer::start());
    fpm.start();
    let path = fpm.base().join("image/php-fpm");
    assert!(!path.exists());
    let mut running = is_learnt_and_enforced(&fpm, &mail, &[]);
    // It has another file system then, and so another executable, which --php does not name.
    fpm.stop();
    fpm.start();
    running.wait_for("was started in a container, and is not watched");
    only_drops(&running.stop());
    let inside = format!("/proc/{}/root{}", fpm.master(), path.display());
    let ran = session_of(&fpm, &inside, "--monitor").start().stop();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
}

fn a_container_of_a_cgroup_that_is_started_anew_is_watched() {
    let name = format!("e2e-fpm-{}", std::process::id());
    let cgroup = Cgroup::make(&name);
    let mut fpm = in_a_container(&format!("echo 0 > {}/cgroup.procs &&", cgroup.0.display()));
    let mail = MailServer::start();
    fpm.start();
    let mut running = is_learnt_and_enforced(&fpm, &mail, &["--cgroup", &format!("/{name}")]);
    fpm.stop();
    fpm.start();
    running.wait_for("was started in a container, and is watched");
    day(&fpm, &mail, 3);
    drops_are_killed(&fpm);
    only_drops(&running.stop());
    fpm.stop();
}

/// The tracer cannot look at a file that is executed at once; it is no stranger even so.
fn upgraded_while_the_tracer_sleeps(mode: &str) -> (Fpm, MailServer, Running) {
    let (mut fpm, mail) = learnt(Setup::workers(2));
    let running = fpm.session(mode).start();
    running.signal(Signal::SIGSTOP);
    upgrade(&fpm);
    fpm.stop();
    fpm.spawn();
    (fpm, mail, running)
}

fn an_upgraded_executable_is_unknown_until_it_was_looked_at() {
    let (fpm, mail, mut running) = upgraded_while_the_tracer_sleeps("--monitor");
    fpm.wait_ready();
    fpm.make_targets("a", 10);
    fpm.ok("do=bad-static&in=a");
    running.signal(Signal::SIGCONT);
    running.wait_for("watched from its first instruction");
    let told = |v: &Value| v["pid"] == fpm.master() && v["reason"] == "unknown-site";
    wait_until("its first calls are told", || violations(&fpm).iter().any(told));
    let first = violations(&fpm).into_iter().find(told).expect("one");
    assert_eq!(first["cause"], "not-introspected", "{first:#}");
    // From here on its sites are known, also of processes that were there before.
    let workers = fpm.workers();
    let before = violations(&fpm).len();
    day(&fpm, &mail, 5);
    fpm.make_targets("a", 10);
    fpm.ok("do=bad-static&in=a");
    let ran = running.stop();
    // Nobody knows in which phase a worker is that was adopted in the middle of its start, until its next request.
    let is_starting = |v: &Value| v["site"]["kind"] == "engine" && v["site"]["function"] == "unknown";
    let later: Vec<_> = ran
        .violations()
        .into_iter()
        .skip(before)
        .filter(|v| v["reason"] != "unknown-site" && !is_starting(v))
        .collect();
    assert!(!later.is_empty() && later.iter().all(|v| v["site"]["function"] == "drop"), "{later:#?}");
    assert!(later.iter().all(|v| workers.iter().any(|w| v["pid"] == *w)));
}

fn an_upgraded_executable_that_was_not_looked_at_is_blocked() {
    let (mut fpm, _, mut running) = upgraded_while_the_tracer_sleeps("--sandbox");
    // Else it may be looked at while it is loaded: it is the master then, and its calls are only told.
    wait_until("it has begun", || !fpm.lives() || fpm.socket().exists());
    running.signal(Signal::SIGCONT);
    running.wait_for("watched from its first instruction");
    wait_until("it is killed", || !fpm.lives());
    let ran = running.stop();
    let all = ran.violations();
    let killed = all.iter().find(|v| v["action"] == "killed").expect("a kill");
    assert_eq!(killed["reason"], "unknown-site", "{killed:#}");
}

fn another_release_folder_is_no_violation() {
    let setup = Setup { app: "releases/1".into(), ..Setup::workers(2) };
    let (mut fpm, mail) = (Fpm::prepare(setup), MailServer::start());
    let root = format!("app={}/releases/*", fpm.base().display());
    learn(&mut fpm, &mail, &["--root", &root]);
    fpm.deploy("releases/2");
    let running = fpm.session("--sandbox").start();
    day(&fpm, &mail, 20);
    twins(&fpm);
    fpm.ok("do=slow&us=1");
    assert_eq!(violations(&fpm), Vec::<Value>::new());
    // The root is a folder of releases, and not any folder.
    fpm.make_targets("a", MANY);
    fpm.deploy("elsewhere/3");
    // Slow enough for a kill that comes after the call.
    fpm.get("do=slow&us=300000").expect_err("the same code elsewhere is not in the profile");
    running.stop();
}

fn a_plugin_is_monitored_allowed_and_enforced() {
    let (mut fpm, mail) = learnt(Setup::workers(2));
    let plugin = fpm.app().join("plugins/hello.php");
    fs::write(
        &plugin,
        "<?php\nfunction plugin_run(): string {\n    file_put_contents(DATA . '/plugin.txt', 'x');\n    \
         return trim(shell_exec('id -u'));\n}\n",
    )
    .expect("write the plugin");
    age(&plugin);
    let running = fpm.session("--monitor").start();
    for _ in 0..5 {
        assert_eq!(fpm.ok("do=plugin"), WWW_DATA.to_string());
    }
    let ran = running.stop();
    assert!(!ran.violations().is_empty());
    assert!(
        ran.violations().iter().all(|v| v["action"] == "logged" && !v["grant"].is_null()),
        "{:#?}",
        ran.violations()
    );
    let allow = Command::new(php_profile())
        .arg("allow")
        .arg(fpm.base().join("p.profile"))
        .arg("--from")
        .arg(fpm.base().join("events.jsonl"))
        .output()
        .expect("run php-profile");
    assert!(allow.status.success(), "{}", String::from_utf8_lossy(&allow.stderr));
    let running = fpm.session("--sandbox").start();
    fpm.reload();
    for _ in 0..20 {
        assert_eq!(fpm.ok("do=plugin"), WWW_DATA.to_string());
    }
    day(&fpm, &mail, 3);
    assert!(fpm.lives());
    no_violation(&running.stop());
}

fn eight_clients_at_once_lose_no_event() {
    let (fpm, _mail) = learnt(Setup::workers(4));
    let running = fpm.session("--monitor").start();
    let clients: Vec<_> = (0..8)
        .map(|n| {
            let folder = fpm.make_targets(&format!("p{n}"), 200);
            let client = fpm.client();
            std::thread::spawn(move || {
                client.request(&Request::get(&format!("do=bad-static&in=p{n}"))).expect("an answer");
                left(&folder)
            })
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().expect("a client"), 0);
    }
    let ran = running.stop();
    let unlinks: Vec<_> = ran.violations().into_iter().filter(|v| v["operation"] == "unlink").collect();
    assert_eq!(unlinks.len(), 8 * 200);
    assert!(
        unlinks.iter().all(|v| v["effect"] == "yes" && v["site"]["function"] == "drop"),
        "{}",
        ran.stderr
    );
    let paths: std::collections::HashSet<_> = unlinks.iter().map(|v| v["args"]["path"].to_string()).collect();
    assert_eq!(paths.len(), 8 * 200);
    assert!(ran.events.iter().all(|e| e["kind"] != "lost"));
}

/// Records pile up while the tracer sleeps: what is lost is counted, told, and makes a profile incomplete.
fn lost_events_are_counted_and_the_profile_is_incomplete() {
    let (fpm, _mail) = learnt(Setup::workers(4));
    let running = fpm.session("--monitor").start();
    running.signal(Signal::SIGSTOP);
    for n in 0..6 {
        fpm.make_targets("a", 4000);
        fpm.ok(&format!("do=bad-static&in=a&n={n}"));
    }
    running.signal(Signal::SIGCONT);
    let ran = running.stop();
    let lost: u64 =
        ran.events.iter().filter(|e| e["kind"] == "lost").filter_map(|e| e["count"].as_u64()).sum();
    let told = ran.violations().iter().filter(|v| v["operation"] == "unlink").count() as u64;
    assert!(lost > 0, "{}", ran.stderr);
    assert!(told < 6 * 4000 && told + lost >= 6 * 4000, "{told} told, {lost} lost");
    assert!(ran.stderr.contains("records lost"), "{}", ran.stderr);
}

/// Nobody could decide any more: the worker is killed from the kernel at that moment. The master lives.
fn who_loses_an_event_under_sandbox_is_killed() {
    let (mut fpm, mail) = learnt(Setup::workers(1));
    let running = fpm.session("--sandbox").start();
    running.signal(Signal::SIGSTOP);
    let mut rounds = 0;
    while fpm.get("do=bad-static&in=a").is_ok() {
        fpm.make_targets("a", 4000);
        rounds += 1;
        assert!(rounds < 20, "nobody was killed, though nobody decided");
    }
    running.signal(Signal::SIGCONT);
    fpm.wait_ready();
    day(&fpm, &mail, 3);
    assert!(fpm.lives());
    let ran = running.stop();
    assert!(ran.stderr.contains("subjects killed because their record was lost: 1"), "{}", ran.stderr);
}

/// Where the kernel decides, it goes on while nobody reads: one call of each worker.
fn the_kernel_decides_while_nobody_reads_events() {
    const ATTACKS: usize = 20;
    let (mut fpm, mail) = learnt(Setup::workers(1));
    let running = fpm.session("--sandbox").start();
    let targets = fpm.make_targets("a", MANY);
    running.signal(Signal::SIGSTOP);
    let killed = (0..ATTACKS).filter(|_| fpm.get("do=bad-static&in=a").is_err()).count();
    running.signal(Signal::SIGCONT);
    let gone = MANY - fs::read_dir(targets).expect("the targets").count();
    assert_eq!(killed, ATTACKS);
    assert!(gone <= ATTACKS, "{gone} files gone in {ATTACKS} attacks");
    fpm.wait_ready();
    day(&fpm, &mail, 3);
    assert!(fpm.lives());
    let ran = running.stop();
    assert!(ran.violations().len() >= ATTACKS, "{}", ran.stderr);
}

fn filters_by_user_and_process_narrow() {
    let (fpm, other) = (Fpm::running(Setup::workers(1)), Fpm::running(Setup::workers(1)));
    let both = |options: [String; 2]| {
        let begun =
            fpm.session("--profile").arg("--force").arg("--php").arg(other.binary().display().to_string());
        begun.args(options)
    };
    let work = || {
        for fpm in [&fpm, &other] {
            fpm.reload();
            fpm.ok("do=page");
        }
    };
    let running = both(["--pid".into(), fpm.master().to_string()]).start();
    work();
    let ran = running.stop();
    let below = |e: &Value| e["exe"] == fpm.binary().display().to_string();
    assert!(ran.events.iter().any(|e| e["uid"] == 0) && ran.events.iter().any(|e| e["uid"] == WWW_DATA));
    assert!(ran.events.iter().all(below), "{:#?}", ran.events.iter().find(|e| !below(e)));

    let running = both(["--uid".into(), WWW_DATA.to_string()]).start();
    work();
    let ran = running.stop();
    assert!(
        ran.events.iter().any(|e| e["site"]["class"] == "Page" || e["site"]["class"] == "Log"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.events.iter().all(|e| e["uid"] == WWW_DATA),
        "{:#?}",
        ran.events.iter().find(|e| e["uid"] != WWW_DATA)
    );

    let ran = both(["--uid".into(), "12345".into()]).arg("--duration").arg("0.3").watch();
    assert_eq!(ran.status, 125, "{}", ran.stderr);
    assert!(ran.stderr.contains("no process of a PHP image was seen"), "{}", ran.stderr);
    assert!(ran.stderr.contains("0 process(es) watched"), "{}", ran.stderr);
    assert!(ran.stderr.contains("Hint: --uid and --cgroup let none through"), "{}", ran.stderr);
}

/// A cgroup that is removed at the end.
struct Cgroup(PathBuf);

impl Cgroup {
    fn make(name: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("read the mounts");
        let cgroup2 = mounts.lines().find(|l| l.contains(" cgroup2 ")).expect("cgroup2 is mounted");
        let path = Path::new(cgroup2.split(' ').nth(1).expect("its path")).join(name);
        fs::create_dir(&path).expect("make a cgroup");
        Self(path)
    }

    fn take(&self, pid: i32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).expect("move a process");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let until = Instant::now() + Duration::from_secs(5);
        while fs::remove_dir(&self.0).is_err() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn filters_by_cgroup_narrow() {
    let name = format!("e2e-fpm-{}", std::process::id());
    let cgroup = Cgroup::make(&name);
    let (fpm, other) = (Fpm::running(Setup::workers(1)), Fpm::running(Setup::workers(1)));
    for pid in fpm.workers().into_iter().chain([fpm.master()]) {
        cgroup.take(pid);
    }
    let running = fpm
        .session("--profile")
        .arg("--php")
        .arg(other.binary().display().to_string())
        .arg("--cgroup")
        .arg(format!("/{}*", &name[..name.len() - 1]))
        .start();
    for fpm in [&fpm, &other] {
        fpm.reload();
        fpm.ok("do=page");
    }
    let ran = running.stop();
    assert!(ran.events.iter().any(|e| e["site"]["class"] == "Log"), "{}", ran.stderr);
    let below = |e: &Value| e["exe"] == fpm.binary().display().to_string();
    assert!(ran.events.iter().all(below), "{:#?}", ran.events.iter().find(|e| !below(e)));
    drop((fpm, other));
}

fn an_idle_pool_in_a_cgroup_is_watched_and_its_neighbours_are_not_counted() {
    let name = format!("e2e-fpm-{}", std::process::id());
    let cgroup = Cgroup::make(&name);
    let fpm = Fpm::running(Setup::workers(2));
    let (learning, enforcing) = (fpm.session("--profile"), fpm.session("--sandbox").arg("--exit-code"));
    let worker = fpm.workers()[0];
    cgroup.take(worker);
    let narrowed =
        |session: Session| session.args(["--cgroup", &format!("/{name}"), "--duration", "0.5"]).watch();
    for session in [learning, enforcing] {
        let ran = narrowed(session);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        assert!(ran.stderr.contains(" 1 process(es) watched"), "{}", ran.stderr);
    }
    let ran = narrowed(fpm.session("--sandbox"));
    assert!(ran.stderr.contains("notice: 1 process(es) go on without a sandbox"), "{}", ran.stderr);
    let of_workers =
        fpm.session("--monitor").args(["--uid", &WWW_DATA.to_string(), "--duration", "0.5"]).watch();
    assert!(of_workers.stderr.contains(" 2 process(es) watched"), "{}", of_workers.stderr);
    drop(fpm);
}

fn sighup_swaps_the_profile_and_keeps_it_when_the_new_one_is_bad() {
    let (fpm, mail) = learnt(Setup::workers(2));
    let profile = fpm.base().join("p.profile");
    let narrow = fs::read(&profile).expect("read the profile");
    let learning = fpm.session("--profile").arg("--merge").start();
    fpm.make_targets("a", 3);
    fpm.ok("do=bad-static&in=a");
    assert_eq!(learning.stop().status, 0);
    let wide = fs::read(&profile).expect("read the profile");
    fs::write(&profile, &narrow).expect("write the profile");

    let mut running = fpm.session("--sandbox").start();
    let folder = fpm.make_targets("a", MANY);
    fpm.get("do=bad-static&in=a").expect_err("not in the profile");
    fs::write(&profile, &wide).expect("write the profile");
    running.signal(Signal::SIGHUP);
    running.wait_for("loaded again");
    fpm.ok("do=bad-static&in=a");
    assert_eq!(left(&folder), 0);
    fs::write(&profile, &wide[..wide.len() - 3]).expect("write the profile");
    running.signal(Signal::SIGHUP);
    running.wait_for("stays as it was");
    fpm.make_targets("a", 3);
    fpm.ok("do=bad-static&in=a");
    fs::write(&profile, &narrow).expect("write the profile");
    running.signal(Signal::SIGHUP);
    running.wait_for("loaded again");
    fpm.make_targets("a", MANY);
    fpm.get("do=bad-static&in=a").expect_err("not in the profile any more");
    assert!(left(&folder) > 0);
    day(&fpm, &mail, 2);
    running.stop();
}

fn sigusr1_reopens_the_events() {
    let (fpm, _mail) = learnt(Setup::workers(1));
    let (now, moved) = (fpm.base().join("events.jsonl"), fpm.base().join("events.1"));
    let running = fpm.session("--monitor").start();
    fpm.make_targets("a", 1);
    fpm.ok("do=bad-static&in=a");
    wait_until("a violation is told", || !violations(&fpm).is_empty());
    fs::rename(&now, &moved).expect("move the events");
    running.signal(Signal::SIGUSR1);
    wait_until("the file is there again", || now.exists());
    fpm.make_targets("a", 1);
    fpm.ok("do=bad-static&in=a");
    wait_until("a violation is told", || !violations(&fpm).is_empty());
    running.stop();
    let unlinks = |path: &Path| events_so_far(path).iter().filter(|e| e["operation"] == "unlink").count();
    assert_eq!((unlinks(&moved), unlinks(&now)), (1, 1));
}

fn a_session_that_saw_no_php_writes_no_profile() {
    let fpm = Fpm::prepare(Setup::workers(1));
    let began = Instant::now();
    let ran = fpm.session("--profile").arg("--duration").arg("0.5").watch();
    assert_eq!(ran.status, 125, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("no process of a PHP image was seen") && ran.stderr.contains("Hint:"),
        "{}",
        ran.stderr
    );
    assert!(!fpm.base().join("p.profile").exists());
    assert!(began.elapsed() >= Duration::from_millis(500));
}

fn the_duration_ends_a_session() {
    let fpm = Fpm::running(Setup::workers(1));
    let began = Instant::now();
    let running = fpm.session("--profile").arg("--duration").arg("1").start();
    fpm.ok("do=page");
    let ran = running.wait();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(fpm.base().join("p.profile").exists());
}

fn workers_that_are_root_are_refused_in_a_sandbox() {
    let setup = Setup { user: "root".into(), args: vec!["-R".into()], ..Setup::workers(1) };
    let (fpm, _mail) = learnt(setup);
    let ran = fpm.session("--sandbox").arg("--duration").arg("5").watch();
    assert_eq!(ran.status, 125, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("run as root") && ran.stderr.contains("--allow-privileged"),
        "{}",
        ran.stderr
    );
    let running = fpm.session("--sandbox").arg("--allow-privileged").start();
    fpm.ok("do=page");
    let ran = running.stop();
    assert!(ran.stderr.contains("warning"), "{}", ran.stderr);
    no_violation(&ran);
}

fn a_daemon_is_learnt_and_enforced() {
    let (mut fpm, mail) = (Fpm::prepare(Setup::workers(2)), MailServer::start());
    let running = fpm.session("--profile").start();
    fpm.start_daemon();
    day(&fpm, &mail, 3);
    twins(&fpm);
    no_violation(&running.stop());
    fpm.stop();
    let running = fpm.session("--sandbox").start();
    fpm.start_daemon();
    day(&fpm, &mail, 3);
    fpm.reload();
    day(&fpm, &mail, 3);
    assert_eq!(violations(&fpm), Vec::<Value>::new());
    let folder = fpm.make_targets("a", MANY);
    fpm.get("do=bad-static&in=a").expect_err("the worker is killed");
    assert!(left(&folder) > 0);
    assert!(fpm.lives());
    fpm.stop();
    let ran = running.stop();
    assert!(ran.violations().iter().all(|v| v["site"]["class"] == "Bad"), "{:#?}", ran.violations());
}

fn a_pool_in_a_chroot_is_learnt_and_enforced() {
    let (mut fpm, mail) = (Fpm::prepare(Setup { chroot: true, ..Setup::workers(2) }), MailServer::start());
    let work = |fpm: &Fpm| {
        for _ in 0..5 {
            fpm.ok("do=page");
            fpm.must(&Request::get("do=session").cookie("PHPSESSID=abcdefghij"));
            fpm.ok(&format!("do=socket&to={}", encoded(&mail.address)));
            let folder = fpm.make_targets("twin", 3);
            fpm.ok("do=good-static&in=twin");
            assert_eq!(left(&folder), 0);
        }
    };
    let running = fpm.session("--profile").start();
    fpm.start();
    work(&fpm);
    no_violation(&running.stop());
    let running = fpm.session("--sandbox").start();
    fpm.reload();
    work(&fpm);
    assert_eq!(violations(&fpm), Vec::<Value>::new());
    let folder = fpm.make_targets("a", MANY);
    fpm.get("do=bad-static&in=a").expect_err("the worker is killed");
    assert!(left(&folder) > 0);
    let ran = running.stop();
    let first = ran.violations()[0];
    assert_eq!(first["site"]["file"], "/app/src/Bad.php", "as PHP has it: {first:#}");
    assert_eq!(first["exe"], fpm.binary().display().to_string());
}

/// The opcode cache begins anew, and the same address in it becomes another file's function of the same name.
fn who_is_where_another_function_was_is_told_apart() {
    let mut fpm = Fpm::prepare(Setup::workers(1));
    let include = |name: &str| {
        format!("do=include&in=a&file={}", fpm.app().join(format!("templates/{name}.php")).display())
    };
    let erase = "<?php function erase($all) { return count(array_map('drop', $all)); } \
                 function drop($file) { return unlink($file); } return erase($targets);";
    for (name, code) in [("one", erase), ("two", erase), ("reset", "<?php return (int) opcache_reset();")] {
        let path = fpm.app().join(format!("templates/{name}.php"));
        fs::write(&path, code).expect("write a script");
        age(&path);
    }
    let (one, two, reset) = (include("one"), include("two"), include("reset"));
    let learning = fpm.session("--profile").start();
    fpm.start();
    let work = |fpm: &Fpm| {
        for _ in 0..3 {
            let folder = fpm.make_targets("a", 3);
            assert_eq!(fpm.ok(&one), "3", "{:#?}", violations(fpm));
            assert_eq!(left(&folder), 0);
            assert_eq!(fpm.ok(&reset), "1", "{:#?}", violations(fpm));
        }
    };
    work(&fpm);
    no_violation(&learning.stop());
    let running = fpm.session("--sandbox").start();
    work(&fpm);
    let folder = fpm.make_targets("a", MANY);
    fpm.get(&two).expect_err("the worker is killed");
    assert!(left(&folder) > 0);
    let ran = running.stop();
    let first = ran.violations()[0];
    assert!(first["site"]["file"].as_str().is_some_and(|f| f.ends_with("two.php")), "{first:#}");
}

/// A script of the application, as old as the others.
fn add_script(fpm: &Fpm, name: &str, code: &str) -> PathBuf {
    let path = fpm.app().join(name);
    fs::write(&path, format!("<?php {code}")).expect("write a script");
    age(&path);
    path
}

/// Logs to a file, which may be that of the opcode cache's lock: who closes any descriptor of it has the lock no longer.
/// Empties the cache, waits while somebody else's request restarts it, and goes on, with nothing but what it has used
/// before: a restart takes its strings away.
const GIVES_UP_THE_LOCK: &str = r"
function clear_up($files, $pause) {
    $n = 0;
    foreach ($files as $file) {
        if ($n++ === $pause) usleep(1200000);
        unlink($file);
    }
    return $n;
}
function note($file) { ini_set('error_log', $file); return error_log('a note'); }
function log_file($folder) {
    foreach (scandir('/proc/self/fd') as $n) {
        $name = @readlink($file = '/proc/self/fd/' . $n);
        if (isset($_GET['lock']) && preg_match('/ZendSem|opcache_lock/', $name)) return $file;
    }
    return $folder . '/log';
}
note(log_file(dirname($targets[0])));
$waits = isset($_GET['wait']) && opcache_reset();
return clear_up($targets, $waits ? 1 : -1);
";

/// The opcode cache is not restarted under code of its own, but for who gives its lock up: other code may lie where the
/// names of what runs were.
fn who_gives_up_the_opcode_caches_lock_is_tainted_once_it_is_restarted() {
    let mut fpm = Fpm::prepare(Setup::workers(2));
    let script = add_script(&fpm, "templates/lock.php", GIVES_UP_THE_LOCK);
    // Lies before it in the cache, and what the other request compiles anew is put there, not where it runs: else it crashes.
    let statements: Vec<_> = (0..4000).map(|n| format!("$all['key{n}'] = $all . 'value{n}';")).collect();
    let statements = statements.join("\n");
    let large = add_script(
        &fpm,
        "templates/large.php",
        &format!("function large($all) {{ if ($all) {{ {statements} }} return 0; }} return 0;"),
    );
    let large = format!("do=include&in=a&file={}", large.display());
    let query = |more: &str| format!("do=include&in=a&file={}{more}", script.display());
    let learning = fpm.session("--profile").start();
    fpm.start();
    for more in ["", "&wait"] {
        fpm.make_targets("a", 5);
        fpm.ok(&large);
        fpm.ok(&query(more));
        fpm.ok("do=page");
    }
    no_violation(&learning.stop());
    let running = fpm.session("--sandbox").start();
    // Beside a request of somebody else, by which the cache is restarted if nobody has it locked.
    let beside = |more: &str| {
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| fpm.get(&query(more)));
            std::thread::sleep(Duration::from_millis(400));
            fpm.ok("do=page");
            waits.join().expect("it is answered or lost")
        })
    };
    let folder = fpm.make_targets("a", MANY);
    fpm.ok(&large);
    let honest = beside("&wait").expect("it is answered").text().to_owned();
    // But for what it has logged.
    assert_eq!((honest, left(&folder)), (MANY.to_string(), 1), "{:#?}", violations(&fpm));
    assert_eq!(violations(&fpm), Vec::<Value>::new());
    fpm.make_targets("a", MANY);
    fpm.ok(&large);
    beside("&wait&lock").expect_err("the worker is killed");
    assert!(left(&folder) > 0, "it has deleted all of them");
    let ran = running.stop();
    let told = ran.violations();
    assert!(
        !told.is_empty() && told.iter().all(|event| event["reason"] == "tainted-identity"),
        "{}",
        ran.stderr
    );
}

/// What runs a pattern first in a process, or includes a file first in a pool, differs from day to day. Code that did
/// nothing else while learning is the profile's all the same.
fn code_that_does_nothing_by_itself_may_be_the_first_in_another_order() {
    let mut fpm = Fpm::prepare(Setup::workers(1));
    let third = add_script(&fpm, "templates/third.php", "return 'aab';");
    let code = |name: &str| format!("preg_match('/a+b{name}/', (include '{}') . '{name}');", third.display());
    for name in ["first", "second"] {
        add_script(&fpm, &format!("templates/{name}.php"), &format!("return {}", code(name)));
    }
    add_script(&fpm, "public/other.php", &format!("echo {}", code("other")));
    fpm.make_targets("a", 0);
    let ask = |fpm: &Fpm, name: &str| {
        let path = fpm.app().join(format!("templates/{name}.php"));
        let request = match name {
            "other" => Request::get("").script("other.php"),
            _ => Request::get(&format!("do=include&in=a&file={}", path.display())),
        };
        let answer = fpm.request(&request);
        let answer = answer.unwrap_or_else(|lost| panic!("{}: {:#?}", lost.0, violations(fpm)));
        assert_eq!(answer.text(), "1", "{name}");
    };
    let learning = fpm.session("--profile").start();
    fpm.start();
    for name in ["first", "second", "other"] {
        ask(&fpm, name);
    }
    // Not older than the session: the application may have written it.
    fs::write(fpm.app().join("templates/new.php"), "<?php return 1;").expect("write a script");
    ask(&fpm, "new");
    no_violation(&learning.stop());
    let running = fpm.session("--sandbox").start();
    for order in [["second", "other", "first"], ["other", "first", "second"]] {
        fpm.reload();
        for name in order {
            ask(&fpm, name);
        }
    }
    no_violation(&running.stop());
    assert_eq!(scripts(&fpm, "templates"), ["first.php", "page.php", "second.php", "third.php"]);
    assert_eq!(scripts(&fpm, "public"), ["index.php", "other.php"]);
}

/// The names of the profile's scripts in a folder of the application.
fn scripts(fpm: &Fpm, folder: &str) -> Vec<String> {
    let profile = exported(&fpm.base().join("p.profile"));
    let folder = fpm.app().join(folder);
    let files = profile["scripts"].as_array().expect("scripts").iter().filter_map(|s| s["file"].as_str());
    let inside = files.filter_map(|file| Path::new(file).strip_prefix(&folder).ok());
    inside.map(|path| path.display().to_string()).collect()
}

/// The application starts php-cli, an executable of its own: what its scripts are is told apart, or nothing is granted.
fn php_that_is_started_and_not_watched_has_no_grants() {
    let mut fpm = Fpm::prepare(Setup::workers(1));
    let php = fpm.base().join("php");
    fs::copy("/usr/bin/php8.2", &php).expect("copy PHP");
    let start = format!(
        "header('X-Worker: ' . getmypid());\nexec('true');\nexec('{} -n ' . $_GET['job']);\necho 'done';",
        php.display()
    );
    add_script(&fpm, "public/start.php", &start);
    let delete = "foreach (glob($argv[1] . '/*') as $file) { unlink($file); }";
    let folder = fpm.make_targets("jobs", 0);
    let argument = encoded(&format!(" {}", folder.display()));
    let (job, other) = (add_script(&fpm, "job.php", delete), add_script(&fpm, "other.php", delete));
    let request = |script: &Path| {
        Request::get(&format!("job={}{argument}", encoded(&script.display().to_string()))).script("start.php")
    };
    let profile = fpm.base().join("p.profile");

    let learning = fpm.session("--profile").start();
    fpm.start();
    fpm.make_targets("jobs", MANY);
    fpm.must(&request(&job));
    assert_eq!(left(&folder), 0);
    let ran = learning.stop();
    let both = format!("--php {} --php {}", fpm.binary().display(), php.display());
    for text in ["not granted: php-not-watched: ", &format!("Hint: name it, too: {both}")] {
        assert!(ran.stderr.contains(text), "{text}: {}", ran.stderr);
    }
    let learnt = exported(&profile);
    let programs: HashSet<_> =
        learnt["grants"].as_array().expect("grants").iter().filter_map(|g| g["program"].as_str()).collect();
    assert!(!programs.contains(php.to_str().expect("UTF-8")), "{programs:?}");
    assert!(programs.contains("/usr/bin/dash"), "{programs:?}");
    let running = fpm.session("--sandbox").start();
    fpm.make_targets("jobs", MANY);
    let _ = fpm.request(&request(&job));
    let ran = running.stop();
    assert!(left(&folder) > 0, "{}", ran.stderr);
    let told = ran.violations();
    assert!(told.iter().any(|event| event["reason"] == "program-not-in-profile"), "{told:#?}");

    // A profile of before, as it were.
    let text = learnt.to_string().replace("/usr/bin/dash", &php.display().to_string());
    fs::write(&profile, text).expect("write a profile");
    fs::set_permissions(&profile, fs::Permissions::from_mode(0o600)).expect("chmod");
    for mode in ["--monitor", "--sandbox"] {
        let ran = fpm.session(mode).watch();
        assert_eq!(ran.status, 125, "{}", ran.stderr);
        assert!(ran.stderr.contains("which is PHP and not watched"), "{}", ran.stderr);
        assert!(ran.stderr.contains("\nHint: ") && ran.stderr.contains(&both), "{}", ran.stderr);
    }

    let with_php = |mode: &str| fpm.session(mode).arg("--php").arg(php.display().to_string());
    let learning = with_php("--profile").arg("--force").start();
    fpm.make_targets("jobs", MANY);
    fpm.must(&request(&job));
    no_violation(&learning.stop());
    let running = with_php("--sandbox").start();
    fpm.make_targets("jobs", MANY);
    fpm.must(&request(&job));
    assert_eq!((left(&folder), violations(&fpm)), (0, Vec::new()));
    fpm.make_targets("jobs", MANY);
    let _ = fpm.request(&request(&other));
    assert!(left(&folder) > 0);
    let ran = running.stop();
    let first = ran.violations()[0];
    assert_eq!(first["site"]["file"], other.display().to_string(), "{first:#}");
}

fn a_preloaded_pool_keeps_its_master_apart() {
    let mut fpm = Fpm::prepare(Setup::workers(2));
    let preload = fpm.app().join("src/Good.php");
    fpm.add_args(&[
        "-d",
        &format!("opcache.preload={}", preload.display()),
        "-d",
        "opcache.preload_user=www-data",
    ]);
    let mail = MailServer::start();
    let running = fpm.session("--profile").start();
    fpm.start();
    day(&fpm, &mail, 3);
    let ran = running.stop();
    let master: Vec<_> = ran.events.iter().filter(|e| e["pid"] == fpm.master()).collect();
    assert!(master.iter().any(|e| e["site"]["kind"] == "master"), "{}", ran.stderr);
    let running = fpm.session("--sandbox").start();
    fpm.reload();
    day(&fpm, &mail, 3);
    assert!(fpm.lives());
    nobody_killed(&running.stop());
}

fn an_orphan_of_a_worker_is_not_taken_for_the_master() {
    let mut setup = Setup::workers(2);
    setup.args.extend(["-d".into(), "ffi.enable=1".into()]);
    let (fpm, _mail) = learnt(setup);
    let folder = fpm.make_targets("a", MANY);
    let (go, done) = (fpm.data().join("go"), fpm.data().join("done"));
    let leave = || assert_eq!(fpm.must(&Request::get("").script("orphan.php")).text(), "left behind");
    let tell = || fs::write(&go, "").expect("tell the orphan to go");
    leave();
    tell();
    wait_until("without a tracer all is gone", || done.exists() && left(&folder) == 0);
    fs::remove_file(&go).and_then(|()| fs::remove_file(&done)).expect("begin anew");
    let folder = fpm.make_targets("a", MANY);
    leave();
    let running = fpm.session("--sandbox").start();
    tell();
    wait_until("a violation is told", || !violations(&fpm).is_empty());
    let first = &violations(&fpm)[0];
    assert_eq!(first["action"], "killed", "{first:#}");
    assert_eq!(first["site"]["kind"], "main", "{first:#}");
    let orphan = first["pid"].as_i64().expect("a pid") as i32;
    assert!(orphan != fpm.master() && !fpm.workers().contains(&orphan), "{first:#}");
    wait_until("the orphan is gone", || !exists(orphan));
    assert!(left(&folder) > 0 && !done.exists(), "it ran to its end");
    assert_eq!(running.stop().status, 0);
}

/// nginx in front of it.
struct Nginx {
    child: Child,
    port: u16,
}

impl Nginx {
    fn start(fpm: &Fpm) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let folder = fpm.base().join("nginx");
        fs::create_dir(&folder).expect("make a folder");
        let config = format!(
            "daemon off; user www-data; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;\n\
             events {{}}\nhttp {{ access_log off; client_body_temp_path {folder}/body; fastcgi_temp_path {folder}/f;\n\
             proxy_temp_path {folder}/p; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n\
             server {{ listen 127.0.0.1:{port}; location / {{ include /etc/nginx/fastcgi_params;\n\
             fastcgi_param SCRIPT_FILENAME {app}/public/index.php; fastcgi_param DATA {data};\n\
             fastcgi_pass unix:{socket}; }} }} }}\n",
            folder = folder.display(),
            app = fpm.app().display(),
            data = fpm.data().display(),
            socket = fpm.socket().display(),
        );
        let path = folder.join("nginx.conf");
        fs::write(&path, config).expect("write the configuration");
        let mut nginx = Command::new("nginx");
        nginx.arg("-c").arg(&path).arg("-p").arg(&folder).stdin(Stdio::null()).stderr(Stdio::null());
        let child = nginx.spawn().expect("start nginx");
        wait_until("nginx listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port }
    }

    /// The status.
    fn get(&self, query: &str) -> u16 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connect to nginx");
        let request = format!("GET /?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("send a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read the answer");
        answer.get(9..12).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        send(self.child.id() as i32, Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

fn behind_nginx_an_attack_is_one_bad_gateway() {
    let (mut fpm, _mail) = (Fpm::prepare(Setup::workers(2)), ());
    let learning = fpm.session("--profile").start();
    fpm.start();
    let nginx = Nginx::start(&fpm);
    assert_eq!(nginx.get("do=page"), 200);
    no_violation(&learning.stop());
    let running = fpm.session("--sandbox").start();
    for _ in 0..50 {
        assert_eq!(nginx.get("do=page"), 200, "{:#?}", violations(&fpm));
    }
    let folder = fpm.make_targets("a", MANY);
    assert_eq!(nginx.get("do=bad-static&in=a"), 502);
    assert_eq!(nginx.get("do=page"), 200, "{:#?}", violations(&fpm));
    assert!(left(&folder) > 0);
    let ran = running.stop();
    assert!(ran.violations().iter().all(|v| v["site"]["class"] != "Page"), "{:#?}", ran.violations());
}

/// With the opcode cache: functions and files that are known are remembered by their addresses.
fn code_of_a_file_that_nobody_knows_has_no_function_do_its_work() {
    let (told, evil) = foreign_code_is_stopped("known-files");
    for event in told {
        assert_eq!(event["unknown_file"], evil, "{event:#}");
    }
}

/// Likewise sites, by which callers are known.
fn who_was_not_seen_to_call_a_function_does_not_have_it_do_its_work() {
    let (told, evil) = foreign_code_is_stopped("2");
    for event in told {
        assert_eq!(event["cause"], format!("called by {{main}} in {evil}"), "{event:#}");
    }
}

/// What is told of it, and the name of its file.
fn foreign_code_is_stopped(context: &str) -> (Vec<Value>, String) {
    let (mut fpm, mail) = (Fpm::prepare(Setup::workers(2)), MailServer::start());
    let day = |fpm: &Fpm, rounds| {
        day(fpm, &mail, rounds);
        for what in ["static", "closure", "destructor", "name"] {
            fpm.make_targets("twin", 3);
            fpm.ok(&format!("do=good-{what}&in=twin"));
        }
        let clean = fpm.app().join("templates/clean.php");
        let folder = fpm.make_targets("twin", 3);
        fpm.ok(&format!("do=include&in=twin&file={}", clean.display()));
        assert_eq!(left(&folder), 0);
    };
    let learning = fpm.session("--profile").arg("--context").arg(context).start();
    fpm.start();
    day(&fpm, 3);
    no_violation(&learning.stop());

    let evil = fpm.data().join("uploads/evil.php");
    fs::write(&evil, "<?php\nreturn Good::drop($targets);\n").expect("write an upload");
    age(&evil);
    let attack = format!("do=include&in=a&file={}", evil.display());

    let running = fpm.session("--sandbox").start();
    let folder = fpm.make_targets("a", MANY);
    fpm.ok(&attack);
    assert_eq!(left(&folder), 0, "without the setting it goes through");
    no_violation(&running.stop());

    let running = fpm.session("--sandbox").arg("--context").arg(context).start();
    day(&fpm, 40);
    assert!(violations(&fpm).is_empty(), "{:#?}", violations(&fpm).first());
    let most = if decides_in_kernel() { 1 } else { MANY / 2 };
    for round in 0..5 {
        let folder = fpm.make_targets("a", MANY);
        let answer = fpm.get(&attack);
        assert!(
            answer.is_err() || answer.is_ok_and(|answer| answer.status >= 500),
            "round {round}: answered"
        );
        assert!(left(&folder) >= MANY - most, "round {round}: only {} of {MANY} are left", left(&folder));
        // Whoever serves next is not taken for it.
        day(&fpm, 2);
    }
    let ran = running.stop();
    let told = ran.violations();
    assert!(told.len() >= 5, "{}", ran.stderr);
    for event in &told {
        assert_eq!(
            (&event["reason"], &event["operation"]),
            (&"unknown-context".into(), &"unlink".into()),
            "{event:#}"
        );
        assert_eq!(event["site"]["class"], "Good", "{event:#}");
    }
    (told.into_iter().cloned().collect(), evil.display().to_string())
}

/// A page of its own: learnt, and then asked in a sandbox as before.
fn learnt_page_works(fpm: &mut Fpm, ask: &Request, answer: &str) {
    let learning = fpm.session("--profile").start();
    fpm.start();
    for _ in 0..3 {
        assert_eq!(fpm.must(ask).text(), answer);
    }
    let learnt = learning.stop();
    no_violation(&learnt);
    assert!(learnt.stderr.contains("; 0 not granted"), "{}", learnt.stderr);
    let running = fpm.session("--sandbox").start();
    for _ in 0..3 {
        assert_eq!(fpm.must(ask).text(), answer);
    }
    no_violation(&running.stop());
}

/// Sessions and uploads: each by its name, though the folder is the same.
fn what_the_engine_makes_in_one_folder_is_learnt_file_by_file() {
    let mut fpm = Fpm::prepare(Setup::workers(1));
    let folder = fpm.make_data("made").display().to_string();
    let settings =
        ["session.auto_start=1", &format!("session.save_path={folder}"), &format!("upload_tmp_dir={folder}")];
    for setting in settings {
        fpm.add_args(&["-d", setting]);
    }
    add_script(&fpm, "public/made.php", "$_SESSION['n'] = 1;\necho count($_FILES);");
    learnt_page_works(&mut fpm, &Request::upload("", "a.txt", "some text").script("made.php"), "1");
}

/// Its child has none of the opcode cache's pages yet when it starts the program.
fn a_function_that_opens_a_process_is_known_in_the_child() {
    let mut fpm = Fpm::prepare(Setup::workers(1));
    let code = "function job() { return proc_close(proc_open(['/bin/true'], [], $pipes)); }\necho job();";
    add_script(&fpm, "public/job.php", code);
    learnt_page_works(&mut fpm, &Request::get("").script("job.php"), "0");
}

macro_rules! tests {
    ($($name:ident,)*) => { vec![$(test(stringify!($name), $name)),*] };
}

fn main() {
    let loss = if decides_in_kernel() {
        tests![the_kernel_decides_while_nobody_reads_events,]
    } else {
        tests![who_loses_an_event_under_sandbox_is_killed,]
    };
    let all = tests![
        a_running_pool_is_learnt_and_then_does_nothing_wrong,
        a_running_pool_is_found_without_being_named,
        a_pool_that_starts_after_the_tracer_is_learnt_and_enforced,
        in_a_worker_that_served_100_requests_every_attack_is_killed_and_told,
        reload_reopen_and_respawn_under_sandbox,
        a_graceful_reload_under_sandbox_lets_requests_finish,
        a_graceful_reload_in_a_pid_namespace_lets_requests_finish,
        scaling_on_demand_under_sandbox,
        dynamic_scaling_under_sandbox,
        workers_that_end_after_some_requests_are_replaced_under_sandbox,
        an_upgraded_executable_is_watched_from_its_first_instruction,
        an_upgraded_executable_is_unknown_until_it_was_looked_at,
        an_upgraded_executable_that_was_not_looked_at_is_blocked,
        a_pool_whose_executable_was_replaced_is_enforced,
        a_pool_at_a_path_that_only_its_container_has_is_learnt_and_enforced,
        a_container_of_a_cgroup_that_is_started_anew_is_watched,
        another_release_folder_is_no_violation,
        a_plugin_is_monitored_allowed_and_enforced,
        eight_clients_at_once_lose_no_event,
        lost_events_are_counted_and_the_profile_is_incomplete,
        filters_by_user_and_process_narrow,
        filters_by_cgroup_narrow,
        an_idle_pool_in_a_cgroup_is_watched_and_its_neighbours_are_not_counted,
        sighup_swaps_the_profile_and_keeps_it_when_the_new_one_is_bad,
        sigusr1_reopens_the_events,
        a_session_that_saw_no_php_writes_no_profile,
        the_duration_ends_a_session,
        workers_that_are_root_are_refused_in_a_sandbox,
        a_daemon_is_learnt_and_enforced,
        a_pool_in_a_chroot_is_learnt_and_enforced,
        who_is_where_another_function_was_is_told_apart,
        who_gives_up_the_opcode_caches_lock_is_tainted_once_it_is_restarted,
        code_that_does_nothing_by_itself_may_be_the_first_in_another_order,
        php_that_is_started_and_not_watched_has_no_grants,
        a_preloaded_pool_keeps_its_master_apart,
        an_orphan_of_a_worker_is_not_taken_for_the_master,
        behind_nginx_an_attack_is_one_bad_gateway,
        code_of_a_file_that_nobody_knows_has_no_function_do_its_work,
        who_was_not_seen_to_call_a_function_does_not_have_it_do_its_work,
        what_the_engine_makes_in_one_folder_is_learnt_file_by_file,
        a_function_that_opens_a_process_is_known_in_the_child,
    ];
    e2e::suite::main(loss.into_iter().chain(all).collect())
}
