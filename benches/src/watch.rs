//! Who else is attached to the system calls' tracepoints: everybody pays for that, so what is measured meanwhile
//! does not count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libbpf_rs::query::{LinkInfoIter, LinkTypeInfo};
use nix::time::{ClockId, clock_gettime};

use crate::interrupt;

const EVERY: Duration = Duration::from_millis(10);
/// Until others are gone.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Nanoseconds on the clock that PHP's `hrtime` reads.
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// Programs that are attached there, by anybody.
pub fn attached() -> usize {
    LinkInfoIter::default()
        .filter(|link| matches!(&link.info, LinkTypeInfo::RawTracepoint(at) if at.name.starts_with("sys_")))
        .count()
}

/// Waits until nobody is.
pub fn wait_until_alone() -> Result<()> {
    let since = Instant::now();
    while attached() > 0 {
        interrupt::check()?;
        ensure!(
            since.elapsed() < PATIENCE,
            "other programs are attached to the system calls' tracepoints (bpftool link), which is not to be measured"
        );
        thread::sleep(EVERY);
    }
    Ok(())
}

/// Looks on while something is measured.
pub struct Watch {
    stop: Arc<AtomicBool>,
    seen: JoinHandle<Vec<(u64, usize)>>,
}

impl Watch {
    /// From now on.
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let seen = thread::spawn(move || {
            let mut seen = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                seen.push((now(), attached()));
                thread::sleep(EVERY);
            }
            seen.push((now(), attached()));
            seen
        });
        Self { stop, seen }
    }

    /// Until now. `own`: programs that this run has attached itself.
    pub fn end(self, own: usize) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        Seen(self.seen.join().map_or_else(
            |_| Vec::new(),
            |seen| seen.into_iter().map(|(at, attached)| (at, attached == own)).collect(),
        ))
    }
}

/// When this run was alone.
pub struct Seen(Vec<(u64, bool)>);

impl Seen {
    /// Whether it was, at the last look before, at all looks in between and at the first look after.
    pub fn alone(&self, from: u64, to: u64) -> bool {
        let first = self.0.iter().rposition(|(at, _)| *at <= from);
        let last = self.0.iter().position(|(at, _)| *at >= to);
        match (first, last) {
            (Some(first), Some(last)) => self.0[first..=last].iter().all(|(_, alone)| *alone),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_is_who_was_at_every_look() {
        let seen = Seen(vec![(10, true), (20, true), (30, false), (40, true), (50, true)]);
        assert!(seen.alone(12, 20));
        assert!(!seen.alone(12, 21), "somebody came between 20 and 30");
        assert!(!seen.alone(31, 35), "somebody left between 30 and 40");
        assert!(seen.alone(40, 45));
        assert!(!seen.alone(5, 15), "nobody looked before");
        assert!(!seen.alone(45, 51), "nobody looked after");
    }
}
