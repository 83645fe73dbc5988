//! Who runs first.

use std::sync::LazyLock;

use crate::kernel::holds_calls;

const FIRST: i32 = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;

/// This thread, from now on, ahead of whatever else wants its processor: while who decides waits for one, unauthorized
/// calls go through.
pub fn run_first() {
    set(FIRST, 10);
}

/// Calls on maps, with no other thread in between. Where programs at calls are those of perf's tracepoints, the kernel skips
/// them on a processor where such a call has been preempted, for whoever runs there instead. Short: it is ahead of everybody.
/// Without the privilege it is done as ever, and what is skipped is counted.
pub fn unpreempted<T>(work: impl FnOnce() -> T) -> T {
    static NEEDED: LazyLock<bool> = LazyLock::new(holds_calls);
    // SAFETY: asks about the calling thread.
    if !*NEEDED || unsafe { libc::sched_getscheduler(0) } != libc::SCHED_OTHER {
        return work();
    }
    let _ordinary = Ordinary;
    set(FIRST, 1);
    work()
}

/// What this thread is again when it is dropped.
struct Ordinary;

impl Drop for Ordinary {
    fn drop(&mut self) {
        set(libc::SCHED_OTHER, 0);
    }
}

fn set(policy: i32, priority: i32) {
    let param = libc::sched_param { sched_priority: priority };
    // SAFETY: changes the policy of the calling thread only; on failure it stays as it was.
    unsafe { libc::sched_setscheduler(0, policy, &raw const param) };
}

#[cfg(test)]
mod tests {
    use super::{FIRST, Ordinary, set};

    fn policy() -> i32 {
        // SAFETY: asks about the calling thread.
        unsafe { libc::sched_getscheduler(0) }
    }

    #[test]
    fn a_thread_is_an_ordinary_one_again() {
        let ordinary = Ordinary;
        set(FIRST, 1);
        let first = policy();
        drop(ordinary);
        assert_eq!(policy(), libc::SCHED_OTHER);
        // Without the privilege nothing was changed.
        assert!(first == FIRST || first == libc::SCHED_OTHER, "{first}");
    }
}
