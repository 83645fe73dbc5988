//! Subjects that a kill cannot contain: one call that gets through first is enough for them to end the sandbox.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::process::field;

/// Capabilities by which a process ends the tracer, becomes root, or changes the kernel: number, and how that is told.
const CAPABILITIES: [(u32, &str); 12] = [
    (0, "have CAP_CHOWN"),
    (1, "have CAP_DAC_OVERRIDE"),
    (3, "have CAP_FOWNER"),
    (5, "have CAP_KILL"),
    (7, "have CAP_SETUID"),
    (16, "have CAP_SYS_MODULE"),
    (17, "have CAP_SYS_RAWIO"),
    (19, "have CAP_SYS_PTRACE"),
    (21, "have CAP_SYS_ADMIN"),
    (27, "have CAP_MKNOD"),
    (31, "have CAP_SETFCAP"),
    (39, "have CAP_BPF"),
];

/// What those of these processes have that are not contained: `1 subject(s) run as root`.
pub fn of(pids: impl IntoIterator<Item = u32>) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for privilege in pids.into_iter().filter_map(privilege) {
        *counts.entry(privilege).or_default() += 1;
    }
    let told: Vec<String> = counts.iter().map(|(what, n)| format!("{n} subject(s) {what}")).collect();
    (!told.is_empty()).then(|| told.join(", "))
}

fn privilege(pid: u32) -> Option<&'static str> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    if serves_nobody(pid, &status) {
        return None;
    }
    // Those of another user namespace reach nothing outside it.
    let namespace = |pid: &str| fs::metadata(format!("/proc/{pid}/ns/user")).map(|about| about.ino()).ok();
    told_by(&status, namespace(&pid.to_string()) == namespace("self"))
}

/// php-fpm's master is root by design.
fn serves_nobody(pid: u32, status: &str) -> bool {
    let exe = |pid: &str| fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let own = exe(&pid.to_string());
    is_fpm(&own) && exe(field(status, "PPid:").unwrap_or_default()) != own
}

/// By the file's own name: a folder may be called anything.
fn is_fpm(exe: &Path) -> bool {
    exe.file_name().is_some_and(|name| name.to_string_lossy().contains("fpm"))
}

fn told_by(status: &str, in_our_namespace: bool) -> Option<&'static str> {
    // Also the real or the saved one: who has it takes it back.
    if field(status, "Uid:").is_some_and(|ids| ids.split_ascii_whitespace().any(|id| id == "0")) {
        return Some("run as root");
    }
    let permitted = field(status, "CapPrm:").and_then(|caps| u64::from_str_radix(caps, 16).ok())?;
    let has = |&&(number, _): &&(u32, &str)| permitted >> number & 1 != 0;
    CAPABILITIES.iter().find(has).filter(|_| in_our_namespace).map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::{is_fpm, told_by};

    fn status(uids: &str, permitted: &str) -> String {
        format!("Name:\tphp\nPPid:\t1\nUid:\t{uids}\nCapInh:\t0000000000000000\nCapPrm:\t{permitted}\n")
    }

    #[test]
    fn who_is_or_may_become_root_is_told() {
        let none = "0000000000000000";
        assert_eq!(told_by(&status("33\t33\t33\t33", none), true), None);
        assert_eq!(told_by(&status("33\t0\t0\t0", none), true), Some("run as root"));
        assert_eq!(told_by(&status("0\t33\t33\t33", none), true), Some("run as root"));
        assert_eq!(told_by(&status("33\t33\t0\t33", none), true), Some("run as root"));
        assert_eq!(told_by(&status("100\t10\t1000\t10", none), true), None);
        assert_eq!(told_by(&status("0\t0\t0\t0", none), false), Some("run as root"), "root's files are his");
    }

    #[test]
    fn capabilities_count_in_the_tracers_user_namespace() {
        let with = |permitted| status("33\t33\t33\t33", permitted);
        assert_eq!(told_by(&with("0000000000000020"), true), Some("have CAP_KILL"));
        assert_eq!(told_by(&with("0000000000000002"), true), Some("have CAP_DAC_OVERRIDE"));
        assert_eq!(told_by(&with("0000008000000000"), true), Some("have CAP_BPF"));
        assert_eq!(told_by(&with("0000000000200000"), true), Some("have CAP_SYS_ADMIN"));
        assert_eq!(told_by(&with("000001ffffffffff"), false), None);
        // Binding low ports reaches nobody.
        assert_eq!(told_by(&with("0000000000000400"), true), None);
    }

    #[test]
    fn only_fpm_itself_may_be_a_master() {
        let is_fpm = |exe: &str| is_fpm(exe.as_ref());
        assert!(is_fpm("/usr/sbin/php-fpm8.2") && is_fpm("/opt/php/sbin/php-fpm (deleted)"));
        assert!(!is_fpm("/srv/fpm/bin/php") && !is_fpm("/usr/bin/php8.2"));
    }

    #[test]
    fn who_has_ended_has_none() {
        assert_eq!(super::of([0, u32::MAX]), None);
    }
}
