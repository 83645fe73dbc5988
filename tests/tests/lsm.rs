//! The end-to-end suite of the LSM strategy (`phase3-lsm --lsm`). Checked by effect: nothing that was not learnt is
//! done, PHP is told `Operation not permitted`, and goes on.
//!
//! Loading the hooks takes most of the time where processors are emulated: tests share sessions. What takes another
//! kernel command line is run, and is all that is run, where it is there: `preempt=full`, and `lsm=` without `bpf`.

mod lsm {
    pub mod attacks;
    pub mod boot;
    pub mod calls;
    pub mod context;
    pub mod demonstration;
    pub mod dump;
    pub mod fpm;
    pub mod honest;
    pub mod persist;
    pub mod race;
    pub mod rules;
    pub mod trap;
    pub mod world;
}

use e2e::session::rewriting;
use nix::sched::{CloneFlags, unshare};

fn main() {
    if std::env::var_os("TRACER").is_none() {
        // SAFETY: there is no other thread yet.
        unsafe { std::env::set_var("TRACER", rewriting()) };
    }
    // Who is not root is told so by the suite.
    if nix::unistd::geteuid().is_root() {
        e2e::suite::own_pins_and_sockets();
        // A test changes the machine's name.
        unshare(CloneFlags::CLONE_NEWUTS).expect("a name space for the machine's name");
    }
    let all = if lsm::boot::is_fully_preemptible() {
        vec![lsm::boot::preemption()]
    } else if lsm::boot::is_without_bpf() {
        vec![lsm::boot::fallback()]
    } else {
        vec![
            lsm::honest::learning(),
            lsm::attacks::baseline(),
            lsm::honest::tests(),
            lsm::attacks::tests(),
            lsm::calls::tests(),
            lsm::fpm::tests(),
            lsm::attacks::told(),
            lsm::rules::tests(),
            lsm::race::tests(),
            lsm::context::tests(),
            lsm::dump::tests(),
            lsm::persist::tests(),
            lsm::demonstration::tests(),
        ]
    };
    e2e::suite::main(all.into_iter().flatten().collect())
}
