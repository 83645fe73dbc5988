//! What the kernel at hand lets a strategy do, found out by doing it to the tracer itself.
//!
//! Each thing that a strategy needs has a tiny program of its own (`probe.bpf.c`), which is loaded, attached and
//! asked by a made-up `prctl` of this process; what counts is the effect that is seen then. Files of the kernel
//! (the list of LSMs, the lockdown mode) only serve to tell why, and what to do.

use std::fmt;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{ErrorKind, Link, MapCore, OpenObject};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::cli::Hinted;
use crate::kernel::{quietly, replace_function};
use crate::maps::MapCalls;

#[allow(clippy::all, clippy::pedantic, clippy::undocumented_unsafe_blocks, missing_docs)] // generated
mod generated {
    include!(concat!(env!("OUT_DIR"), "/skel.rs"));
}

/// How a violation is met: what the three binaries can do between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// `SIGKILL` from user space.
    UserKill,
    /// `SIGKILL` from the kernel.
    KernelKill,
    /// The argument is rewritten, and the task killed from the kernel.
    Rewrite,
    /// `-EPERM` from an LSM hook.
    Lsm,
}

impl Strategy {
    /// In the order of the phases.
    pub const ALL: [Self; 4] = [Self::UserKill, Self::KernelKill, Self::Rewrite, Self::Lsm];
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserKill => "phase1-user-kill",
            Self::KernelKill => "phase2-kernel-kill",
            Self::Rewrite => "phase3-lsm (rewriting)",
            Self::Lsm => "phase3-lsm --lsm",
        })
    }
}

/// Why something does not work, or not in the best way, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What was found.
    pub why: String,
    /// What to do.
    pub hint: String,
}

impl Reason {
    fn new(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { why: why.into(), hint: hint.into() }
    }
}

/// Whether a strategy works here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It does: what was seen.
    Works(String),
    /// It does, but there is something better.
    WorksLess(Reason),
    /// It does not.
    Fails(Reason),
}

/// What was found about one strategy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrategyReport {
    /// Which.
    pub strategy: Strategy,
    /// How it came out.
    pub verdict: Verdict,
}

impl StrategyReport {
    /// Whether it can be used.
    #[must_use]
    pub fn works(&self) -> bool {
        !matches!(self.verdict, Verdict::Fails(_))
    }
}

/// Whether calls can be denied at LSM hooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LsmState {
    /// An LSM program denied a call.
    Works,
    /// None did, but a `fmod_ret/security_…` program: why no LSM program, and what to do about that.
    FallbackWorks(Reason),
    /// LSM programs load and attach without an error, and never run; the fallback denied nothing either.
    NeverRuns(Reason),
    /// LSM programs are refused, and the fallback denied nothing.
    Refused(Reason),
}

/// Tries every strategy, in the order of [`Strategy::ALL`].
///
/// Takes `SIGURG` for a moment; no other thread may run that does not block it.
#[must_use]
pub fn strategies() -> Vec<StrategyReport> {
    let verdicts = match crate::session::check_environment() {
        Ok(()) => judge(&Findings::gather(), &Surroundings::read()),
        Err(error) => {
            let hint = error.downcast_ref::<Hinted>().map_or("", |h| &h.hint);
            repeated(&Verdict::Fails(Reason::new(format!("{error:#}"), hint)))
        }
    };
    let both = Strategy::ALL.into_iter().zip(verdicts);
    both.map(|(strategy, verdict)| StrategyReport { strategy, verdict }).collect()
}

/// Why no strategy works here, where that is so.
#[must_use]
pub fn why_nothing_works() -> Option<Reason> {
    let base = attempt("base", asked);
    (base != Found::Works).then(|| base_reason(&base, &Surroundings::read()))
}

/// Lets a call of this process be denied by an LSM program; where that does not happen, by the fallback.
#[must_use]
pub fn lsm_state() -> LsmState {
    let hook = attempt("lsm_hook", denied);
    let function = if hook == Found::Works { Found::NotTried } else { attempt("security_function", denied) };
    judge_lsm(&hook, &function, &Surroundings::read())
}

/// Whether the functions of system calls themselves can be made to return an error (`fmod_ret/__x64_sys_…`).
#[must_use]
pub fn calls_can_be_denied() -> bool {
    attempt("call_function", denied) == Found::Works
}

