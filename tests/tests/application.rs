//! A real application, `DokuWiki`: its profile is learnt from 400 requests, and then 4,000 others are served in the
//! sandbox, through a reload, an emptied opcode cache and workers that end. Nothing of it may be a violation; who
//! changes a function of it to do what it never did is stopped.
//!
//! Each answer is looked at, so that a page with an error is none.

mod application {
    pub mod tasks;
    pub mod visitor;
    pub mod wiki;
}

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use e2e::arena::Status;
use e2e::bypass::{Strategy, strategy, with_hooks};
use e2e::fpm::{Fpm, Request, age, wait_until};
use e2e::session::{Ran, Running, cross_checks, decides_in_kernel, events_so_far, exported};
use e2e::suite::test;
use serde_json::Value;

use application::visitor::Visitor;
use application::wiki::{self, RESET, VISITORS};

const LEARNT: usize = 400;
const SERVED: usize = 4_000;
/// Between them something is done to the pool.
const PARTS: usize = 4;
/// Pages that are attacked: a race needs time. Where all of them are only denied, all are told.
fn many() -> usize {
    if strategy() == Strategy::Lsm { 100 } else { 2_000 }
}

fn main() {
    // Who is not root is told so by the suite.
    if nix::unistd::geteuid().is_root() {
        e2e::suite::own_pins_and_sockets();
    }
    e2e::suite::main(vec![test(
        "dokuwiki_learnt_from_400_requests_serves_4000_others_without_a_violation",
        dokuwiki,
    )])
}

fn dokuwiki() {
    let mut fpm = wiki::installed();
    let mut visitors: Vec<Visitor> =
        VISITORS.into_iter().map(|visitor| Visitor::new(fpm.client(), visitor)).collect();
    learn(&mut fpm, &mut visitors);
    let running = with_hooks(fpm.session("--sandbox")).start();
    serve(&fpm, &mut visitors, &running);
    attack(&fpm);
    go_on(&fpm, &mut visitors);
    check_the_end(&running.stop());
    has_its_effect_where_nobody_watches(&fpm);
}

fn learn(fpm: &mut Fpm, visitors: &mut [Visitor]) {
    let each = LEARNT / VISITORS.len();
    assert!(each >= application::tasks::requests_of_all() + Visitor::ARRIVAL, "nobody does everything");
    let began = Instant::now();
    let running = with_hooks(fpm.session("--profile")).start();
    fpm.start();
    for visitor in &mut *visitors {
        visitor.arrive();
    }
    use_the_wiki(visitors, each);
    empty_the_opcode_cache(fpm);
    let ran = running.stop();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let failed = failures(visitors);
    assert!(failed.is_empty(), "while learning: {failed:#?}");
    let summary = ran.stderr.lines().find(|line| line.starts_with("profile ")).unwrap_or_default();
    let summary = summary.split_once(": ").map_or("", |(_, counts)| counts);
    let (seconds, scripts) = (began.elapsed().as_secs_f64(), scripts(fpm));
    println!("learnt: {LEARNT} requests in {seconds:.1} s; {scripts} scripts, {summary}");
    assert!(summary.contains("; 0 not granted"), "{}", ran.stderr);
    assert!(ran.events.iter().all(|event| event["kind"] == "observed"), "{}", ran.stderr);
}

/// How many files the profile has code of.
fn scripts(fpm: &Fpm) -> usize {
    exported(&fpm.base().join("p.profile"))["scripts"].as_array().expect("scripts").len()
}

/// All at once, each so many requests.
fn use_the_wiki(visitors: &mut [Visitor], requests: usize) {
    std::thread::scope(|scope| {
        for visitor in visitors {
            scope.spawn(move || visitor.use_the_wiki(requests));
        }
    });
}

fn failures(visitors: &mut [Visitor]) -> Vec<String> {
    visitors.iter_mut().flat_map(|visitor| std::mem::take(&mut visitor.failed)).collect()
}

