//! Attacks by PHP code and by a program that it started, each operation with a twin that was learnt.

use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::arena::{Arena, Status, succeeds};
use e2e::fpm::wait_until;
use e2e::session::{Running, Session};
use e2e::suite::{LINKS_NO_DESCRIPTOR, limit, test};
use libtest_mimic::Trial;
use serde_json::Value;

use super::trap::Trap;

/// Objects that one attacker reaches for: the second one must stay.
const TRIES: usize = 3;

/// As `memory.c` has them.
const LITERALS: usize = 100;

/// What comes of an attack.
#[derive(Clone, Copy, PartialEq)]
enum Expect {
    /// Rewritten: nothing gets through.
    Stopped,
    /// Not rewritten, for this reason: one at most.
    Once(&'static str),
    /// Rewritten, which that call may not look at: one at most.
    Unheeded,
    /// Somebody races with the rewriting: one at most.
    Raced,
}

use Expect::{Once, Raced, Stopped, Unheeded};

/// Of calls whose arguments are values.
const VALUE: Expect = Once("nothing of it lies in memory");
/// Of memory that is not writable at that moment.
const FAULT: Expect = Once("memory not writable at that moment");

/// What PHP code does.
const BY_PHP: [(&str, Expect); 18] = [
    ("unlink", Stopped),
    ("rename", Stopped),
    ("mkdir", Stopped),
    ("rmdir", Stopped),
    ("symlink", Stopped),
    ("link", Stopped),
    ("chmod", Stopped),
    ("create", Stopped),
    ("connect-unix", Stopped),
    ("connect-inet", Stopped),
    ("bind-unix", Stopped),
    ("sendto", Stopped),
    ("exec", Stopped),
    ("system", Stopped), // clone3
    ("fork", VALUE),
    ("kill", VALUE),
    ("write", VALUE),
    ("ftruncate", VALUE),
];

/// What a program does that PHP code has started. Where the argument lies decides what comes of it.
const BY_PROGRAM: [(&str, Expect); 33] = [
    ("unlink", Stopped),
    ("rename", Stopped),
    ("rename-from-literal", Stopped),
    ("mkdir", Stopped),
    ("rmdir", Stopped),
    ("symlink", Stopped),
    ("link", Stopped),
    ("chmod", Stopped),
    ("mknod", Stopped),
    ("create", Stopped),
    ("open-truncate", Stopped),
    ("truncate", Stopped),
    ("openat2", Stopped),
    ("openat2-literal", Stopped),
    ("connect-unix", Stopped),
    ("connect-inet", Stopped),
    ("bind-unix", Stopped),
    ("sendto", Stopped),
    ("sendmsg", Stopped),
    ("execve", Stopped),
    ("vfork-execve", Stopped),
    ("clone3", Stopped),
    ("page-end", Stopped),
    // Others share the memory of who is killed, and look at it afterwards.
    ("sibling", Stopped),
    ("vfork", Stopped),
    ("touch-empty", Once("an empty path would be the descriptor itself")),
    ("shared", Once("shared memory")),
    ("read-only", FAULT),
    ("literal", FAULT),
    ("untouched", FAULT),
    // A connected stream sends, whatever the address is.
    ("sendto-stream", Unheeded),
    ("second-thread", Raced),
    ("busy-map", Raced),
];

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("a_thousand_attacks_by_php_code", by_php),
        test("where_the_argument_lies_decides_and_the_event_says_which_it_was", by_program),
        test("a_descriptor_is_not_linked_by_an_empty_path", by_empty_path),
    ]
}

/// What is said at the start.
const WARNING: &str = "warning: rewriting cannot stop what is passed by value";

/// Attacks of each operation.
pub fn attacks() -> usize {
    std::env::var("REWRITE_ATTACKS").ok().and_then(|n| n.parse().ok()).unwrap_or(100)
}

/// An arena with the victims of this suite.
pub struct Place {
    pub arena: Arena,
}

/// Who attacks, and how.
#[derive(Clone, Copy, PartialEq)]
pub enum By {
    /// `attack.php`
    Php,
    /// `memory.c`
    Program,
}

/// What was counted of one operation.
struct Counted {
    operation: &'static str,
    expect: Expect,
    attacks: usize,
    leaks: usize,
    events: usize,
}

