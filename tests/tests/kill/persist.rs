//! `--persist`: the tracer is killed, adopted, refused and ended while attackers come one after the other, and none
//! of them gets more than one call.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use e2e::fpm::wait_until;
use e2e::session::{Ran, Running, Session, rewriting, tracer};
use e2e::suite::{test, times};
use libtest_mimic::Trial;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal;
use serde_json::Value;

use e2e::arena::{Arena, Attacked, Beat, Status, Trap, objects, spread, succeeds};

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("persistent_enforcement_outlives_its_tracer_and_is_adopted", killed_and_adopted),
        test("persistent_enforcement_lets_honest_processes_start_while_it_is_adopted", started_meanwhile),
        test("persistent_enforcement_of_another_format_is_refused_and_goes_on", other_format),
        test("persistent_enforcement_outlives_an_unmounted_bpffs", unmounted),
        test("persistent_enforcement_that_was_refused_leaves_nothing", refused_start),
        test("persistent_enforcement_starts_after_a_start_that_died", died_start),
    ]
}

const SYSTEM: &str = "/sys/fs/bpf/php-tracer";
const OWN: &str = "/run/php-tracer/bpf";

/// Nothing is left to the next test, however this one ends. To be made first: it goes last.
struct Cleanup;

impl Drop for Cleanup {
    fn drop(&mut self) {
        let _ = end_persistence();
    }
}

fn learnt() -> Arena {
    let arena = Arena::new();
    let session = arena.session("--profile").start();
    arena.twin("unlink");
    let (worker, beat) = (arena.worker("worker.php", "unlink", 1000, None), Beat::start(&arena));
    wait_until("the shell's programs run", || beat.beats());
    beat.stop();
    arena.stop(vec![worker]);
    assert_eq!(session.stop().status, 0);
    arena
}

fn persistent(arena: &Arena) -> Session {
    arena.session("--sandbox").arg("--persist")
}

/// Ends a tracer as the kernel would that is out of memory.
fn kill(session: Running) {
    session.signal(Signal::SIGKILL);
    drop(session.wait());
}

/// Processes of one kind, one after the other, from another thread.
struct Stream {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<Attacked>>,
}

impl Stream {
    fn start(arena: &Arc<Arena>, class: &'static str) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, count, arena) = (stop.clone(), done.clone(), arena.clone());
        let thread = std::thread::spawn(move || {
            let folder = arena.folder(&format!("traps-{class}"));
            let mut all = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let trap = Trap::set(&folder.join("trap"), "unlink", e2e::arena::USER);
                let output = arena.attacker(class, "unlink", &trap).output().expect("run PHP");
                all.push(Attacked { leaks: trap.leaks(), output });
                count.fetch_add(1, Ordering::Relaxed);
            }
            all
        });
        Self { stop, done, thread }
    }

    /// Lets some more of them come to their end.
    fn more(&self) {
        const MORE: usize = 10;
        let until = self.done.load(Ordering::Relaxed) + MORE;
        wait_until("processes come to their end", || self.done.load(Ordering::Relaxed) >= until);
    }

    fn end(self) -> Vec<Attacked> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn killed_and_adopted() {
    let rounds = times(5, 2);
    let _cleanup = Cleanup;
    let arena = Arc::new(learnt());
    let mut session = persistent(&arena).start();
    session.has_said("it goes on without this process");
    let (mut worker, beat) = (arena.worker("worker.php", "unlink", 10_000, None), Beat::start(&arena));
    let attackers = Stream::start(&arena, "Bad");
    let mut adoptions = 0;
    for _ in 0..rounds {
        attackers.more();
        kill(session);
        attackers.more();
        beat.beats();
        wait_until("who was started before goes on without a tracer", || beat.beats());
        refused_without_persist(&arena);
        session = persistent(&arena).start();
        adoptions += 1;
        attackers.more();
        beat.beats();
        wait_until("who was started before goes on under the next tracer", || beat.beats());
    }
    let attacked = attackers.end();
    for each in &attacked {
        each.check("while tracers come and go");
    }
    assert!(worker.lives(), "the worker did not survive");
    beat.stop();
    let calls = arena.stop(vec![worker]);
    wait_until("nobody is watched any more", || Status::of(&session).text().contains("\nprocesses 0\n"));
    assert_eq!(counted(), 0, "of whoever is watched there is one count, which goes with it");
    held_by_another(&arena);
    let ran = session.stop();
    // Who is unknown, and who is not, is the next test's.
    let known = ran.violations().into_iter().filter(|event| event["reason"] != "unknown-site");
    for event in known {
        assert_eq!(event["site"]["class"], "Bad", "{event:#}");
        assert_eq!(event["site"]["function"], "unlink", "the name of an adopted id: {event:#}");
    }
    // Also an end that was asked for leaves it in force.
    arena.attack("unlink").check("after the session's end");
    unpersist(&arena);
    let leaks: Vec<usize> = attacked.iter().map(|a| a.leaks).collect();
    println!(
        "\n{adoptions} tracers killed and adopted beside {calls} allowed calls and {} attackers: calls that got \
         through (min, median, max {})",
        leaks.len(),
        spread(&leaks)
    );
}

