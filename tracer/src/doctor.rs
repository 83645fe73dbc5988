//! `--doctor`: what this kernel and this PHP can do, told by trying.

use std::fs;
use std::path::Path;

use anyhow::Result;
use introspect::{Image, Sapi};
use shared::op::lsm::BY_FUNCTION;

use crate::images::has_probe;
use crate::kernel::{Kernel, LIVES, ReadOnly, has_return_work, quietly};
use crate::probe::{self, Reason, StrategyReport, Surroundings, Verdict};
use crate::{Phase, RETURN_PROGRAMS, Returns, say};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    /// Works without it.
    Worse,
    /// Nothing works without it.
    Bad,
}

struct Check {
    state: State,
    what: &'static str,
    found: String,
    /// What to do; empty where nothing is to be done.
    advice: String,
}

impl Check {
    fn good(what: &'static str, found: impl Into<String>) -> Self {
        Self { state: State::Good, what, found: found.into(), advice: String::new() }
    }

    fn worse(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: State::Worse, what, found: found.into(), advice: advice.into() }
    }

    fn bad(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: State::Bad, what, found: found.into(), advice: advice.into() }
    }
}

/// Prints every check, and which strategies work here; status 0 if this binary's own does, else 125.
pub fn run(phase: &dyn Phase) -> Result<u8> {
    let around = Surroundings::read();
    let mut checks = vec![
        privileges(),
        machine(),
        pid_namespace(),
        btf(),
        mounted("tracefs", "/sys/kernel/tracing/events", "mount -t tracefs tracefs /sys/kernel/tracing"),
        lockdown(&around),
        lsm(&around),
        memlock(),
    ];
    if phase.decides_in_kernel() {
        checks.push(bpffs());
    }
    if checks[0].state == State::Good {
        checks.extend(programs(phase));
        checks.push(call_functions());
    }
    for check in &checks {
        print(check);
    }
    say("");
    images();
    say("");
    Ok(strategies(phase, &checks))
}

/// Tells about every strategy; the status is that of this binary's own, which needs all the checks besides.
fn strategies(phase: &dyn Phase, checks: &[Check]) -> u8 {
    let mut reports = probe::strategies();
    let own =
        reports.iter_mut().find(|r| r.strategy == phase.strategy()).expect("every strategy has a report");
    if let Some(bad) = checks.iter().find(|c| c.state == State::Bad)
        && own.works()
    {
        let why = format!("{}: {}", bad.what, bad.found);
        own.verdict = Verdict::Fails(Reason { why, hint: bad.advice.clone() });
    }
    let status = if own.works() { 0 } else { crate::cli::STATUS_ERROR };
    reports.iter().for_each(print_strategy);
    status
}

fn print_strategy(report: &StrategyReport) {
    let name = report.strategy;
    let hint = match &report.verdict {
        Verdict::Works(seen) => {
            say(&format!("ok    {name} works here: {seen}"));
            return;
        }
        Verdict::WorksLess(reason) => {
            say(&format!("note  {name} works here: {}", reason.why));
            &reason.hint
        }
        Verdict::Fails(reason) => {
            say(&format!("FAIL  {name} does not work here: {}", reason.why));
            &reason.hint
        }
    };
    if !hint.is_empty() {
        say(&format!("      Hint: {hint}"));
    }
}

fn print(check: &Check) {
    let mark = match check.state {
        State::Good => "ok  ",
        State::Worse => "note",
        State::Bad => "FAIL",
    };
    say(&format!("{mark}  {:<22} {}", check.what, check.found));
    if !check.advice.is_empty() {
        say(&format!("      Hint: {}", check.advice));
    }
}

/// Effective capabilities, by number as in `linux/capability.h`.
fn privileges() -> Check {
    const NEEDED: [(u32, &str); 6] = [
        (5, "CAP_KILL"),
        (19, "CAP_SYS_PTRACE"),
        (21, "CAP_SYS_ADMIN"),
        (23, "CAP_SYS_NICE"),
        (38, "CAP_PERFMON"),
        (39, "CAP_BPF"),
    ];
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = crate::process::field(&status, "CapEff:").unwrap_or_default();
    let effective = u64::from_str_radix(effective, 16).unwrap_or(0);
    let missing: Vec<&str> =
        NEEDED.iter().filter(|(bit, _)| effective >> bit & 1 == 0).map(|(_, n)| *n).collect();
    if missing.is_empty() {
        return Check::good("capabilities", "all that are needed");
    }
    Check::bad("capabilities", format!("missing: {}", missing.join(", ")), "run it as root, with sudo")
}