impl Place {
    /// With a program that has paths in this folder as literals.
    pub fn new() -> Self {
        let arena = Arena::new();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("victims/rewrite");
        let to = arena.path("rewrite");
        fs::create_dir(&to).expect("make a folder");
        for name in ["attack.php", "start.php"] {
            fs::copy(from.join(name), to.join(name)).expect("copy a victim");
        }
        let code = fs::read_to_string(from.join("operations.php")).expect("read a victim");
        fs::write(to.join("good.php"), &code).expect("write a victim");
        fs::write(to.join("bad.php"), code.replace("class Good", "class Bad")).expect("write a victim");
        let built = Command::new("cc")
            .args(["-O1", "-w", "-pthread"])
            .arg(format!("-DFOLDER=\"{}\"", arena.path("trap").display()))
            .args([&from.join("memory.c"), Path::new("-o"), &to.join("good")])
            .status()
            .expect("run cc");
        assert!(built.success(), "memory.c does not build");
        for name in ["bad", "connected"] {
            fs::copy(to.join("good"), to.join(name)).expect("copy a program");
        }
        Self { arena }
    }

    /// A session about this PHP.
    pub fn session(&self, mode: &str) -> Session {
        self.arena.session(mode)
    }

    /// A trap for this operation.
    pub fn trap(&self, operation: &str, count: usize) -> Trap {
        Trap::set(&self.arena.path("trap"), operation, count, TRIES)
    }

    /// Runs it; how many attackers were killed, and the memory of how many was changed.
    pub fn run(&self, by: By, good: bool, operation: &str, trap: &Trap, dry: bool) -> (usize, usize) {
        let (folder, count, tries, extra) =
            (trap.folder.display().to_string(), trap.count.to_string(), trap.tries.to_string(), trap.extra());
        let program = self.arena.arg(match operation {
            _ if good => "rewrite/good",
            // It may connect, and the other one may not.
            "sendto-stream" => "rewrite/connected",
            _ => "rewrite/bad",
        });
        let mut command = match by {
            By::Php => {
                let class = if good { "Good" } else { "Bad" };
                self.arena.php("rewrite/attack.php", &[class, operation, &folder, &count, &tries, &extra])
            }
            By::Program => {
                let mut arguments = vec![&program[..], operation, &folder, &count, &tries, &extra];
                if dry {
                    arguments.push("dry");
                }
                self.arena.php("rewrite/start.php", &arguments)
            }
        };
        let told = succeeds(&mut command);
        let number = |after: &str| -> usize {
            let rest = told.split(after).nth(1).unwrap_or("0");
            rest.split([',', '\n']).next().and_then(|n| n.trim().parse().ok()).expect("a number")
        };
        (number("killed"), number("changed"))
    }

    /// What is learnt does what it is for.
    pub fn twin(&self, by: By, operation: &str) {
        let trap = self.trap(operation, 2);
        let (killed, _) = self.run(by, true, operation, &trap, false);
        assert_eq!(killed, 0, "{operation}: what is learnt is killed");
        let (leaks, _) = trap.leaks();
        let all = trap.count * trap.tries;
        assert!(leaks == all, "{operation}: what is learnt works {leaks} of {all} times");
    }

