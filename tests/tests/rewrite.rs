//! The end-to-end suite of rewriting (phase 3 without LSM). Checked by effect: nothing gets through where the
//! argument lies in memory that can be written at that moment, one call for each attacking task where it does not.
//!
//! Kernel lockdown forbids rewriting; there the suite fails, and says so (that nothing starts there is a test of the
//! suite `cli`). `REWRITE_ATTACKS` is how many attacks
//! there are of each operation. Under `preempt=full` one test is run, and no other.

mod rewrite {
    pub mod attacks;
    pub mod boot;
    pub mod opcache;
    pub mod start;
    pub mod trap;
}

use e2e::session::rewriting;
use e2e::suite::test;

/// What the tracer says where this kernel lets no program rewrite anything.
fn forbidden() -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let ran = e2e::session::Session::new(folder.path(), "--profile").run(["true"]);
    ran.stderr.lines().find(|line| line.contains("lockdown")).map(ToOwned::to_owned)
}

fn main() {
    if std::env::var_os("TRACER").is_none() {
        // SAFETY: there is no other thread yet.
        unsafe { std::env::set_var("TRACER", rewriting()) };
    }
    // Who is not root is told so by the suite.
    if nix::unistd::geteuid().is_root() {
        e2e::suite::own_pins_and_sockets();
    }
    if let Some(why) = forbidden() {
        let fails = move || panic!("{why}: run this suite in a guest");
        e2e::suite::main(vec![test("this_kernel_lets_programs_rewrite", fails)])
    }
    if rewrite::boot::is_fully_preemptible() {
        e2e::suite::main(rewrite::boot::tests())
    }
    let all = [rewrite::start::tests(), rewrite::attacks::tests(), rewrite::opcache::tests()];
    e2e::suite::main(all.into_iter().flatten().collect())
}