fn serve(fpm: &Fpm, visitors: &mut [Visitor], running: &Running) {
    let (began, mut workers) = (Instant::now(), Workers::default());
    for part in 0..PARTS {
        use_the_wiki(visitors, SERVED / PARTS / VISITORS.len());
        workers.look(fpm);
        match part {
            0 => fpm.reload(),
            1 => empty_the_opcode_cache(fpm),
            2 => deploy_in_place(fpm),
            _ => {}
        }
        wiki::next_day(fpm);
    }
    let counts = counts(running);
    let failed = failures(visitors);
    let told = told(fpm);
    for event in &told {
        println!("told: {}", brief(event));
    }
    let calls = counts["policed calls of subjects"];
    println!(
        "served: {SERVED} requests in {:.1} s; {} told, {} not answered well; {} policed calls a request",
        began.elapsed().as_secs_f64(),
        told.len(),
        failed.len(),
        calls / SERVED as u64,
    );
    assert!(told.is_empty() && failed.is_empty(), "{failed:#?}");
    assert!(!fpm.said().contains("exited on signal"), "{}", fpm.said());
    let wrong: Vec<_> = counts.iter().filter(|(what, count)| **count > 0 && !is_of_use(what)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(calls > SERVED as u64, "it does not see what is done: {counts:?}");
}

/// Counters that say what was done, not that something went wrong.
fn is_of_use(what: &str) -> bool {
    // User space is told all arguments and lines. Where the kernel decides, it reads what it needs for that.
    if ["arguments not readable", "lines not shown"].contains(&what) {
        return !decides_in_kernel() || cross_checks();
    }
    [
        "policed calls of subjects",
        "records sent",
        "walks",
        "walks begun again, as memory could not be read for a moment",
        "waits for memory that could not be read",
        "requests started",
        "calls decided in the kernel",
        "calls allowed there",
        "reads of shared memory that the process had not touched",
    ]
    .contains(&what)
}

fn counts(running: &Running) -> BTreeMap<String, u64> {
    let status = Status::of(running);
    let count = |line: &str| {
        let (count, what) = line.trim_start().split_once("  ")?;
        Some((what.to_owned(), count.parse().ok()?))
    };
    status.text().lines().filter_map(count).collect()
}

/// All that the tracer told until now: in a sandbox these are violations, losses and taints.
fn told(fpm: &Fpm) -> Vec<Value> {
    events_so_far(&fpm.base().join("events.jsonl"))
}

fn brief(event: &Value) -> String {
    let [kind, operation, args, reason, cause, site, sink, exe] =
        ["kind", "operation", "args", "reason", "cause", "site", "sink", "exe"].map(|name| &event[name]);
    format!("{kind} {operation} {args} {reason} {cause} by {site}, sink {sink}, of {exe}")
}

/// Other workers than before.
#[derive(Default)]
struct Workers(Vec<i32>);

impl Workers {
    fn look(&mut self, fpm: &Fpm) {
        let now = fpm.workers();
        assert!(
            now.iter().all(|worker| !self.0.contains(worker)),
            "workers did not end: {:?}, {now:?}",
            self.0
        );
        self.0 = now;
    }
}

fn empty_the_opcode_cache(fpm: &Fpm) {
    assert_eq!(fpm.must(&Request::get("").script(RESET)).text(), "emptied");
}

/// All files of the application get another time, so that each is compiled again.
fn deploy_in_place(fpm: &Fpm) {
    let mut folders = vec![fpm.app().to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).expect("read a folder").map(|entry| entry.expect("an entry").path())
        {
            if path.is_dir() {
                folders.push(path);
            } else {
                age(&path);
            }
        }
    }
    // The opcode cache looks at a file's time so often.
    std::thread::sleep(Duration::from_secs(2));
}

/// A function of the application that deletes, where it never did.
struct Changed {
    file: &'static str,
    /// What its code comes after.
    head: &'static str,
    function: &'static str,
    reason: &'static str,
    /// What calls it.
    query: &'static str,
}

const CHANGED: [Changed; 2] = [
    Changed {
        file: "lib/plugins/info/syntax.php",
        head: "public function handle($match, $state, $pos, Doku_Handler $handler)\n    {\n",
        function: "handle",
        reason: "site-not-in-profile",
        query: "id=north:old39&purge=true",
    },
    Changed {
        file: "inc/io.php",
        head: "function io_readFile($file,$clean=true){\n",
        function: "io_readFile",
        reason: "operation-not-in-profile",
        query: "id=wiki:welcome&purge=true",
    },
];
const TRIGGER: &str = "attack";