/// Whether an LSM program is asked about a memfd by its name, so that it could be denied.
#[must_use]
pub fn memfd_is_named() -> bool {
    attempt("named_memory", memfd_denied) == Found::Works
}

/// The lockdown mode that is in force; `None` where it cannot be read, or the kernel has no lockdown.
#[must_use]
pub fn lockdown_mode() -> Option<String> {
    Surroundings::read().lockdown
}

/// The word of a list like `none [integrity] confidentiality` that is chosen.
pub(crate) fn selected(text: &str) -> &str {
    text.split(['[', ']']).nth(1).unwrap_or("unknown")
}

/// The boot parameter that adds `bpf` to a list of active LSMs. `capability` is always the first, unasked.
pub(crate) fn boot_parameter(active: &str) -> String {
    let named = active.split(',').filter(|l| !l.is_empty() && *l != "capability");
    format!("lsm={}", named.chain(["bpf"]).collect::<Vec<_>>().join(","))
}

/// Whether `bpf` is in a list of active LSMs.
pub(crate) fn lists_bpf(active: &str) -> bool {
    active.split(',').any(|l| l == "bpf")
}

/// What makes `securityfs` readable.
pub(crate) const MOUNT_SECURITYFS: &str = "mount -t securityfs securityfs /sys/kernel/security";

/// What the kernel tells about itself.
pub(crate) struct Surroundings {
    /// `6.1.0-56-amd64`
    release: String,
    /// Whether its files can be there at all.
    pub(crate) securityfs: bool,
    /// The mode that is in force; `None` where it cannot be read, or the kernel has no lockdown.
    pub(crate) lockdown: Option<String>,
    /// The active LSMs, in the kernel's order.
    pub(crate) lsms: Option<String>,
    /// Built with `CONFIG_BPF_LSM`.
    lsm_programs: bool,
}

impl Surroundings {
    pub(crate) fn read() -> Self {
        let folder = Path::new("/sys/kernel/security");
        let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
        let types = fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
        let release = nix::sys::utsname::uname().map(|u| u.release().to_string_lossy().into_owned());
        Self {
            release: release.unwrap_or_default(),
            securityfs: fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()),
            lockdown: text("lockdown").map(|t| selected(&t).to_owned()),
            lsms: text("lsm").map(|t| t.trim().to_owned()),
            lsm_programs: contains(&types, b"\0bpf_lsm_task_prctl\0"),
        }
    }

    /// Major and minor number.
    fn version(&self) -> (u32, u32) {
        let mut numbers = self.release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// What to boot with for LSM programs to run.
    fn lsm_parameter(&self) -> String {
        match &self.lsms {
            Some(active) if lists_bpf(active) => format!("lsm={active}"),
            Some(active) => boot_parameter(active),
            None => "lsm=LIST,bpf, where LIST is what /sys/kernel/security/lsm says".into(),
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|w| w == part)
}

/// How a program came out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    /// Its effect was seen.
    Works,
    /// It loads and attaches, and is not run when it should be.
    NeverRuns,
    /// It ran and did not do it.
    NoEffect,
    Refused(Refusal),
    NotTried,
}

/// Not loaded or not attached.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    /// `load`
    step: &'static str,
    /// In the words of the system.
    error: String,
    /// `EPERM` or `EACCES`.
    not_permitted: bool,
}

impl Refusal {
    fn new(step: &'static str, error: &libbpf_rs::Error) -> Self {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let not_permitted = error.kind() == ErrorKind::PermissionDenied;
        Self { step, error: cause.to_string(), not_permitted }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works => f.write_str("works"),
            Self::NeverRuns => f.write_str("loads and attaches, and never runs"),
            Self::NoEffect => f.write_str("runs, and has no effect"),
            Self::Refused(r) => write!(f, "is refused at {}: {}", r.step, r.error),
            Self::NotTried => f.write_str("was not tried"),
        }
    }
}

/// How all of them came out.
struct Findings {
    base: Found,
    signal: Found,
    write: Found,
    lsm_hook: Found,
    security_function: Found,
}

impl Findings {
    /// Without the base nothing else is worth a try.
    fn gather() -> Self {
        let base = attempt("base", asked);
        let on_base = |program: &str, effect: fn() -> bool| match base {
            Found::Works => attempt(program, effect),
            _ => Found::NotTried,
        };
        let signal = on_base("send_signal", signalled);
        let write = on_base("write_user", rewritten);
        let lsm_hook = on_base("lsm_hook", denied);
        let security_function = match lsm_hook {
            Found::Works => Found::NotTried,
            _ => on_base("security_function", denied),
        };
        Self { base, signal, write, lsm_hook, security_function }
    }
}