fn started_meanwhile() {
    let rounds = times(5, 2);
    let _cleanup = Cleanup;
    let arena = Arc::new(learnt());
    let mut session = persistent(&arena).start();
    let honest = Stream::start(&arena, "Good");
    for _ in 0..rounds {
        honest.more();
        kill(session);
        session = persistent(&arena).start();
        honest.more();
    }
    let honest = honest.end();
    let lost = honest.iter().filter(|each| each.leaks != objects() || !each.output.status.success()).count();
    let status = Status::of(&session);
    session.stop();
    assert_eq!(lost, 0, "of {} honest processes, {rounds} adoptions\n{}", honest.len(), status.text());
    assert_eq!(status.sum("violations: "), 0, "{}", status.text());
}

fn refused(ran: &Ran, words: &[&str]) {
    assert_eq!(ran.status, 125, "{}", ran.stderr);
    for word in words.iter().chain(&["Hint: "]) {
        assert!(ran.stderr.contains(word), "no `{word}` in {}", ran.stderr);
    }
}

fn refused_without_persist(arena: &Arena) {
    refused(&arena.session("--sandbox").watch(), &["an earlier session", "--persist", "--unpersist"]);
    let other = Command::new(rewriting()).arg("--unpersist").output().expect("run --unpersist");
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(other.status.success() && said.contains("of phase3-lsm\n"), "{said}");
    assert!(said.contains("phase2-kernel-kill --unpersist ends it"), "{said}");
}

fn held_by_another(arena: &Arena) {
    refused(&persistent(arena).watch(), &["another session"]);
    let output = end_persistence();
    assert_eq!(output.status.code(), Some(125), "it is not taken from who holds it: {output:?}");
}

fn end_persistence() -> Output {
    Command::new(tracer()).arg("--unpersist").output().expect("run --unpersist")
}

fn bpftool(args: &[&str]) -> Option<Value> {
    let output = Command::new("bpftool").arg("-j").args(args).output().expect("run bpftool");
    if !output.status.success() {
        return None;
    }
    serde_json::from_slice(&output.stdout).ok()
}

/// Objects of the kernel.
#[derive(Debug, Default)]
struct Ids {
    links: Vec<u64>,
    programs: Vec<u64>,
    maps: Vec<u64>,
}

impl Ids {
    /// Everything that is pinned, and what it needs. (Others on this machine have programs of the same names.)
    fn pinned() -> Self {
        let mut ids = Self::default();
        for root in [SYSTEM, OWN] {
            ids.below(Path::new(root));
        }
        for program in ids.programs.clone() {
            let shown = bpftool(&["prog", "show", "id", &program.to_string()]).expect("a program");
            let maps = shown["map_ids"].as_array().cloned().unwrap_or_default();
            ids.maps.extend(maps.iter().filter_map(Value::as_u64));
        }
        for all in [&mut ids.links, &mut ids.programs, &mut ids.maps] {
            all.sort_unstable();
            all.dedup();
        }
        ids
    }

    fn below(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                self.below(&path);
                continue;
            }
            let name = path.display().to_string();
            let id = |shown: Option<Value>| shown.and_then(|v| v["id"].as_u64());
            if let Some(link) = bpftool(&["link", "show", "pinned", &name]) {
                self.links.extend(id(Some(link.clone())));
                self.programs.extend(link["prog_id"].as_u64());
            } else if let Some(map) = id(bpftool(&["map", "show", "pinned", &name])) {
                self.maps.push(map);
            } else if let Some(program) = id(bpftool(&["prog", "show", "pinned", &name])) {
                self.programs.push(program);
            }
        }
    }

    fn left(&self) -> Vec<(&'static str, u64)> {
        let kinds = [("link", &self.links), ("prog", &self.programs), ("map", &self.maps)];
        let all = kinds.into_iter().flat_map(|(kind, ids)| ids.iter().map(move |id| (kind, *id)));
        all.filter(|(kind, id)| bpftool(&[kind, "show", "id", &id.to_string()]).is_some()).collect()
    }
}

/// Ends it, and nothing is left: no pin, no program, no link, no map, no enforcement.
fn unpersist(arena: &Arena) {
    let ids = Ids::pinned();
    assert!(ids.links.len() >= 3 && ids.programs.len() >= 3 && ids.maps.len() >= 5, "{ids:?}");
    assert_eq!(ids.left().len(), ids.links.len() + ids.programs.len() + ids.maps.len(), "they are there");
    let output = end_persistence();
    assert!(output.status.success(), "{output:?}");
    wait_until("programs, links and maps are gone", || ids.left().is_empty());
    assert!(!Path::new(SYSTEM).exists(), "a folder is left");
    let left: Vec<_> = fs::read_dir(OWN).into_iter().flatten().flatten().map(|e| e.path()).collect();
    assert!(left.is_empty(), "{left:?}");
    let trap = arena.trap("unlink");
    succeeds(&mut arena.attacker("Bad", "unlink", &trap));
    assert_eq!(trap.leaks(), trap.count, "somebody still enforces");
    let again = end_persistence();
    assert!(again.status.success() || again.status.code() == Some(125), "{again:?}");
}