fn machine() -> Check {
    let release =
        nix::sys::utsname::uname().map(|u| u.release().to_string_lossy().into_owned()).unwrap_or_default();
    if cfg!(target_arch = "x86_64") {
        return Check::good("machine", format!("x86-64, Linux {release}"));
    }
    Check::bad("machine", std::env::consts::ARCH, "only x86-64 is supported")
}

fn pid_namespace() -> Check {
    let own = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    if own == Path::new(crate::session::INITIAL_PID_NAMESPACE) {
        return Check::good("pid namespace", "the initial one");
    }
    Check::bad("pid namespace", "one of its own", "run it on the host, or with --pid=host")
}

fn btf() -> Check {
    match fs::metadata("/sys/kernel/btf/vmlinux") {
        Ok(found) => Check::good("kernel types (BTF)", format!("{} KiB", found.len() / 1024)),
        Err(_) => Check::bad("kernel types (BTF)", "none", "use a kernel built with CONFIG_DEBUG_INFO_BTF"),
    }
}

fn mounted(what: &'static str, path: &str, command: &str) -> Check {
    if Path::new(path).exists() {
        return Check::good(what, "mounted");
    }
    Check::worse(what, "not mounted: uprobes go through perf instead", command.to_owned())
}

fn lockdown(around: &Surroundings) -> Check {
    match around.lockdown.as_deref() {
        Some("confidentiality") => Check::bad(
            "lockdown",
            "confidentiality: programs may not read memory",
            "boot without lockdown=confidentiality",
        ),
        Some(mode) => Check::good("lockdown", format!("{mode} (rewriting needs none)")),
        None if around.securityfs => Check::good("lockdown", "this kernel has none"),
        None => Check::worse("lockdown", "not known", probe::MOUNT_SECURITYFS),
    }
}

fn lsm(around: &Surroundings) -> Check {
    match &around.lsms {
        Some(active) if probe::lists_bpf(active) => Check::good("LSM list", active),
        Some(active) => Check::worse(
            "LSM list",
            format!("{active}: without bpf (only --lsm of phase 3 needs it)"),
            format!("boot with {}", probe::boot_parameter(active)),
        ),
        None => Check::worse("LSM list", "not known", probe::MOUNT_SECURITYFS),
    }
}

/// Since 5.11 maps are charged to the cgroup, not to this limit.
fn memlock() -> Check {
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_MEMLOCK);
    let shown = match limit {
        Ok((soft, _)) if soft == nix::libc::RLIM_INFINITY => "unlimited".to_owned(),
        Ok((soft, _)) => format!("{} KiB", soft / 1024),
        Err(error) => error.to_string(),
    };
    Check::good("RLIMIT_MEMLOCK", format!("{shown} (not needed since Linux 5.11)"))
}

/// Where no hook sees a call.
fn call_functions() -> Check {
    const WHAT: &str = "functions of calls";
    let names = BY_FUNCTION.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    if probe::calls_can_be_denied() {
        return Check::good(
            WHAT,
            format!("can return an error (fmod_ret/__x64_sys_*): --lsm polices {names}"),
        );
    }
    Check::worse(
        WHAT,
        format!(
            "cannot return an error (fmod_ret/__x64_sys_*, seen on Linux 7.3): --lsm does not police {names}"
        ),
        "use phase2-kernel-kill where one of them matters",
    )
}

/// Loads and attaches everything, as a session would.
fn programs(phase: &dyn Phase) -> Vec<Check> {
    let config = match crate::session::probe_config(phase) {
        // As a session would: what is never done is not verified.
        Ok(config) => ReadOnly {
            actions: phase.default_actions(),
            return_work: phase.returns() == Returns::OfTasks && has_return_work(),
            ..config
        },
        Err(error) => return vec![Check::bad("programs", format!("{error:#}"), "")],
    };
    let mut kernel = match load(phase, &config) {
        Ok(kernel) => kernel,
        Err(error) => {
            return vec![Check::bad(
                "programs load",
                format!("{error:#}"),
                "see below what this strategy lacks; Linux 6.1 or later with BTF is needed in any case",
            )];
        }
    };
    let mut checks = vec![Check::good("programs load", "all, ring buffer and task storage with them")];
    let verified = Check::good("instructions verified", verified_instructions(&mut kernel));
    for name in LIVES.into_iter().chain(RETURN_PROGRAMS).chain(phase.call_programs()) {
        if let Err(error) = kernel.attach_loaded(name) {
            checks.push(Check::bad(
                "tracepoints",
                format!("{error:#}"),
                "a hook is not there on this kernel",
            ));
        }
    }
    if checks.len() == 1 {
        checks.push(Check::good("tracepoints", "attach"));
    }
    checks.push(verified);
    checks.push(match kernel.iterate("find_running") {
        Ok(_) => Check::good("task iterator", "runs"),
        Err(error) => Check::bad("task iterator", format!("{error:#}"), "running processes cannot be found"),
    });
    checks.push(match crate::layout::find(&mut kernel) {
        Ok(()) => Check::good("untouched memory", "names in it can be read"),
        Err(error) => Check::worse("untouched memory", format!("{error:#}: names in it are {{unknown}}"), ""),
    });
    checks.push(uprobe(&mut kernel));
    checks
}

