//! The end-to-end suite of phase 2: decided in the kernel, killed from the kernel. Checked by effect: what an
//! attacking task gets done is one call at most.

mod kill {
    pub mod agreement;
    pub mod attacks;
    pub mod counters;
    pub mod persist;
    pub mod preemption;
    pub mod swaps;
    pub mod threads;
}

use e2e::session::kernel_kill;

fn main() {
    if std::env::var_os("TRACER").is_none() {
        // SAFETY: there is no other thread yet.
        unsafe { std::env::set_var("TRACER", kernel_kill()) };
    }
    // Who is not root is told so by the suite.
    if nix::unistd::geteuid().is_root() {
        e2e::suite::own_pins_and_sockets();
    }
    let all = [
        kill::counters::tests(),
        kill::agreement::tests(),
        kill::attacks::tests(),
        kill::threads::tests(),
        kill::swaps::tests(),
        kill::persist::tests(),
        kill::preemption::tests(),
    ];
    e2e::suite::main(all.into_iter().flatten().collect())
}
