//! Eight threads of one PHP: each is judged by its own site, and all end with the first that does wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::session::{Ran, Session};
use e2e::suite::{test, times};
use libtest_mimic::Trial;

use e2e::arena::{Arena, checked, spread};

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![test("eight_attacking_threads_leak_one_call_each_at_most", eight)]
}

const THREADS: usize = 8;
const FILES: usize = 50;

/// A folder with a thread-safe PHP, and a program that hosts it.
struct Threads {
    arena: Arena,
    program: PathBuf,
}

impl Threads {
    fn new() -> Self {
        let arena = Arena::new();
        // Under the library's own name for itself, by which the loader looks for it.
        let library = arena.path("libphp.so");
        fs::copy(built(), &library).expect("copy the library");
        let program = arena.path("threads");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("victims/kill/threads.c");
        let built = Command::new("cc")
            .args([&source, &library, Path::new("-o"), &program])
            .arg(format!("-Wl,-rpath,{}", arena.root().display()))
            .arg("-pthread")
            .status()
            .expect("run cc");
        assert!(built.success(), "threads.c does not build");
        Self { arena, program }
    }

    fn session(&self, mode: &str) -> Session {
        let library = self.arena.arg("libphp.so");
        Session::new(self.arena.root(), mode).arg("--php").arg(library).arg("--user").arg("nobody")
    }

    /// `class` tells who does it in each thread.
    fn code(&self, class: &str) -> String {
        let (root, data) = (self.arena.root().display(), self.arena.folder("trap").display().to_string());
        format!(
            "require '{root}/good.php'; require '{root}/bad.php'; require '{root}/run.php'; $class = {class}; \
             run($class, 'unlink', \"{data}/$thread\", {FILES}, '');"
        )
    }

    /// What each thread got done.
    fn run(&self, session: Session, class: &str) -> (Ran, Vec<usize>) {
        let folder = |thread: usize| self.arena.folder(&format!("trap/{thread}"));
        self.arena.folder("trap");
        for thread in 0..THREADS {
            for n in 0..FILES {
                fs::write(folder(thread).join(n.to_string()), "precious").expect("write a file");
            }
        }
        let ran = session.run([self.program.display().to_string(), self.code(class)]);
        let gone = |thread| (0..FILES).filter(|n| !folder(thread).join(n.to_string()).exists()).count();
        let leaks = (0..THREADS).map(gone).collect();
        (ran, leaks)
    }
}

/// The library of the thread-safe PHP that `tests/php/fetch` builds.
fn built() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("php/fetch");
    let output = Command::new(script).arg("--list").output().expect("run tests/php/fetch --list");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|l| l.strip_prefix("8.2-zts-embed "));
    let path = line.and_then(|l| l.split_ascii_whitespace().next());
    path.expect("there is no thread-safe PHP: run tests/php/fetch").into()
}

fn eight() {
    let threads = Threads::new();
    let everything = vec![FILES; THREADS];
    let (ran, done) = threads.run(threads.session("--profile"), "'Good'");
    assert_eq!((ran.status, &done), (0, &everything), "{}{}", ran.stdout, ran.stderr);
    let (ran, done) = threads.run(checked(threads.session("--sandbox")), "'Good'");
    assert_eq!((ran.status, &done), (0, &everything), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.violations().is_empty(), "{:#?}", ran.violations());
    let (ran, done) = threads.run(checked(threads.session("--monitor")), "'Bad'");
    assert_eq!(
        (ran.status, &done),
        (0, &everything),
        "the attack does not work: {}{}",
        ran.stdout,
        ran.stderr
    );

    let (attacks, mut leaks) = (times(8, 2), Vec::new());
    for _ in 0..attacks {
        let (ran, done) = threads.run(checked(threads.session("--sandbox")), "'Bad'");
        assert_eq!(ran.status, 137, "not killed: {}{}", ran.stdout, ran.stderr);
        for event in ran.violations() {
            assert_eq!(event["site"]["class"], "Bad", "{event:#}");
        }
        let told = ran.violations().iter().filter(|event| event["effect"] == "yes").count();
        assert_eq!(told, done.iter().sum::<usize>(), "what was told is not what got through: {}", ran.stderr);
        leaks.extend(done);
    }
    // One of them attacks, and the others do what they may.
    let (ran, done) = threads.run(checked(threads.session("--sandbox")), "$thread === 3 ? 'Bad' : 'Good'");
    assert_eq!(ran.status, 137, "not killed: {}{}", ran.stdout, ran.stderr);
    assert!(done[3] <= 1, "{done:?}");
    for event in ran.violations() {
        assert_eq!(event["site"]["class"], "Bad", "judged by another thread's site: {event:#}");
    }
    println!(
        "\n{attacks} attacks by {THREADS} threads at once: calls that got through for each thread (min, median, max \
         {}), at most {} for each process",
        spread(&leaks),
        leaks.chunks(THREADS).map(|process| process.iter().sum::<usize>()).max().unwrap_or(0)
    );
    assert!(leaks.iter().all(|n| *n <= 1), "{leaks:?}");
}