/// What the verifier went through, of the million that it allows a program.
fn verified_instructions(kernel: &mut Kernel) -> String {
    let told = kernel.verified().into_iter().map(|(name, count)| format!("{name} {count}"));
    told.collect::<Vec<_>>().join(", ")
}

/// Where `--persist` pins what it keeps.
fn bpffs() -> Check {
    if Path::new("/sys/fs/bpf").is_dir() {
        return Check::good("bpffs", "can be had (--persist)");
    }
    Check::worse("bpffs", "none: no --persist", "mount -t bpf bpf /sys/fs/bpf, on a kernel that has it")
}

fn load(phase: &dyn Phase, config: &ReadOnly) -> Result<Kernel> {
    Ok(Kernel::new(quietly(|| phase.load(config))?, config.instance))
}

fn uprobe(kernel: &mut Kernel) -> Check {
    let first = introspect::discover().into_iter().find_map(|path| introspect::introspect(&path).ok());
    let Some(image) = first else { return Check::worse("uprobes", "no PHP to try them on", "") };
    let Some(symbol) = image.symbols.request_startup else {
        return Check::worse("uprobes", format!("{} exports no start of requests", image.path.display()), "");
    };
    match kernel.attach_uprobes("request_edges", "request_edge", &image.path, &[(symbol.file_offset, 0)]) {
        Ok(()) => Check::good("uprobes", "attach"),
        Err(error) => {
            Check::worse("uprobes", format!("{error:#}"), "{engine}'s phases and the master cannot be told")
        }
    }
}

/// Every PHP of this machine, and what can be said of it.
fn images() {
    let found = introspect::discover();
    if found.is_empty() {
        say("no PHP found in the usual places; name one with --php");
    }
    for path in found {
        match introspect::introspect(&path) {
            Ok(image) => say(&format!("PHP  {}", describe(&image))),
            Err(error) => say(&format!("PHP  {error}\n      Hint: {}", error.hint())),
        }
    }
    for running in introspect::running(|_| true) {
        let of = running.via_library.as_deref().unwrap_or(&running.exe);
        say(&format!("     process {} runs {}: {}", running.pid, of.display(), self_check(running.pid, of)));
    }
}

fn describe(image: &Image) -> String {
    let usdt = if has_probe(image, "function__entry") { "USDT probes" } else { "no USDT probes" };
    let phases = if image.symbols.request_startup.is_some() { "request phases" } else { "no request phases" };
    let master = if image.sapi == Sapi::Fpm { ", master told from workers" } else { "" };
    format!(
        "{}: {} {}, {}; {phases}, {usdt}{master}",
        image.path.display(),
        image.sapi,
        image.version.as_deref().unwrap_or("of unknown version"),
        image.abi
    )
}

/// Whether the offsets fit a process that runs.
fn self_check(pid: i32, path: &Path) -> String {
    let check = || -> Result<String> {
        let image = introspect::introspect(path)?;
        let bias = introspect::load_bias(pid, &image)?.ok_or_else(|| anyhow::anyhow!("not mapped"))?;
        if image.zts {
            return Ok("thread-safe: checked when it is watched".into());
        }
        match introspect::verify_live(pid, &image, bias).map_err(anyhow::Error::msg)? {
            introspect::SelfCheck::Idle => Ok("idle".into()),
            introspect::SelfCheck::Ok { frames } => {
                Ok(format!("its stack of {} frames was read", frames.len()))
            }
        }
    };
    check().unwrap_or_else(|error| format!("self-check failed: {error:#}"))
}
