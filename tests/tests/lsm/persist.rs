//! Tracers that are killed, adopted and ended: what decides is a program of its own there, put into those of the
//! hooks, and none of them may run without it while honest code goes on.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::arena::{Arena, Status, pin, succeeds};
use e2e::fpm::wait_until;
use e2e::session::{Running, Session, ends_with_test, tracer};
use e2e::suite::test;
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::world::{arena, session};

/// One of each class.
const PROCESSES: usize = 2;
/// Microseconds between their rounds: tracers start beside them, on one processor where it is emulated.
const PAUSE: &str = "100000";
const WHILE: Duration = Duration::from_secs(2);

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("honest_code_is_not_denied_while_a_tracer_ends", ended),
        test("nothing_gets_through_and_honest_code_is_not_denied_while_tracers_are_adopted", adopted),
    ]
}

/// Nothing is left to the next test, however this one ends. To be made first: it goes last.
struct Cleanup;

impl Drop for Cleanup {
    fn drop(&mut self) {
        let _ = Command::new(tracer()).args(["--lsm", "--unpersist"]).output();
    }
}

/// Processes that do what they may, and try what they may not, all the time.
struct Hammers {
    arena: Arena,
    folder: PathBuf,
}

impl Hammers {
    fn learnt() -> Self {
        let arena = arena();
        let folder = arena.folder("hammer");
        let hammers = Self { arena, folder };
        let learning =
            hammers.session("--profile").arg("--syscalls").arg("symlink,unlink,mkdir,rmdir").start();
        for class in ["Left", "Right"] {
            succeeds(&mut hammers.php(class, "learn"));
        }
        assert_eq!(learning.stop().status, 0);
        hammers
    }

    fn session(&self, mode: &str) -> Session {
        session(self.arena.root(), mode).arg("--php").arg(self.arena.arg("php"))
    }

    fn php(&self, class: &str, what: &str) -> Command {
        self.arena.php("hammer.php", &[class, &self.folder.display().to_string(), what, PAUSE])
    }

    fn start(&self) -> Vec<Child> {
        let _ = fs::remove_file(self.folder.join("stop"));
        let start = |n: usize| {
            let mut command = self.php(["Left", "Right"][n % 2], "hammer");
            pin(&mut command, Some(n));
            ends_with_test(command.stderr(Stdio::inherit())).spawn().expect("start PHP")
        };
        let processes: Vec<Child> = (0..PROCESSES).map(start).collect();
        wait_until("all of them work", || {
            processes.iter().all(|p| self.folder.join(format!("{}.works", p.id())).exists())
        });
        processes
    }

    /// What they tell, added up.
    fn stop(&self, processes: Vec<Child>) -> [u64; 4] {
        fs::write(self.folder.join("stop"), "").expect("tell them to stop");
        let mut sums = [0; 4];
        for process in processes {
            let output = process.wait_with_output().expect("wait for PHP");
            assert!(output.status.success(), "{output:?}");
            let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            for (sum, what) in sums.iter_mut().zip(["allowed", "refused", "leaked", "denied"]) {
                *sum += told[what].as_u64().expect("a number");
            }
        }
        sums
    }
}

fn kill(running: Running) {
    running.signal(Signal::SIGKILL);
    drop(running.wait());
}

fn ended() {
    let hammers = Hammers::learnt();
    for end in [|running: Running| drop(running.stop()), kill] {
        let running = hammers.session("--sandbox").start();
        let processes = hammers.start();
        std::thread::sleep(WHILE);
        end(running);
        std::thread::sleep(WHILE);
        let [allowed, refused, leaked, denied] = hammers.stop(processes);
        assert_eq!(refused, 0, "of {allowed} allowed calls");
        assert!(leaked > 0 && denied > 0, "{denied} denied before, {leaked} done after");
    }
}

fn adopted() {
    const ROUNDS: usize = 2;
    let _cleanup = Cleanup;
    let hammers = Hammers::learnt();
    let start = || hammers.session("--sandbox").arg("--persist").start();
    let mut running = start();
    let processes = hammers.start();
    for round in 0..ROUNDS {
        std::thread::sleep(WHILE);
        match round {
            0 => drop(running.stop()),
            _ => kill(running),
        }
        std::thread::sleep(WHILE);
        running = start();
    }
    std::thread::sleep(WHILE);
    let status = Status::of(&running);
    running.stop();
    let [allowed, refused, leaked, denied] = hammers.stop(processes);
    assert_eq!((refused, leaked), (0, 0), "of {allowed} allowed calls and {denied} forbidden ones");
    assert!(allowed > 100 && denied > 100, "{allowed} allowed, {denied} denied");
    status.assert_decided();
    let processes = hammers.start();
    std::thread::sleep(WHILE);
    let ended = Command::new(tracer()).args(["--lsm", "--unpersist"]).status().expect("run --unpersist");
    assert!(ended.success());
    std::thread::sleep(WHILE);
    let [allowed, refused, leaked, _] = hammers.stop(processes);
    assert_eq!(refused, 0, "of {allowed} allowed calls while it was ended");
    assert!(leaked > 0, "it was not ended");
    println!("\n{ROUNDS} adoptions beside {allowed} allowed and {denied} denied calls");
}