impl Changed {
    fn deploy(&self, fpm: &Fpm, targets: &Path) {
        let path = fpm.app().join(self.file);
        let code = fs::read_to_string(&path).expect("read a script");
        assert_eq!(code.matches(self.head).count(), 1, "{} is another version", self.file);
        let evil = format!(
            "if(isset($_GET['{TRIGGER}'])) for($n = 0; $n < {}; $n++) @unlink(sprintf('{}/%05d', $n));\n",
            many(),
            targets.display()
        );
        fs::write(&path, code.replace(self.head, &format!("{}{evil}", self.head))).expect("change a script");
        age(&path);
    }

    fn request(&self) -> Request {
        Request::get(&format!("{}&{TRIGGER}=1", self.query)).header("HTTP_HOST", "wiki.example")
    }

    fn did(&self, event: &Value) -> bool {
        let site = &event["site"];
        let file = site["file"].as_str().unwrap_or_default();
        site["function"] == self.function && file.ends_with(self.file) && event["operation"] == "unlink"
    }

    fn check(&self, events: &[Value]) {
        let mine: Vec<_> = events.iter().filter(|event| self.did(event)).collect();
        let action = match strategy() {
            Strategy::Phase1 | Strategy::Phase2 => "killed",
            Strategy::Rewriting => "rewritten",
            Strategy::Lsm => "denied",
        };
        let is_stopped = |event: &&Value| event["reason"] == self.reason && event["action"] == action;
        assert!(!mine.is_empty() && mine.iter().all(is_stopped), "{}: {mine:#?}", self.function);
    }
}

/// What was told of anything else.
fn others(events: &[Value]) -> Vec<String> {
    let is_other = |event: &&Value| !CHANGED.iter().any(|changed| changed.did(event));
    events.iter().filter(is_other).map(brief).collect()
}

/// Pages that are there.
fn left(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

fn attack(fpm: &Fpm) {
    for changed in &CHANGED {
        let targets = fpm.make_targets("wiki/pages/victims", many());
        changed.deploy(fpm, &targets);
        fpm.reload();
        let answered = fpm.request(&changed.request()).is_ok();
        assert_eq!(answered, strategy() == Strategy::Lsm, "{}: by hooks alone it lives on", changed.function);
        let gone = many() - left(&targets);
        println!("attack in {}: {gone} of {} pages deleted", changed.function, many());
        let most = match strategy() {
            Strategy::Phase1 => many() - 1,
            Strategy::Phase2 => 1,
            Strategy::Rewriting | Strategy::Lsm => 0,
        };
        assert!(gone <= most, "{gone} of {} are gone", many());
        wait_until("a violation is told", || told(fpm).iter().any(|event| changed.did(event)));
    }
}

/// The others go on as before, with the changed code there.
fn go_on(fpm: &Fpm, visitors: &mut [Visitor]) {
    use_the_wiki(visitors, 25);
    let (failed, others) = (failures(visitors), others(&told(fpm)));
    assert!(failed.is_empty() && others.is_empty(), "{failed:#?} {others:#?}");
}

fn check_the_end(ran: &Ran) {
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(others(&ran.events), Vec::<String>::new());
    for changed in &CHANGED {
        changed.check(&ran.events);
    }
    // What rewriting cannot do is said at each start.
    let is_warning =
        |line: &&str| line.contains("warning") && !line.starts_with("warning: rewriting cannot stop");
    assert_eq!(ran.stderr.lines().filter(is_warning).count(), 0, "{}", ran.stderr);
}

fn has_its_effect_where_nobody_watches(fpm: &Fpm) {
    for changed in &CHANGED {
        let targets = fpm.make_targets("wiki/pages/victims", many());
        assert_eq!(fpm.request(&changed.request()).expect("an answer").status, 200);
        assert_eq!(left(&targets), 0, "{} deletes, where nobody watches", changed.function);
    }
}