    /// Learns the twins of these, and what attackers do before they attack.
    fn learn(&self, by: By, operations: &[(&'static str, Expect)]) {
        let session = self.session("--profile").arg("--syscalls").arg("relevant,write").start();
        for (operation, _) in operations {
            self.twin(by, operation);
            if by == By::Program {
                self.run(by, false, operation, &self.trap(operation, 1), true);
            }
        }
        let ran = session.stop();
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        assert!(!ran.stderr.contains(WARNING), "learning rewrites nothing: {}", ran.stderr);
    }

    /// Attacks, with a twin before each operation; prints what came of it.
    fn attack(&self, by: By, operations: &[(&'static str, Expect)], attacks: usize) {
        let session = self.session("--sandbox").start();
        let counted: Vec<_> = operations
            .iter()
            .map(|(operation, expect)| self.one(&session, by, operation, *expect, attacks))
            .collect();
        let expected: usize = counted.iter().map(|c| c.events).sum();
        wait_until("all violations are told", || session.events().len() >= expected);
        let status = Status::of(&session);
        check(&status);
        assert_eq!(status.count("rewritten arguments that could not be put back"), 0, "{}", status.text());
        let (rewritten, not) = (
            status.count("violating calls that were rewritten"),
            status.count("violating calls that could not be rewritten"),
        );
        assert_eq!((rewritten + not) as usize, expected, "{}", status.text());
        let ran = session.stop();
        assert!(ran.stderr.contains(WARNING), "{}", ran.stderr);
        let mut events = ran.violations().into_iter();
        println!(
            "\n{:<20} {:>7} {:>9} {:>9} {:>11}",
            "operation", "attacks", "rewritten", "effect", "got through"
        );
        for one in counted {
            let events: Vec<_> = events.by_ref().take(one.events).collect();
            let with = |key: &str, value: &str| events.iter().filter(|e| e[key] == value).count();
            let (rewritten, effect) = (with("action", "rewritten"), with("effect", "yes"));
            println!("{:<20} {:>7} {rewritten:>9} {effect:>9} {:>11}", one.operation, one.attacks, one.leaks);
            one.check(&events, rewritten, effect);
        }
        assert!(events.next().is_none(), "more violations than attacks");
        println!(
            "looks at a memory map that was being changed: {}",
            status.count("looks at a memory map that was being changed")
        );
    }

    fn one(
        &self,
        session: &Running,
        by: By,
        operation: &'static str,
        expect: Expect,
        attacks: usize,
    ) -> Counted {
        self.twin(by, operation);
        let attacks = if operation == "literal" { attacks.min(LITERALS) } else { attacks };
        let trap = self.trap(operation, attacks);
        let (killed, changed) = self.run(by, false, operation, &trap, false);
        // There it is a child of the attacker that attacks.
        let attackers = if operation == "vfork-execve" { 0 } else { trap.count };
        assert_eq!(
            killed,
            attackers,
            "{operation}: not every attacker was killed: {:#?}",
            session.events().last()
        );
        assert_eq!(changed, 0, "{operation}: rewritten memory was not put back");
        let (leaks, most) = trap.leaks();
        assert!(most <= 1 && leaks <= trap.count, "{operation}: {leaks} calls got through");
        Counted { operation, expect, attacks: trap.count, leaks, events: trap.count }
    }
}

impl Counted {
    fn check(&self, events: &[&Value], rewritten: usize, effect: usize) {
        let Self { operation, leaks, .. } = self;
        assert!(*leaks <= effect, "{operation}: {leaks} calls got through, the events say {effect}");
        match self.expect {
            Stopped => {
                assert_eq!((*leaks, effect), (0, 0), "{operation}: {:#?}", events.first());
                assert_eq!(rewritten, events.len(), "{operation}: {:#?}", events.first());
            }
            Unheeded => assert_eq!(rewritten, events.len(), "{operation}: {:#?}", events.first()),
            Once(why) => {
                assert_eq!(rewritten, 0, "{operation}: {:#?}", events.first());
                let says = |e: &&&Value| e["cause"].as_str().is_some_and(|cause| cause.contains(why));
                assert_eq!(
                    events.iter().filter(says).count(),
                    events.len(),
                    "{operation}: {:#?}",
                    events.first()
                );
            }
            Raced => {}
        }
    }
}

/// All decided, all killed, and all of it told.
fn check(status: &Status) {
    let (decided, allowed) =
        (status.count("calls decided in the kernel"), status.count("calls allowed there"));
    assert_eq!(decided, allowed + status.sum("violations: "), "the numbers do not add up\n{}", status.text());
    for wrong in [
        "records lost: the ring buffer was full",
        "kills from the kernel that failed",
        "task storage could not be created",
        "violations: unknown-site",
    ] {
        assert_eq!(status.count(wrong), 0, "{wrong}\n{}", status.text());
    }
    // Where programs can be preempted the kernel skips them for others: then a call would not be seen.
    println!("\nprograms skipped by the kernel: {}", status.count("programs skipped by the kernel"));
}

fn by_php() {
    let place = Place::new();
    place.learn(By::Php, &BY_PHP);
    place.attack(By::Php, &BY_PHP, attacks());
    with_the_kill_alone(&place);
}

/// Nothing is rewritten.
fn with_the_kill_alone(place: &Place) {
    let session = place.session("--sandbox").arg("--action").arg("kill").start();
    let trap = place.trap("unlink", 10);
    let (killed, _) = place.run(By::Php, false, "unlink", &trap, false);
    assert_eq!(killed, trap.count);
    assert_eq!(trap.leaks(), (trap.count, 1), "the one call in flight");
    wait_until("all violations are told", || session.events().len() >= trap.count);
    let ran = session.stop();
    for event in ran.violations() {
        assert_eq!((event["action"].as_str(), event["cause"].is_null()), (Some("killed"), true), "{event:#}");
    }
    assert_eq!(ran.violations().len(), trap.count);
}

/// Before Linux 6.10 `linkat` with `AT_EMPTY_PATH` was not for ordinary users, whatever the path was.
fn links_with_empty_path() -> bool {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's version");
    let mut numbers = text.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(10))
}

fn by_program() {
    let place = Place::new();
    place.learn(By::Program, &BY_PROGRAM);
    place.attack(By::Program, &BY_PROGRAM, attacks());
}

fn by_empty_path() {
    const OPERATIONS: [(&str, Expect); 1] = [("link-empty", Stopped)];
    if !links_with_empty_path() {
        limit(LINKS_NO_DESCRIPTOR);
    }
    let place = Place::new();
    place.learn(By::Program, &OPERATIONS);
    place.attack(By::Program, &OPERATIONS, attacks());
}
