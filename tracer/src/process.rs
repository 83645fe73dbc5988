//! Processes by pid and start time, and signals that reach exactly them.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Nanoseconds in a tick of `/proc/PID/stat`.
fn tick() -> u64 {
    // SAFETY: sysconf has no preconditions.
    let hz = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    1_000_000_000 / u64::try_from(hz).unwrap_or(100).max(1)
}

/// Why a process could not be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// It had ended.
    Gone,
    /// The number now belongs to another process.
    Recycled,
    /// The kernel refused (errno).
    Refused(i32),
}

impl std::fmt::Display for Miss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gone => f.write_str("it had ended"),
            Self::Recycled => f.write_str("its number belongs to another process now"),
            Self::Refused(errno) => write!(f, "{}", io::Error::from_raw_os_error(*errno)),
        }
    }
}

/// A process that cannot be mistaken for another: a pidfd whose start time was checked.
pub struct Process {
    pidfd: OwnedFd,
}

impl Process {
    /// Opens `pid` if it is the process that started at `start` (`CLOCK_BOOTTIME`, ns; to the precision of
    /// `/proc`, one tick). The pidfd is opened first, so whoever is checked is whoever is signalled.
    pub fn open(pid: u32, start: u64) -> Result<Self, Miss> {
        // SAFETY: pidfd_open takes plain integers; a non-negative result is a descriptor that we own.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
        if fd < 0 {
            return Err(match io::Error::last_os_error().raw_os_error() {
                Some(libc::ESRCH | libc::EINVAL) => Miss::Gone,
                other => Miss::Refused(other.unwrap_or(0)),
            });
        }
        // SAFETY: as above.
        let pidfd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Err(error) => Err(match error.raw_os_error() {
                Some(libc::ENOENT | libc::ESRCH) => Miss::Gone,
                other => Miss::Refused(other.unwrap_or(0)),
            }),
            Ok(text) if start_ticks_of(&text) == Some(start / tick()) => Ok(Self { pidfd }),
            Ok(_) => Err(Miss::Recycled),
        }
    }

    /// Whether all of its threads have ended, be it waited for or not.
    pub fn has_ended(&self) -> bool {
        let mut asked = libc::pollfd { fd: self.pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure, which lives as long as the call; it does not wait.
        unsafe { libc::poll(&raw mut asked, 1, 0) > 0 }
    }

    /// SIGKILL to the whole process.
    pub fn kill(&self) -> Result<(), Miss> {
        self.signal(libc::SIGKILL)
    }

    /// A signal to the process.
    pub fn signal(&self, signal: i32) -> Result<(), Miss> {
        // SAFETY: the descriptor is open; no siginfo; no flags.
        let done = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                signal,
                std::ptr::null::<u8>(),
                0,
            )
        };
        if done == 0 {
            return Ok(());
        }
        Err(match io::Error::last_os_error().raw_os_error() {
            Some(libc::ESRCH) => Miss::Gone,
            other => Miss::Refused(other.unwrap_or(0)),
        })
    }
}

/// A line of `/proc/PID/status`, by what it begins with, such as `Uid:`.
pub fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// The path that `/proc/PID/cgroup` tells, in the cgroup2 hierarchy.
pub fn cgroup_in(told: &str) -> Option<&str> {
    told.lines().find_map(|line| line.strip_prefix("0::"))
}

/// Whether it is a process of now: `/proc` has threads under their numbers, too.
pub fn is_running(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    field(&status, "Tgid:") == Some(&pid.to_string())
}

/// Lets this process hold a descriptor for each subject: as many as it may.
pub fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // What cannot be raised stays: pidfds are then opened at the moment of need.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Field 22; the name before it may hold anything, also parentheses and spaces.
fn start_ticks_of(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn start_of(pid: u32) -> u64 {
        start_ticks_of(&fs::read_to_string(format!("/proc/{pid}/stat")).unwrap()).unwrap() * tick()
    }

    fn own_start() -> u64 {
        start_of(std::process::id())
    }

    #[test]
    fn a_thread_is_no_process() {
        assert!(is_running(std::process::id()));
        assert!(!is_running(0) && !is_running(u32::MAX));
        let thread = std::thread::spawn(|| is_running(nix::unistd::gettid().as_raw() as u32));
        assert!(!thread.join().unwrap());
    }

    #[test]
    fn stat_with_hostile_name() {
        let rest = (3..=22).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(start_ticks_of(&format!("7 (a) R 1 (b) {rest}")), Some(22));
        assert_eq!(start_ticks_of("7 (a"), None);
    }

    #[test]
    fn a_recycled_number_is_nobody() {
        assert!(Process::open(std::process::id(), own_start()).is_ok());
        let other = Process::open(std::process::id(), own_start() + 5 * tick());
        assert_eq!(other.err(), Some(Miss::Recycled));
    }

    #[test]
    fn a_process_that_ended_is_gone() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert_eq!(Process::open(pid, 0).err(), Some(Miss::Gone));
    }

    #[test]
    fn the_right_process_dies() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let start = start_of(child.id());
        Process::open(child.id(), start).unwrap().kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }
}