/// An option of `prctl` that no kernel knows: it answers `EINVAL`.
const OPTION: i32 = 0x7068_7074;
/// By default nothing happens to who receives it.
const SIGNAL: Signal = Signal::SIGURG;
/// What a byte becomes.
const BYTE: u8 = 0xa5;
/// A processor's deferred work may be taken, or memory's lock held.
const TRIES: usize = 3;
/// Until a signal has come, in milliseconds.
const PATIENCE: u16 = 1000;

/// Loads and attaches a program, and looks whether its effect comes.
fn attempt(program: &str, effect: fn() -> bool) -> Found {
    // That the kernel refuses it is an answer, not something to be printed.
    quietly(|| try_program(program, effect)).unwrap_or_else(Found::Refused)
}

/// The object with one of its programs.
fn open<'o>(
    storage: &'o mut MaybeUninit<OpenObject>,
    program: &str,
) -> Result<generated::OpenProbeSkel<'o>, Refusal> {
    let mut open =
        generated::ProbeSkelBuilder::default().open(storage).map_err(|error| Refusal::new("open", &error))?;
    let data = open.maps.rodata_data.as_deref_mut().expect("the object has read-only data");
    data.own_pid = std::process::id();
    data.own_option = OPTION as u32;
    data.own_signal = SIGNAL as u32;
    data.own_byte = BYTE;
    for mut candidate in open.open_object_mut().progs_mut() {
        let wanted = candidate.name() == program;
        candidate.set_autoload(wanted);
    }
    for map in [&mut open.maps.storage, &mut open.maps.events] {
        map.set_autocreate(program == "base").map_err(|error| Refusal::new("open", &error))?;
    }
    Ok(open)
}

fn try_program(program: &str, effect: fn() -> bool) -> Result<Found, Refusal> {
    let mut storage = MaybeUninit::uninit();
    let mut skel = open(&mut storage, program)?.load().map_err(|error| Refusal::new("load", &error))?;
    let link = attach(skel.object_mut(), program).map_err(|error| Refusal::new("attach", &error))?;
    let decider =
        ASK_DECIDER.contains(&program).then(|| decide_for(skel.object_mut(), program)).transpose()?;
    let seen = (0..TRIES).any(|_| effect() && answer(&skel.maps.answers).is_some_and(|a| a.result == 0));
    let ran = answer(&skel.maps.answers).is_some_and(|a| a.ran > 0);
    drop((link, decider));
    Ok(match (ran, seen) {
        (true, true) => Found::Works,
        (true, false) => Found::NoEffect,
        (false, _) => Found::NeverRuns,
    })
}

/// Where a program that is to take a function's place is refused.
const FREPLACE: &str = "freplace";

/// Programs that deny nothing by themselves, as those of the LSM hooks.
const ASK_DECIDER: [&str; 2] = ["lsm_hook", "security_function"];

/// Lets another program take the place of the function that such a program asks.
fn decide_for(object: &mut libbpf_rs::Object, program: &str) -> Result<Link, Refusal> {
    let asking = object.progs_mut().find(|p| p.name() == program).expect("the object has the program");
    let mut storage = MaybeUninit::uninit();
    let mut open = open(&mut storage, "refuse")?;
    let target = open.progs.refuse.set_attach_target(asking.as_fd().as_raw_fd(), Some("decider".into()));
    target.map_err(|error| Refusal::new(FREPLACE, &error))?;
    let skel = open.load().map_err(|error| Refusal::new(FREPLACE, &error))?;
    replace_function(&skel.progs.refuse, asking.as_fd(), c"decider")
        .map_err(|error| Refusal::new(FREPLACE, &error))
}

fn attach(object: &mut libbpf_rs::Object, program: &str) -> libbpf_rs::Result<Link> {
    let mut all = object.progs_mut();
    all.find(|p| p.name() == program).expect("the object has the program").attach()
}

/// As in `probe.bpf.c`.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    ran: u64,
    result: i64,
}

fn answer(map: &impl MapCore) -> Option<Answer> {
    let bytes = map.get(&0u32.to_ne_bytes()).ok().flatten()?;
    let (ran, result) = bytes.split_first_chunk::<8>()?;
    Some(Answer { ran: u64::from_ne_bytes(*ran), result: i64::from_ne_bytes(result.try_into().ok()?) })
}

