//! The end-to-end suite of phase 2: decided in the kernel, killed from the kernel. Checked by effect: what an
//! attacking task gets done is one call at most.

mod kill {
    pub mod agreement;
    pub mod arena;
    pub mod attacks;
    pub mod counters;
    pub mod persist;
    pub mod preemption;
    pub mod swaps;
    pub mod threads;
}

use e2e::session::kernel_kill;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// Pins and control sockets have fixed names, one set for a machine. Here they are this suite's alone, and gone
/// with it, however it ends.
fn own_pins_and_sockets() {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).expect("make mounts private");
    // What is below must not appear when a test unmounts ours.
    while umount2("/sys/fs/bpf", MntFlags::MNT_DETACH).is_ok() {}
    mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), NONE).expect("mount a bpffs");
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).expect("mount /run");
}

fn main() {
    if std::env::var_os("TRACER").is_none() {
        // SAFETY: there is no other thread yet.
        unsafe { std::env::set_var("TRACER", kernel_kill()) };
    }
    // Who is not root is told so by the suite.
    if nix::unistd::geteuid().is_root() {
        own_pins_and_sockets();
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
