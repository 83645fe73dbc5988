//! `--uid` and `--cgroup` of processes that are only looked at: the kernel side asks at calls, and who has made none yet
//! has not been asked.

use std::fs;
use std::path::{Path, PathBuf};

use libbpf_rs::MapHandle;
use shared::intf;

use crate::images::processes;
use crate::process::{cgroup_in, field};

/// Whom a session watches of those that run its images.
#[derive(Default)]
pub struct Filters {
    uid: Option<u32>,
    /// From the root of the hierarchy; none: all.
    cgroups: Vec<PathBuf>,
}

impl Filters {
    /// As the command line has them.
    pub fn new(uid: Option<u32>, cgroups: Vec<PathBuf>) -> Self {
        Self { uid, cgroups }
    }

    /// Whether there are any.
    pub fn narrow(&self) -> bool {
        self.uid.is_some() || !self.cgroups.is_empty()
    }

    /// Who is watched now, or will be at its next call.
    pub fn watched(&self, procs: &MapHandle) -> Vec<intf::proc_> {
        let is_ignored = |process: &intf::proc_| process.flags & intf::PROC_IGNORED != 0;
        let all = processes(procs).into_iter();
        all.filter(|(pid, process)| !is_ignored(process) || self.let_through(*pid)).map(|(_, p)| p).collect()
    }

    fn let_through(&self, pid: u32) -> bool {
        let about = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        self.uid.is_none_or(|uid| uid_in(&about("status")) == Some(uid))
            && (self.cgroups.is_empty() || self.has_cgroup(&about("cgroup")))
    }

    fn has_cgroup(&self, told: &str) -> bool {
        cgroup_in(told)
            .is_some_and(|own| self.cgroups.iter().any(|cgroup| Path::new(own).starts_with(cgroup)))
    }
}

/// The real one, as the kernel side compares it.
fn uid_in(status: &str) -> Option<u32> {
    field(status, "Uid:")?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_has_those_below_it() {
        let filters = Filters::new(None, vec!["/system.slice/php.service".into()]);
        for (told, is_in) in [
            ("12:cpu:/system.slice/php.service\n0::/system.slice/php.service\n", true),
            ("0::/system.slice/php.service/pool\n", true),
            ("0::/system.slice/php.service2\n", false),
            ("0::/system.slice\n", false),
            ("12:cpu:/system.slice/php.service\n", false),
            ("", false),
        ] {
            assert_eq!(filters.has_cgroup(told), is_in, "{told}");
        }
        assert!(Filters::new(None, vec!["/".into()]).has_cgroup("0::/\n"));
    }

    #[test]
    fn the_user_is_the_real_one() {
        assert_eq!(uid_in("Name:\tphp\nUid:\t33\t0\t0\t0\n"), Some(33));
        assert_eq!(uid_in(""), None);
        let own = std::process::id();
        let uid = nix::unistd::getuid().as_raw();
        assert!(Filters::new(Some(uid), Vec::new()).let_through(own));
        assert!(!Filters::new(Some(uid + 1), Vec::new()).let_through(own));
    }
}