/// The call that the programs wait for.
fn ask(at: *mut u8) -> Errno {
    // SAFETY: the kernel knows no such option and touches nothing; a program of ours may write the one byte at
    // `at`, which the caller owns and reads back as volatile.
    let status = unsafe { libc::prctl(OPTION, at, 0, 0, 0) };
    if status == 0 { Errno::UnknownErrno } else { Errno::last() }
}

/// The effect is all in what the program answers.
fn asked() -> bool {
    let mut byte = 0;
    ask(&raw mut byte);
    true
}

fn denied() -> bool {
    let mut byte = 0;
    ask(&raw mut byte) == Errno::EPERM
}

fn memfd_denied() -> bool {
    memfd_create(c"probe", MFdFlags::MFD_CLOEXEC).err() == Some(Errno::EPERM)
}

fn rewritten() -> bool {
    let mut byte = 0;
    let at = &raw mut byte;
    ask(at);
    // SAFETY: `at` points to the variable above. Volatile: who writes it is not this program.
    unsafe { at.read_volatile() == BYTE }
}

fn signalled() -> bool {
    let signals = SigSet::from(SIGNAL);
    let Ok(before) = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK) else { return false };
    let came = receives(&signals);
    let _ = before.thread_set_mask();
    came
}

fn receives(signals: &SigSet) -> bool {
    let Ok(queue) = SignalFd::with_flags(signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK) else {
        return false;
    };
    asked();
    let mut ready = [PollFd::new(std::os::fd::AsFd::as_fd(&queue), PollFlags::POLLIN)];
    let _ = poll(&mut ready, PollTimeout::from(PATIENCE));
    matches!(queue.read_signal(), Ok(Some(info)) if info.ssi_signo == SIGNAL as u32)
}

fn repeated(verdict: &Verdict) -> [Verdict; 4] {
    std::array::from_fn(|_| verdict.clone())
}

/// In the order of [`Strategy::ALL`].
fn judge(found: &Findings, around: &Surroundings) -> [Verdict; 4] {
    if found.base != Found::Works {
        return repeated(&Verdict::Fails(base_reason(&found.base, around)));
    }
    [
        Verdict::Works("a program saw a system call, with task storage and a ring buffer".into()),
        judge_signal(&found.signal),
        judge_write(found, around),
        match judge_lsm(&found.lsm_hook, &found.security_function, around) {
            LsmState::Works => Verdict::Works("an LSM program denied a call".into()),
            LsmState::FallbackWorks(reason) => Verdict::WorksLess(Reason::new(
                format!(
                    "through fmod_ret/security_*, which denied a call (not called zero-leak on preemptible kernels); {}",
                    reason.why
                ),
                reason.hint,
            )),
            LsmState::NeverRuns(reason) | LsmState::Refused(reason) => Verdict::Fails(reason),
        },
    ]
}

/// Why nothing works at all.
fn base_reason(base: &Found, around: &Surroundings) -> Reason {
    const NEEDED: &str = "boot Linux 6.1 or later";
    const OPTIONS: &str =
        "boot a kernel built with CONFIG_BPF_SYSCALL, CONFIG_BPF_EVENTS and CONFIG_DEBUG_INFO_BTF";
    let (major, minor) = around.version();
    if around.lockdown.as_deref() == Some("confidentiality") {
        return Reason::new(
            "lockdown is confidentiality: programs may not read memory",
            "boot without lockdown=confidentiality",
        );
    }
    match base {
        Found::Refused(refusal) if refusal.not_permitted => Reason::new(
            format!("a program at the system calls {base}"),
            "run it as root with CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN, in a container with --privileged",
        ),
        _ if (major, minor) < (5, 11) => Reason::new(
            format!("Linux {major}.{minor} has no task storage for programs at the system calls"),
            NEEDED,
        ),
        _ if (major, minor) < (6, 1) => Reason::new(
            format!("Linux {major}.{minor} is too old: a program at the system calls {base}"),
            NEEDED,
        ),
        _ if !around.securityfs => Reason::new(
            format!("a program at the system calls {base}"),
            format!(
                "{MOUNT_SECURITYFS}; /sys/kernel/security/lockdown must not say [confidentiality]; {OPTIONS}"
            ),
        ),
        _ => Reason::new(format!("a program at the system calls {base}"), OPTIONS),
    }
}