/// How many processes are watched, by the counts that strangers are told by.
fn counted() -> u64 {
    let name = tracer().file_name().expect("a name").to_string_lossy().into_owned();
    let map = bpftool(&["map", "dump", "pinned", &format!("{SYSTEM}/{name}/maps/numbers")]).expect("the map");
    let counts = map.as_array().expect("elements").iter().map(|e| e["formatted"]["value"].as_u64());
    counts.map(|count| count.expect("a number")).sum()
}

/// Changes the number of the format in both places where it is pinned: they are one map.
fn set_format(number: u8) {
    let name = tracer().file_name().expect("a name").to_string_lossy().into_owned();
    let identity = format!("{SYSTEM}/{name}/maps/identity");
    let map = bpftool(&["map", "dump", "pinned", &identity]).expect("the map");
    let mut bytes: Vec<String> = map[0]["value"]
        .as_array()
        .expect("bytes")
        .iter()
        .map(|b| b.as_str().expect("a byte").to_owned())
        .collect();
    bytes[0] = format!("{number:#04x}");
    let mut words: Vec<&str> = vec!["map", "update", "pinned", &identity, "key", "0", "0", "0", "0", "value"];
    words.extend(bytes.iter().map(String::as_str));
    let output = Command::new("bpftool").args(&words).output().expect("run bpftool");
    assert!(output.status.success(), "{output:?}");
}

fn other_format() {
    let _cleanup = Cleanup;
    let arena = learnt();
    let session = persistent(&arena).start();
    let (mut worker, beat) = (arena.worker("worker.php", "unlink", 10_000, None), Beat::start(&arena));
    wait_until("the shell's programs run", || beat.beats());
    kill(session);
    set_format(99);
    for _ in 0..3 {
        refused(&persistent(&arena).watch(), &["99", "it goes on enforcing", "--unpersist"]);
        arena.attack("unlink").check("after a refused adoption");
        arena.twin("unlink");
    }
    set_format(shared::intf::PERSIST_FORMAT as u8);
    let session = persistent(&arena).start();
    arena.attack("unlink").check("after the adoption");
    wait_until("who was started before goes on", || beat.beats());
    assert!(worker.lives());
    beat.stop();
    arena.stop(vec![worker]);
    session.stop();
    unpersist(&arena);
}

fn unmounted() {
    let _cleanup = Cleanup;
    let arena = learnt();
    let session = persistent(&arena).start();
    let worker = arena.worker("worker.php", "unlink", 10_000, None);
    let ids = Ids::pinned();
    kill(session);
    // In this suite's own mount namespace.
    umount2("/sys/fs/bpf", MntFlags::MNT_DETACH).expect("unmount the bpffs");
    for _ in 0..5 {
        arena.attack("unlink").check("after the bpffs was unmounted");
    }
    assert_eq!(ids.left().len(), ids.links.len() + ids.programs.len() + ids.maps.len(), "something ended");
    refused_without_persist(&arena);
    let session = persistent(&arena).start();
    arena.attack("unlink").check("after the adoption");
    kill(session);
    // The adopter has pinned everything in both places again.
    umount2(OWN, MntFlags::MNT_DETACH).expect("unmount the other bpffs");
    arena.attack("unlink").check("after the other bpffs was unmounted");
    persistent(&arena).start().stop();
    arena.attack("unlink").check("after another adoption");
    arena.stop(vec![worker]);
    unpersist(&arena);
}

/// The error is the end of it: nothing goes on enforcing that was not wanted.
fn refused_start() {
    let _cleanup = Cleanup;
    let arena = learnt();
    let mut root =
        Command::new(arena.path("php")).args(["-r", "sleep(60);"]).spawn().expect("run PHP as root");
    let ran = persistent(&arena).watch();
    root.kill().and_then(|()| root.wait()).expect("end PHP");
    refused(&ran, &["run as root", "--allow-privileged"]);
    assert!(!Path::new(SYSTEM).exists() && !Path::new(OWN).exists(), "pins are left");
    assert_eq!(arena.attack("unlink").leaks, objects(), "{}", ran.stderr);
}

/// Killed after its maps were pinned and before anything acted: there is nothing to adopt.
fn died_start() {
    let _cleanup = Cleanup;
    let arena = learnt();
    fs::create_dir_all(Path::new(SYSTEM).join("phase2-kernel-kill/maps"))
        .expect("make what a start makes first");
    let session = persistent(&arena).start();
    arena.attack("unlink").check("an attacker");
    kill(session);
    arena.attack("unlink").check("an attacker without a tracer");
}
