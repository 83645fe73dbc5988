//! What an fpm master may always do.

use super::{Constraint, Grant, GrantKey, GrantMode, Who};
use crate::op::Op;
use crate::op::lsm::seen_as;
use crate::profile::View;
use crate::site::Site;

/// Respawning and scaling: children, their pipes, and signals to them.
/// The socket may be a path, whose owner and mode are set.
const ANY: &[&str] = &[
    "clone:process",
    "clone3:process",
    "fork",
    "vfork",
    "kill:self",
    "kill:subject",
    "tgkill:self",
    "socket:unix", // also by a worker that it told to end: see `is_ending`
    "socket:inet",
    "socket:inet6",
    "socketpair:unix",
    "bind:unix",
    "bind:inet",
    "bind:inet6",
    "connect:unix",
    "listen",
    "sendto:unix",
    "sendmsg:unix",
    "openat:read",
    "open:read",
    "mmap:plain",
    "mprotect:plain",
    "fcntl:plain",
    "ioctl:plain",
    "prctl:plain",
    // What a new worker does before its first request: it becomes the pool's user.
    "setgid",
    "setgroups",
    "setuid",
    "prctl:privilege",
    "prctl:process",
    "chroot",
    // The attempt of a reload; what is started is judged as `exec`.
    "execve",
];

/// Reopening logs.
const LOGS: &[&str] = &["open:create", "openat:create", "open:write", "openat:write"];
const LOG_PATHS: &[&str] = &[
    "/var/log/*",
    "/var/log/*/*",
    "/var/log/*/*/*",
    "/usr/local/var/log/*",
    "/opt/*/var/log/*",
    "/dev/null",
    "/dev/stdout",
    "/dev/stderr",
    "/proc/self/fd/1",
    "/proc/self/fd/2",
];

/// The process id file and the sockets.
const RUN: &[&str] = &[
    "openat:create",
    "openat:truncate",
    "open:create",
    "open:truncate",
    "creat",
    "unlink",
    "unlinkat",
    "chmod",
    "fchmodat",
    "chown",
    "fchownat",
    "lchown",
];
const RUN_PATHS: &[&str] =
    &["/run/*", "/run/*/*", "/var/run/*", "/var/run/*/*", "/usr/local/var/run/*", "/opt/*/var/run/*"];

fn grant(op: &str, constraints: Vec<Constraint>) -> Grant {
    let operation = Op::parse(op).expect("a test parses every built-in operation");
    GrantKey { who: Who::site(Site::master()), operation, constraints }.into_grant(GrantMode::Enforce)
}

fn paths(patterns: &[&str]) -> Vec<Constraint> {
    vec![Constraint::Path(patterns.iter().map(|&pattern| pattern.into()).collect())]
}

/// What `{master}` may do in every profile: start, respawn, reload (an exec of
/// itself), reopen logs, scale. A profile can add to it, and not take away.
pub fn builtin_master(view: View) -> Vec<Grant> {
    let calls = builtin_calls();
    match view {
        View::Syscall => calls,
        View::Lsm => calls.iter().flat_map(as_hooks_see).collect(),
    }
}

/// Several calls are one operation there; what none sees needs no grant.
fn as_hooks_see(grant: &Grant) -> impl Iterator<Item = Grant> + use<> {
    let grant = grant.clone();
    seen_as(grant.operation).into_iter().map(move |operation| Grant { operation, ..grant.clone() })
}

fn builtin_calls() -> Vec<Grant> {
    let any = ANY.iter().map(|op| grant(op, Vec::new()));
    let logs = LOGS.iter().map(|op| grant(op, paths(LOG_PATHS)));
    let run = RUN.iter().map(|op| grant(op, paths(RUN_PATHS)));
    any.chain(logs).chain(run).chain([grant("exec", vec![Constraint::Itself])]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Context;

    #[test]
    fn built_in_grants_are_valid() {
        for view in [View::Syscall, View::Lsm] {
            for grant in builtin_master(view) {
                grant.check(view, Context::Nearest, &[]).unwrap();
            }
        }
    }
}