fn judge_signal(signal: &Found) -> Verdict {
    if *signal == Found::Works {
        return Verdict::Works("a signal sent by a program (bpf_send_signal) came".into());
    }
    Verdict::Fails(Reason::new(
        format!("a program with bpf_send_signal {signal}"),
        "use phase1-user-kill, or a kernel that permits bpf_send_signal",
    ))
}

/// The task is killed besides.
fn judge_write(found: &Findings, around: &Surroundings) -> Verdict {
    match (&found.write, judge_signal(&found.signal)) {
        (Found::Works, Verdict::Works(_)) => {
            Verdict::Works("a program rewrote memory of this process (bpf_probe_write_user)".into())
        }
        (Found::Works, without_signal) => without_signal,
        (write @ Found::Refused(_), _) => Verdict::Fails(write_refused(write, around)),
        (write, _) => Verdict::Fails(Reason::new(
            format!("a program with bpf_probe_write_user {write}"),
            "use phase2-kernel-kill",
        )),
    }
}

fn write_refused(write: &Found, around: &Surroundings) -> Reason {
    let what = format!("a program with bpf_probe_write_user {write}");
    match around.lockdown.as_deref() {
        Some("none") => Reason::new(
            format!("{what}; lockdown is none, so another policy of this machine forbids it"),
            "permit it, or use phase2-kernel-kill",
        ),
        Some(mode) => Reason::new(
            format!("lockdown is {mode}: {what}"),
            format!(
                "boot without lockdown={mode}, and without Secure Boot where that sets it; or use phase2-kernel-kill"
            ),
        ),
        None if around.securityfs => Reason::new(
            format!("{what}; this kernel has no lockdown, so another policy of this machine forbids it"),
            "permit it, or use phase2-kernel-kill",
        ),
        None => Reason::new(
            format!("{what}, as under lockdown, whose mode cannot be read: securityfs is not mounted"),
            format!(
                "{MOUNT_SECURITYFS}; where /sys/kernel/security/lockdown then says [integrity] or [confidentiality], \
                 boot without it; or use phase2-kernel-kill"
            ),
        ),
    }
}

fn judge_lsm(hook: &Found, function: &Found, around: &Surroundings) -> LsmState {
    if *hook == Found::Works {
        return LsmState::Works;
    }
    let reason = hook_reason(hook, around);
    if *function == Found::Works {
        return LsmState::FallbackWorks(reason);
    }
    let both = Reason::new(format!("{}; fmod_ret/security_* {function}", reason.why), reason.hint);
    if *hook == Found::NeverRuns { LsmState::NeverRuns(both) } else { LsmState::Refused(both) }
}

/// Why no LSM program denied anything.
fn hook_reason(hook: &Found, around: &Surroundings) -> Reason {
    let parameter = around.lsm_parameter();
    match (hook, &around.lsms) {
        (Found::NeverRuns, Some(active)) if !lists_bpf(active) => Reason::new(
            format!("an LSM program {hook}: bpf is not among the active LSMs ({active})"),
            format!("boot with {parameter}"),
        ),
        (Found::NeverRuns, None) => Reason::new(
            format!(
                "an LSM program {hook}, as where bpf is not among the active LSMs, which cannot be read: \
                 securityfs is not mounted"
            ),
            format!("{MOUNT_SECURITYFS}; boot with {parameter}"),
        ),
        (Found::Refused(_), _) if !around.lsm_programs => Reason::new(
            format!("this kernel has no LSM programs: one {hook}"),
            format!("use a kernel built with CONFIG_BPF_LSM, and boot it with {parameter}"),
        ),
        (Found::Refused(refusal), _) if refusal.step == FREPLACE => Reason::new(
            format!("an LSM program loads, but {hook}, which puts the one that decides into the others"),
            "permit it; it needs BPF's compiler to machine code (CONFIG_BPF_JIT, net.core.bpf_jit_enable)",
        ),
        (Found::Refused(refusal), _) if refusal.not_permitted => Reason::new(
            format!("an LSM program {hook}: this kernel has them, a policy of this machine forbids them"),
            format!(
                "permit them, or use another kernel, built with CONFIG_BPF_LSM and booted with {parameter}"
            ),
        ),
        _ => Reason::new(
            format!("an LSM program {hook}"),
            format!("use another kernel, built with CONFIG_BPF_LSM and booted with {parameter}"),
        ),
    }
}

#[cfg(test)]
mod tests;
