//! One session: from the command line to the exit status.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use libbpf_rs::{MapCore, MapHandle, RingBufferBuilder};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use shared::intf;
use shared::op::lsm::{is_by_function, seen_as, seen_of, with_functions};
use shared::op::{OpSet, Selection};
use shared::policy::Policy;
use shared::profile::{Context, Face, Php, PhpMatch, Profile, View};

use crate::cli::{Actions, Args, Attribution, Hinted, Mode, STATUS_VIOLATION, hinted, hinted_of, with_hint};
use crate::command::{self, Command};
use crate::consumer::{By, Consumer, Message, Untold};
use crate::context;
use crate::control::{Control, Request};
use crate::drift::Look;
use crate::filters::Filters;
use crate::images::{self, Images};
use crate::kernel::{Kernel, LIVES, ReadOnly, has_return_work, read_stats};
use crate::layout;
use crate::maps::MapCalls;
use crate::moved;
use crate::names::Names;
use crate::persist::{self, Found, Pins};
use crate::probe::{Reason, calls_can_be_denied, why_nothing_works};
use crate::process::{self, Miss, Process};
use crate::protect::Protected;
use crate::protected_files::ProtectedFiles;
use crate::queue::{ToReporter, queue};
use crate::report::{Ended, Outcome, Reporter, Settings};
use crate::selfcheck::SelfChecks;
use crate::switch::Switch;
use crate::tables::KernelTables;
use crate::unwatched;
use crate::wrappers::{self, Wrappers};
use crate::{END_PROGRAMS, Phase, RETURN_PROGRAMS, Returns, privilege};

/// How long a COMMAND may take to end before it is told louder, or is no longer waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the consumer is told while it runs.
enum Order {
    Swap(Arc<Policy>, u32),
    Mode(Mode),
}

/// What a session was asked for, with what follows where nothing was.
#[derive(Clone, Copy)]
struct Asked {
    mode: Mode,
    actions: Actions,
    context: Context,
    face: Face,
}

/// Runs a session to its end; the exit status.
pub fn run(phase: &dyn Phase, args: &Args, mode: Mode) -> Result<u8> {
    check_environment()?;
    process::raise_descriptor_limit();
    let actions = actions(phase, args)?;
    wrappers::check(args, mode)?;
    check_pids(&args.pid)?;
    let signals = block_signals()?;
    let pins = hold_pins(phase, args)?;
    let (profile, face) = open_profile(args, mode)?;
    let command = match args.command.first() {
        Some(name) => Some((command::resolve(name)?, command::user_for(args.user.as_deref())?)),
        None => None,
    };
    let targets = find_targets(args, command.as_ref().map(|(path, _)| path.as_path()))?;
    check_profile(phase, args, mode, profile.as_ref(), &targets)?;
    if command.is_none() {
        moved::check(args, &targets.iter().map(|t| t.image.id).collect::<Vec<_>>())?;
    }
    let context = context::chosen(args, mode, profile.as_ref())?;
    if let Some(unused) = profile.as_ref().and_then(|profile| context::unused(context, profile)) {
        crate::say(&format!("notice: {unused}"));
    }
    if args.attribution == Attribution::Usdt {
        usdt::check(args, &targets)?;
    }
    let is_other = |profile: &&Profile| profile.attribution != args.attribution.into();
    if let Some(profile) = profile.as_ref().filter(is_other).filter(|_| mode != Mode::Profile) {
        // A grant of a program names the internal function that started it, which only one of the two sees.
        crate::say(&format!(
            "notice: the profile was learnt with --attribution {}: programs that PHP starts may be violations",
            profile.attribution
        ));
    }
    // Before any thread: the child is a copy of this process.
    let mut child = match &command {
        Some((path, user)) => {
            check_privileges(phase, args, mode, user.as_ref().map(|u| u.uid.as_raw()))?;
            Some(Command::prepare(path, &args.command, user.as_ref())?)
        }
        None => None,
    };
    let asked = Asked { mode, actions, context, face };
    let mut session = Session::start(phase, args, asked, profile, pins, &targets, child.as_mut())?;
    if child.is_none() {
        session.check_running_privileges(args)?;
    }
    if let (Some(warning), true) = (phase.warning(actions), mode != Mode::Profile) {
        crate::say(&format!("warning: {warning}"));
    }
    session.announce(args, command.as_ref().map(|(_, user)| command::name_of(user.as_ref())).as_deref());
    if let Some(child) = &mut child
        && let Err(error) = child.go()
    {
        session.end();
        return Err(error);
    }
    let status = session.wait(args, child.as_mut(), &signals)?;
    session.finish(args, status)
}

/// Numbers in records are those of this namespace; in another one they would mean other processes.
pub const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// A configuration to try loading with: it has no subjects.
pub fn probe_config(phase: &dyn Phase) -> Result<ReadOnly> {
    let args = Args::parse_from(["probe", "--monitor", "--", "true"]);
    read_only(&args, Mode::Monitor, policed(phase, &learnable(phase, Selection::default()))?)
}

pub(crate) fn check_environment() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(hinted(
            "this needs root (CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_KILL)",
            "run it with sudo",
        ));
    }
    let own = std::fs::read_link("/proc/self/ns/pid").context("read /proc/self/ns/pid")?;
    if own != Path::new(INITIAL_PID_NAMESPACE) {
        return Err(hinted(
            "this process is in a pid namespace of its own, where process numbers mean other processes",
            "run it on the host, or in a container that shares the host's pid namespace (--pid=host)",
        ));
    }
    if cfg!(not(target_arch = "x86_64")) {
        return Err(hinted("this machine is not x86-64", "no other machine is supported"));
    }
    Ok(())
}

/// `--pid`: a process, and no thread of one.
fn check_pids(pids: &[u32]) -> Result<()> {
    match pids.iter().find(|pid| !process::is_running(**pid)) {
        None => Ok(()),
        Some(pid) => Err(hinted(
            format!("--pid {pid}: there is no such process"),
            "name one that runs: `pgrep -x php-fpm8.2` lists those of a pool, the master first",
        )),
    }
}

fn block_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGCHLD]
    {
        set.add(signal);
    }
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// In profile mode what `--merge` adds to; else what is enforced. And how a profile will be written.
fn open_profile(args: &Args, mode: Mode) -> Result<(Option<Profile>, Face)> {
    let path = &args.profile_file;
    let profile = match mode {
        Mode::Profile => return open_to_write(args),
        Mode::Monitor => Profile::load(path),
        Mode::Sandbox => Profile::load_for_sandbox(path, args.force),
    };
    Ok((Some(profile.map_err(|e| without_profile(e, args))?), Face::Binary))
}

fn open_to_write(args: &Args) -> Result<(Option<Profile>, Face)> {
    let path = &args.profile_file;
    Profile::check_place(path).map_err(from_profile)?;
    if path.exists() && args.merge {
        let (profile, face) = Profile::load_face(path).map_err(from_profile)?;
        return Ok((Some(profile), face));
    }
    if path.exists() && !args.force {
        return Err(hinted(
            format!("{} exists already", path.display()),
            "--merge adds to it, --force replaces it, --profile-file names another",
        ));
    }
    Ok((None, Face::Binary))
}

/// An error of a profile with its own hint.
#[allow(clippy::needless_pass_by_value)] // so that it fits `map_err`
pub fn from_profile(error: shared::profile::ProfileError) -> anyhow::Error {
    hinted(error.to_string(), error.hint())
}

/// Where the profile is not there, the hint is the command that makes one.
fn without_profile(error: shared::profile::ProfileError, args: &Args) -> anyhow::Error {
    if args.profile_file.exists() {
        return from_profile(error);
    }
    let mut command: Vec<String> = std::env::args()
        .map(|a| if a == "--sandbox" || a == "--monitor" { "--profile".into() } else { a })
        .collect();
    if let Some(program) = command.first_mut() {
        *program =
            Path::new(program).file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    }
    hinted(error.to_string(), format!("learn one first: {}", command.join(" ")))
}

/// What is done about a violation.
fn actions(phase: &dyn Phase, args: &Args) -> Result<Actions> {
    let actions = args.action.unwrap_or_else(|| phase.default_actions());
    phase.check_actions(actions)?;
    Ok(actions)
}

fn check_profile(
    phase: &dyn Phase,
    args: &Args,
    mode: Mode,
    profile: Option<&Profile>,
    targets: &[Target],
) -> Result<()> {
    let Some(profile) = profile else { return Ok(()) };
    profile.check_view(phase.view()).map_err(from_profile)?;
    if mode != Mode::Profile {
        unwatched::check(profile, &targets.iter().map(|t| &t.image).collect::<Vec<_>>())?;
    }
    let Some(php) = Primary::of(targets) else { return Ok(()) };
    if mode == Mode::Profile {
        let learnt = Php::new(&php.version, "");
        profile.check_merge(phase.view(), args.attribution.into(), &learnt).map_err(from_profile)?;
    }
    if let Some(notice) = php.check(profile, args.accept_php_version)? {
        crate::say(&notice);
    }
    Ok(())
}

/// The PHP that a profile has to speak of.
struct Primary {
    path: PathBuf,
    version: String,
}

impl Primary {
    /// None where its version is not known.
    fn of(targets: &[Target]) -> Option<Self> {
        let image = &targets.iter().find(|t| t.primary)?.image;
        let path = images::path_of(&image.path).unwrap_or_else(|| image.path.clone());
        Some(Self { path, version: image.version.clone()? })
    }

    /// What people should know where the profile may be used all the same.
    fn check(&self, profile: &Profile, accept: bool) -> Result<Option<String>> {
        match profile.check_php(&self.version, accept).map_err(from_profile)? {
            PhpMatch::Same => Ok(None),
            PhpMatch::Notice(text) => Ok(Some(format!("notice: {text}"))),
        }
    }
}

/// The pins of an earlier session, or a place for ours. What was left must be adopted or ended: beside it, a second
/// object would decide the same calls once more.
fn hold_pins(phase: &dyn Phase, args: &Args) -> Result<Option<Pins>> {
    if !args.persist {
        if Pins::exist(phase.title()) {
            return Err(hinted(
                "enforcement by an earlier session goes on (--persist)",
                format!("adopt it with --persist, or end it: {} --unpersist", phase.title()),
            ));
        }
        return Ok(None);
    }
    if !phase.decides_in_kernel() {
        return Err(hinted(
            format!("{} decides in this process: nothing would enforce without it", phase.name()),
            "use phase2-kernel-kill or phase3-lsm",
        ));
    }
    if args.attribution == Attribution::Usdt {
        return Err(hinted(
            "--persist cannot keep USDT probes attached",
            "use --attribution stack (the default)",
        ));
    }
    Pins::hold(phase.title()).map(Some)
}

fn check_privileges(phase: &dyn Phase, args: &Args, mode: Mode, uid: Option<u32>) -> Result<()> {
    let uid = uid.unwrap_or_else(|| nix::unistd::getuid().as_raw());
    if uid != 0 || phase.contains_root(actions(phase, args)?) {
        return Ok(());
    }
    refuse_privileged(args, mode, "COMMAND would run as root")
}

fn refuse_privileged(args: &Args, mode: Mode, what: &str) -> Result<()> {
    if mode != Mode::Sandbox {
        return Ok(());
    }
    let why =
        format!("{what}: one call that gets through before the kill is enough for it to end the sandbox");
    if args.allow_privileged {
        crate::say(&format!("warning: {why}"));
        return Ok(());
    }
    Err(hinted(why, "run it as an ordinary user (--user NAME), or accept it with --allow-privileged"))
}

/// Which calls count. What a profile was not learnt with cannot be enforced by it: all of it would be a violation.
fn operations(phase: &dyn Phase, args: &Args, mode: Mode, profile: Option<&Profile>) -> Result<Selection> {
    let asked = args.syscalls.clone();
    let learnt = profile.filter(|_| mode != Mode::Profile).map(|p| p.operations.clone());
    let (asked, learnt) = match (asked, learnt) {
        (asked, None) => return Ok(learnable(phase, asked.unwrap_or_default())),
        (None, Some(learnt)) => return Ok(learnt),
        (Some(asked), Some(learnt)) => (asked, learnt),
    };
    check_operations(phase.view(), &learnt, &asked, || {
        format!("leave --syscalls out, or learn again: --profile --syscalls {asked}")
    })?;
    let set = |of: &Selection| in_view(phase.view(), of);
    if set(&asked) != set(&learnt) {
        crate::say(&format!("warning: less is policed than the profile was learnt with ({learnt})"));
    }
    Ok(asked)
}

/// Whether a profile speaks of all that is policed: whatever else is honest would be a violation.
fn check_operations(
    view: View,
    learnt: &Selection,
    policed: &Selection,
    hint: impl FnOnce() -> String,
) -> Result<()> {
    if in_view(view, policed).is_subset(&in_view(view, learnt)) {
        return Ok(());
    }
    Err(hinted(
        format!("the profile was learnt with --syscalls {learnt}, and does not speak of all of {policed}"),
        hint(),
    ))
}

/// An image to be watched.
struct Target {
    path: PathBuf,
    image: introspect::Image,
    /// It decides which PHP the session is about.
    primary: bool,
}

impl Target {
    fn open(path: &Path, primary: bool) -> Result<Self> {
        let image = introspect::introspect(path).map_err(|e| hinted(e.to_string(), e.hint()))?;
        Ok(Self { path: path.into(), image, primary })
    }
}

/// Which images: those named, else COMMAND and all PHP of this machine, else those of running php-fpm.
fn find_targets(args: &Args, command: Option<&Path>) -> Result<Vec<Target>> {
    if !args.php.is_empty() {
        return args.php.iter().enumerate().map(|(n, path)| Target::open(path, n == 0)).collect();
    }
    if let Some(command) = command {
        let mut targets: Vec<Target> =
            interpreter_of(command).iter().filter_map(|p| Target::open(p, true).ok()).collect();
        for path in introspect::discover() {
            if let Ok(target) = Target::open(&path, false)
                && !targets.iter().any(|t| t.image.id == target.image.id)
            {
                targets.push(target);
            }
        }
        if let (false, Some(first)) = (targets.iter().any(|t| t.primary), targets.first_mut()) {
            first.primary = true;
        }
        return Ok(targets);
    }
    let wanted: Vec<i32> = args.pid.iter().map(|p| *p as i32).collect();
    let mut targets: Vec<Target> = Vec::new();
    for running in introspect::running(|pid| wanted.is_empty() || wanted.contains(&pid)) {
        let path = running.via_library.unwrap_or(running.exe);
        let Ok(target) = Target::open(&path, targets.is_empty()) else { continue };
        let is_fpm = target.image.sapi == introspect::Sapi::Fpm || !wanted.is_empty();
        if is_fpm && !targets.iter().any(|t| t.image.id == target.image.id) {
            targets.push(target);
        }
    }
    if targets.is_empty() {
        return Err(hinted(
            "no php-fpm is running",
            "start it, name an image with --php PATH, or give a COMMAND after --",
        ));
    }
    Ok(targets)
}

/// COMMAND itself, and for a script its interpreter.
fn interpreter_of(command: &Path) -> Vec<PathBuf> {
    let mut start = [0; 256];
    let read = File::open(command).and_then(|mut f| f.read(&mut start)).unwrap_or(0);
    let mut found = vec![command.to_path_buf()];
    if let Some(line) = start[..read].strip_prefix(b"#!") {
        let line = String::from_utf8_lossy(line.split(|b| *b == b'\n').next().unwrap_or(&[])).into_owned();
        let mut words = line.split_ascii_whitespace().filter(|w| !w.starts_with('-'));
        if let Some(interpreter) = words.next() {
            found.push(interpreter.into());
            if interpreter.ends_with("/env")
                && let Some(Ok(path)) = words.next().map(|name| command::resolve(name.as_ref()))
            {
                found.push(path);
            }
        }
    }
    found
}

/// What attribution by USDT needs, told before anything starts: without it no probe fires, which must be an error
/// and never a quiet run.
mod usdt {
    use super::{Args, Result, Target, hinted};
    use crate::images::has_probe;

    const VARIABLE: &str = "USE_ZEND_DTRACE";

    pub fn check(args: &Args, targets: &[Target]) -> Result<()> {
        for target in targets.iter().filter(|t| t.primary) {
            if !["function__entry", "function__return"].iter().all(|name| has_probe(&target.image, name)) {
                return Err(hinted(
                    format!("{} has no USDT probes", target.path.display()),
                    "use --attribution stack (the default), or a PHP built with --enable-dtrace",
                ));
            }
        }
        if !args.command.is_empty() {
            return enabled(std::env::var(VARIABLE).ok().as_deref(), "COMMAND");
        }
        let images: Vec<_> = targets.iter().map(|t| t.image.id).collect();
        for running in introspect::running(|_| true) {
            if !introspect::introspect(&running.exe).is_ok_and(|i| images.contains(&i.id)) {
                continue;
            }
            let environment = std::fs::read(format!("/proc/{}/environ", running.pid)).unwrap_or_default();
            let value = environment.split(|b| *b == 0).find_map(|v| v.strip_prefix(b"USE_ZEND_DTRACE="));
            let value = value.map(|v| String::from_utf8_lossy(v).into_owned());
            enabled(value.as_deref(), &format!("process {}", running.pid))?;
        }
        Ok(())
    }

    fn enabled(value: Option<&str>, whose: &str) -> Result<()> {
        if value.and_then(|v| v.parse::<i64>().ok()).is_some_and(|n| n != 0) {
            return Ok(());
        }
        Err(hinted(
            format!("{whose} has not {VARIABLE}=1 in its environment: its USDT probes would not fire"),
            format!(
                "start it with {VARIABLE}=1 (for php-fpm in the service's environment), or use --attribution stack"
            ),
        ))
    }
}

/// What is attached and running.
struct Session {
    name: &'static str,
    mode: Mode,
    kernel: Kernel,
    images: Images,
    self_checks: SelfChecks,
    /// Where the hooks decide.
    protected_files: Option<ProtectedFiles>,
    pins: Option<Pins>,
    socket: Option<Control>,
    stats: MapHandle,
    procs: MapHandle,
    switch: Switch,
    tables: Option<KernelTables>,
    wrappers: Wrappers,
    adoptions: MapHandle,
    /// Ends the consumer.
    stop: Arc<EventFd>,
    orders: Sender<Order>,
    consumer: Option<JoinHandle<()>>,
    reporter: Option<JoinHandle<Outcome>>,
    to_reporter: ToReporter,
    /// Whether scripts have changed.
    looking: Vec<Look>,
    generation: u32,
    summary: String,
    write_now: Arc<AtomicBool>,
    reopen_events: Arc<AtomicBool>,
    /// Set by the first violation whose process goes on: calls are not seen to return until then.
    returns_wanted: Option<Arc<AtomicBool>>,
    view: View,
    /// Which calls count, from start to end.
    operations: Selection,
    /// Likewise how much of PHP's stack decides.
    context: Context,
    filters: Filters,
    /// As it is now: it may be upgraded.
    primary: Option<Primary>,
    /// Subjects that are root are contained.
    contains_root: bool,
}

/// What the kernel skipped since a program was running on that processor already.
#[derive(Default)]
struct Skipped {
    /// By program: calls, forks or execs that were not seen.
    missed: Vec<(String, u64)>,
    /// Returns that nothing but an effect is told by.
    untold: u64,
    /// Ends of threads.
    ends: u64,
}

impl Session {
    #[allow(clippy::too_many_arguments)] // one call, above
    fn start(
        phase: &dyn Phase,
        args: &Args,
        asked: Asked,
        profile: Option<Profile>,
        pins: Option<Pins>,
        targets: &[Target],
        child: Option<&mut Command>,
    ) -> Result<Self> {
        let found = pins.as_ref().map(Pins::found).transpose()?.flatten();
        let started =
            Self::start_with(phase, args, asked, profile, pins.as_ref(), found.as_ref(), targets, child);
        match (started, pins, found) {
            (Ok(mut session), pins, _) => {
                session.pins = pins;
                Ok(session)
            }
            // Nothing of an own start may stay behind; what an earlier session left goes on.
            (Err(error), Some(pins), None) => {
                let _ = pins.remove();
                Err(error)
            }
            (Err(error), Some(pins), Some(_)) => {
                pins.let_go();
                Err(error)
            }
            (Err(error), None, _) => Err(error),
        }
    }

    #[allow(clippy::too_many_arguments)] // one call, above
    fn start_with(
        phase: &dyn Phase,
        args: &Args,
        Asked { mode, actions, context, face }: Asked,
        profile: Option<Profile>,
        pins: Option<&Pins>,
        found: Option<&Found>,
        targets: &[Target],
        child: Option<&mut Command>,
    ) -> Result<Self> {
        let mut protected =
            (mode != Mode::Profile).then(|| Protected::new(protected_files(args), args.allow_privileged));
        let operations = operations(phase, args, mode, profile.as_ref())?;
        let mut config = read_only(args, mode, policed(phase, &operations)?)?;
        config.actions = actions;
        config.context_files = context == Context::KnownFiles;
        config.context_frames = context.frames() as u32;
        config.exposed = protected.as_ref().is_some_and(Protected::exposed);
        config.return_work = mode == Mode::Sandbox
            && phase.returns() == Returns::OfTasks
            && !config.tell_allowed
            && has_return_work();
        config.pins = pins.map(Pins::place_of_maps).transpose()?;
        if let Some(found) = found {
            config.hash_key = found.hash_key;
            config.instance = pins.map_or(1, |pins| pins.next_instance(found));
        }
        let loaded = phase.load(&config).map_err(|e| match pins {
            Some(pins) if found.is_some() => pins.incompatible(&format!("{e:#}")),
            _ => load_failed(&e),
        })?;
        let mut kernel = Kernel::new(loaded, config.instance);
        let switch = Switch::new(&kernel.map("control")?)?;
        let _ = switch.set_tracer(std::process::id());
        let generation = found.map_or(1, |f| f.generation + 1);
        if phase.decides_in_kernel() {
            persist::Pins::sign(&kernel.map("identity")?, config.hash_key)?;
        }
        if found.is_some() {
            if !phase.contains_root(actions) {
                refuse_privileged_subjects(args, mode, &kernel.map("procs")?)?;
            }
            // What an earlier session was asked to watch is not what this one is.
            for name in ["watched", "newcomers", "cgroups", "adoptions"] {
                let map = kernel.map(name)?;
                for key in map.keys().collect::<Vec<_>>() {
                    map.remove(&key)?;
                }
            }
        }
        let filters = Filters::new(args.uid, fill_cgroups(&mut kernel, args)?);
        if let Err(error) = layout::find(&mut kernel) {
            crate::say(&format!(
                "notice: names in memory that a process has not touched stay {{unknown}}: {error:#}"
            ));
        }
        let mut images = Images::new(&mut kernel, args.attribution == Attribution::Usdt, config.hash_key)?;
        let procs = kernel.map("procs")?;
        let stats = kernel.map("stats")?;
        let adoptions = kernel.map("adoptions")?;

        let (to_reporter, messages) = queue();
        let self_checks = SelfChecks::default();
        let summary = profile.as_ref().map_or_else(String::new, summarize);
        let policy = match mode {
            Mode::Profile => None,
            _ => profile.as_ref().map(|p| Arc::new(Policy::in_context(p, context))),
        };
        let checksum = profile.as_ref().map(Profile::checksum);
        let enforced = profile.as_ref().zip(checksum.as_deref()).filter(|_| mode != Mode::Profile);
        let looking = enforced.and_then(|(profile, checksum)| Look::begin(profile, checksum, &to_reporter));
        if let (Some(protected), Some(policy)) = (&mut protected, &policy) {
            protected.look_at_scripts(policy);
        }
        let tables = match &policy {
            Some(_) if phase.decides_in_kernel() => {
                let own = protected.iter().flat_map(Protected::paths);
                let own = own.map(|p| p.as_os_str().as_encoded_bytes().into()).collect();
                Some(KernelTables::new(&mut kernel, config.hash_key, own)?)
            }
            _ => None,
        };
        let patterned = match (&tables, &policy) {
            (Some(tables), Some(policy)) => tables.load(policy, generation)?,
            _ => false,
        };
        let own = || protected.iter().flat_map(Protected::paths);
        let protected_files = match &policy {
            Some(policy) => {
                Some(ProtectedFiles::new(&mut kernel, policy, own().map(Path::to_owned).collect())?)
            }
            None => None,
        };
        let wrappers = Wrappers::new(&mut kernel)?;
        let excused = wrappers::asked(args, profile.as_ref());
        wrappers.load(&excused, generation)?;
        let mut names = Names::default();
        if found.is_some() {
            names.recall(&mut kernel)?;
        }
        let asks = !phase.decides_in_kernel();
        let known_files = asks.then(|| kernel.map("known_files")).transpose()?;
        let harmless_folders = asks.then(|| kernel.map("harmless_folders")).transpose()?;
        let by = By {
            mode,
            policy: policy.clone(),
            generation,
            protected,
            untold: Untold::new(kernel.map("stats")?),
            kernel_decides: tables.is_some(),
            cross_check: args.cross_check,
            context,
            known_files,
            harmless_folders,
            names,
        };
        let consumer = Consumer::new(by, phase.enforcer(), kernel.map("pairs")?, to_reporter.clone());
        let (orders, taken) = channel();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let stop = Arc::new(EventFd::from_flags(flags).context("make an eventfd")?);
        let write_now = Arc::new(AtomicBool::new(false));
        let reopen_events = Arc::new(AtomicBool::new(false));
        // They cost every call of the machine. What --persist leaves behind cannot attach them later.
        let later = config.return_work
            || phase.returns() == Returns::OfSurvivors
                && mode == Mode::Sandbox
                && pins.is_none()
                && !config.tell_allowed;
        let returns_wanted = Arc::new(AtomicBool::new(!later));
        let primary = targets.iter().find(|t| t.primary).map(|t| &t.image);
        let settings = Settings {
            args: args.clone(),
            mode,
            strategy: phase.enforcer().strategy(),
            view: phase.view(),
            operations: operations.clone(),
            context,
            policy,
            checksum,
            // A large one takes much memory, and who enforces needs it no more.
            profile: profile.filter(|_| mode == Mode::Profile),
            face,
            watched: targets.iter().map(|t| t.path.clone()).collect(),
            php: primary.map(|i| (i.version.clone().unwrap_or_default(), i.abi.clone())),
            pairs: kernel.map("pairs")?,
            stats: kernel.map("stats")?,
            write_now: write_now.clone(),
            reopen_events: reopen_events.clone(),
            returns_wanted: returns_wanted.clone(),
        };
        let reporter = Reporter::new(settings)?;
        let reporter =
            thread::Builder::new().name("reporter".into()).spawn(move || reporter.run(&messages))?;
        let events = kernel.map("events")?;
        let urgent = mode != Mode::Profile && !args.default_wakeup;
        let stopped = stop.clone();
        let consumer = thread::Builder::new()
            .name("consumer".into())
            .spawn(move || consume(consumer, &events, &taken, &stopped, urgent))?;

        // Hooks first, then who is there already: nobody can slip between the two.
        for program in LIVES {
            kernel.attach_loaded(program)?;
        }
        for target in targets {
            let added = images.add(&mut kernel, &target.path);
            match added {
                Ok(_) => watch_path(&mut images, &mut kernel, &target.path)?,
                Err(error) if target.primary => {
                    return Err(error.context(format!("watch {}", target.path.display())));
                }
                Err(_) => {}
            }
        }
        if found.is_some() {
            images.add_running(&mut kernel, &procs);
            images.forget_unused(&procs);
        }
        if !later && mode != Mode::Profile {
            attach_returns(&mut kernel)?;
        }
        for program in phase.call_programs() {
            kernel.attach_loaded(program)?;
        }
        // Pinned before it acts: whoever ends this process at any moment, one object is attached and acts.
        if let Some(pins) = pins {
            pins.forget(config.instance)?;
            kernel.persist(pins, config.instance)?;
        }
        switch.set(generation, mode, patterned);
        switch.set_instance(config.instance);
        if let Some(pins) = pins {
            pins.keep_only(config.instance)?;
        }
        if let (Some(tables), Some(_)) = (&tables, found) {
            tables.keep_only(generation);
        }
        wrappers.keep_only(generation);
        let mut session = Self {
            name: phase.title(),
            mode,
            kernel,
            images,
            self_checks,
            protected_files,
            pins: None,
            socket: None,
            stats,
            procs,
            switch,
            tables,
            wrappers,
            adoptions,
            stop,
            orders,
            consumer: Some(consumer),
            reporter: Some(reporter),
            to_reporter,
            looking: looking.into_iter().collect(),
            generation,
            summary,
            write_now,
            reopen_events,
            returns_wanted: later.then_some(returns_wanted),
            view: phase.view(),
            operations,
            context,
            primary: Primary::of(targets),
            filters,
            contains_root: phase.contains_root(actions),
        };
        session.adopt(args, child)?;
        if mode != Mode::Profile {
            session.socket = Some(Control::open(phase.name())?);
        }
        Ok(session)
    }

    /// Marks the started command, or everything that runs already.
    fn adopt(&mut self, args: &Args, child: Option<&mut Command>) -> Result<()> {
        if let Some(child) = child {
            let pid = child.pid.as_raw() as u32;
            let adoption = intf::adoption { flags: intf::PROC_COMMAND, ..Default::default() };
            images::adopt(&self.adoptions, pid, adoption)?;
            self.kernel.iterate("find_running")?;
            anyhow::ensure!(images::subjects(&self.procs).contains(&pid), "the kernel did not mark COMMAND");
            return Ok(());
        }
        for pid in &args.pid {
            images::adopt(&self.adoptions, *pid, intf::adoption::default())?;
        }
        self.adopt_libraries()?;
        let mut before = usize::MAX;
        loop {
            self.kernel.iterate("find_running")?;
            let now = images::subjects(&self.procs).len();
            if now == before {
                break;
            }
            before = now;
        }
        // Their numbers may be other processes' by the next look round.
        for key in self.adoptions.keys().collect::<Vec<_>>() {
            let _ = self.adoptions.remove(&key);
        }
        Ok(())
    }

    /// Processes that mapped a library image: only `/proc` tells where.
    fn adopt_libraries(&self) -> Result<()> {
        for running in introspect::running(|_| true).into_iter().filter(|r| r.via_library.is_some()) {
            let Some(path) = &running.via_library else { continue };
            for known in self.images.known() {
                let same = introspect::introspect(path).is_ok_and(|i| i.id == known.image.id);
                if let (true, Ok(Some(bias))) =
                    (same, introspect::load_bias_from_maps(running.pid, &known.image))
                {
                    let adoption = intf::adoption { bias, image: known.id, flags: 0 };
                    images::adopt(&self.adoptions, running.pid as u32, adoption)?;
                }
            }
        }
        Ok(())
    }

    /// Kill strategies cannot contain a process that could kill the tracer first.
    fn check_running_privileges(&mut self, args: &Args) -> Result<()> {
        if self.contains_root {
            return Ok(());
        }
        let checked = refuse_privileged_subjects(args, self.mode, &self.procs);
        if checked.is_err() {
            // Refused: nothing of it may go on.
            if let Some(pins) = self.pins.take() {
                let _ = pins.remove();
                self.kernel.ends();
            }
            self.end();
        }
        checked
    }

    /// The ready line, and READY=1.
    fn announce(&self, args: &Args, runs_as: Option<&str>) {
        let watched: Vec<String> = self
            .images
            .known()
            .iter()
            .map(|k| {
                let phases = if k.phases { "" } else { ", request phases not visible" };
                format!(
                    "{} (PHP {}, {}{phases})",
                    k.image.path.display(),
                    k.image.version.as_deref().unwrap_or("?"),
                    k.image.abi
                )
            })
            .collect();
        let subjects = self.watched();
        if args.command.is_empty() {
            for image in &watched {
                crate::say(&format!("watching {image}"));
            }
        }
        if args.command.is_empty() && subjects > 0 {
            crate::say(&format!(
                "notice: {subjects} process(es) ran before this session: identity not vouched for, and what \
                 they did already is not seen, until they are reloaded (kill -USR2 the php-fpm master)"
            ));
        }
        let ends = match (&self.pins, self.mode) {
            (Some(_), _) => "; it goes on without this process (--unpersist ends it)",
            (None, Mode::Sandbox) => "; enforcement ends with this process",
            _ => "",
        };
        let runs_as = runs_as.map_or_else(String::new, |user| format!("; COMMAND runs as {user}"));
        crate::say(&format!(
            "ready: {} {}, {}{} process(es) watched{runs_as}{ends}",
            self.name,
            self.mode.name(),
            self.summary,
            subjects
        ));
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }

    /// Until the command, the time or the user ends it. The command's status.
    fn wait(
        &mut self,
        args: &Args,
        mut child: Option<&mut Command>,
        signals: &SignalFd,
    ) -> Result<Option<u8>> {
        let until = args.duration.map(|s| Instant::now() + Duration::from_secs_f64(s.max(0.0)));
        let mut idle = Duration::from_millis(5);
        loop {
            while let Ok(Some(signal)) = signals.read_signal() {
                match Signal::try_from(signal.ssi_signo as i32) {
                    Ok(Signal::SIGINT | Signal::SIGTERM) => return Ok(self.leave(child)),
                    Ok(Signal::SIGHUP) => drop(self.reload(args)),
                    Ok(Signal::SIGUSR1) => self.reopen_events.store(true, Ordering::Relaxed),
                    Ok(Signal::SIGUSR2) => self.write_now.store(true, Ordering::Relaxed),
                    _ => idle = Duration::from_millis(1),
                }
            }
            if until.is_some_and(|u| Instant::now() >= u) {
                return Ok(self.leave(child));
            }
            if let Some(child) = &mut child
                && let Some(status) = child.poll()
                && (args.no_wait || self.left_of_command().is_empty())
            {
                return Ok(Some(status));
            }
            self.answer(args);
            self.watch_returns();
            for told in self.self_checks.run(&self.images, &self.procs) {
                crate::say(&told);
            }
            for path in self.images.appeared() {
                self.upgraded(&path);
            }
            for exe in self.images.started_inside() {
                self.started_inside(args, &exe);
            }
            if let Some(Err(error)) =
                self.protected_files.as_mut().map(|files| files.refresh(&mut self.kernel))
            {
                anyhow::bail!("scripts by other names can no longer be told: {error:#}");
            }
            if self.consumer.as_ref().is_none_or(JoinHandle::is_finished) {
                anyhow::bail!("the consumer of events ended unexpectedly");
            }
            wait_for_signal(signals, &self.images, self.socket.as_ref(), idle);
            idle = (idle * 2).min(Duration::from_millis(if child.is_some() { 20 } else { 100 }));
        }
    }

    /// The session ends before what it watches does. COMMAND's status, if it has one.
    fn leave(&self, child: Option<&mut Command>) -> Option<u8> {
        let left = self.watched();
        match (self.mode, child) {
            (Mode::Sandbox, Some(child)) => {
                self.end_command();
                child.wait_for(PATIENCE)
            }
            (_, None) if self.pins.is_some() => {
                crate::say(&format!("notice: {left} process(es) stay watched (--unpersist ends it)"));
                None
            }
            (Mode::Sandbox, None) if left > 0 => {
                crate::say(&format!("notice: {left} process(es) go on without a sandbox"));
                None
            }
            (_, None) => None,
            (_, Some(child)) => {
                if left > 0 {
                    crate::say(&format!("notice: {left} process(es) go on without being watched"));
                }
                child.poll()
            }
        }
    }

    /// How many processes are watched. If PHP is among them, it was seen, though it may be idle until the end.
    fn watched(&self) -> usize {
        let watched = self.filters.watched(&self.procs);
        if watched.iter().any(|process| process.image != 0) {
            self.to_reporter.send(Message::Watched);
        }
        watched.len()
    }

    fn watch_returns(&mut self) {
        if !self.returns_wanted.as_ref().is_some_and(|wanted| wanted.load(Ordering::Relaxed)) {
            return;
        }
        self.returns_wanted = None;
        if let Err(error) = attach_returns(&mut self.kernel) {
            crate::say(&format!("warning: effects of calls that go on will not be seen: {error:#}"));
        }
    }

    /// A process of a container runs PHP that nobody knew: the container was started anew, say, or is another one. Where
    /// `--php` names files alone, that is none of them.
    fn started_inside(&mut self, args: &Args, exe: &Path) {
        let started = format!("{} was started in a container, and", exe.display());
        if !args.php.is_empty() && args.cgroup.is_empty() {
            crate::say(&format!(
                "notice: {started} is not watched: --php names other files\n\
                 Hint: start this session anew, or leave --php out, or tell with --cgroup which containers are meant"
            ));
            return;
        }
        let watched = self.images.watch(exe).and_then(|_| self.images.add(&mut self.kernel, exe));
        match watched.map(|id| self.find_processes(id, exe)) {
            Ok(version) => crate::say(&format!(
                "notice: {started} is watched from now on (PHP {version}): what it did before is not seen"
            )),
            Err(error) => crate::say(&format!("warning: {started} cannot be watched: {error:#}")),
        }
    }

    /// Processes that were started from a new image before it was known. Its version.
    fn find_processes(&mut self, id: u32, path: &Path) -> String {
        if let Some(pins) = &self.pins
            && let Err(error) = self.kernel.persist(pins, self.switch.instance())
        {
            crate::say(&format!("warning: it is not watched beyond this process: {error:#}"));
        }
        if let Err(error) = self.kernel.iterate("find_running") {
            crate::say(&format!("warning: processes of the new {} stay unknown: {error:#}", path.display()));
        }
        self.images.get(id).and_then(|k| k.image.version.clone()).unwrap_or_default()
    }

    /// A new file at a watched path.
    fn upgraded(&mut self, path: &Path) {
        match self.images.add(&mut self.kernel, path) {
            Ok(id) => {
                let version = self.find_processes(id, path);
                if let Some(primary) = self.primary.as_mut().filter(|primary| primary.path == path) {
                    primary.version.clone_from(&version);
                }
                crate::say(&format!(
                    "notice: {} is PHP {version} now, watched from its first instruction",
                    path.display()
                ));
            }
            Err(error) => {
                crate::say(&format!("warning: the new {} cannot be watched: {error}", path.display()));
            }
        }
    }

    /// Whether it answers what this session asks from start to end. What people should know of it.
    fn check(&self, args: &Args, profile: &Profile) -> Result<Option<String>> {
        profile.check_view(self.view).map_err(from_profile)?;
        profile.check_context(self.context).map_err(from_profile)?;
        check_operations(self.view, &profile.operations, &self.operations, || {
            format!("learn it with --syscalls {}, or start anew with it", self.operations)
        })?;
        unwatched::check(profile, &self.images.known().iter().map(|k| &k.image).collect::<Vec<_>>())?;
        let primary = self.primary.as_ref();
        primary.map_or(Ok(None), |php| php.check(profile, args.accept_php_version))
    }

    /// SIGHUP: a good profile replaces the old one at once, a bad one changes nothing. What people should know, which
    /// they are told here, too.
    fn reload(&mut self, args: &Args) -> Result<String> {
        if self.mode == Mode::Profile {
            self.write_now.store(true, Ordering::Relaxed);
            crate::say("notice: the profile is written");
            return Ok(String::new());
        }
        let reloaded = self.load_again(args).map_err(|error| unchanged(&error));
        match &reloaded {
            Ok(told) => crate::say(told),
            Err(error) => crate::say(&format!("warning: {}", with_hint(error))),
        }
        reloaded
    }

    fn load_again(&mut self, args: &Args) -> Result<String> {
        let path = &args.profile_file;
        let loaded = match self.mode {
            Mode::Sandbox => Profile::load_for_sandbox(path, args.force),
            _ => Profile::load(path),
        };
        let profile = loaded.map_err(from_profile)?;
        let notice = self.check(args, &profile)?;
        self.swap(&profile)?;
        let now = self.summary.trim_end_matches(", ");
        let mut told = format!("notice: {} loaded again: {now}", path.display());
        if let Some(notice) = notice {
            told = format!("{told}\n{notice}");
        }
        let set = |of: &Selection| in_view(self.view, of);
        if set(&profile.operations).is_subset(&set(&self.operations)) {
            return Ok(told);
        }
        Ok(format!(
            "{told}\nwarning: it was learnt with --syscalls {}; until the next start only {} is policed",
            profile.operations, self.operations
        ))
    }

    /// Errors: nothing has changed.
    fn swap(&mut self, profile: &Profile) -> Result<()> {
        let policy = Arc::new(Policy::in_context(profile, self.context));
        let next = self.generation + 1;
        let patterned = self.tables.as_ref().map_or(Ok(false), |tables| tables.load(&policy, next))?;
        self.wrappers.load(&profile.wrappers, next)?;
        if let Some(files) = &mut self.protected_files {
            files.swap(&mut self.kernel, &policy)?;
        }
        // The kernel side first: from then on nothing of the old profile is known to be allowed.
        self.switch.set(next, self.mode, patterned);
        self.generation = next;
        if let Some(tables) = &self.tables {
            tables.keep_only(next);
        }
        self.wrappers.keep_only(next);
        let _ = self.orders.send(Order::Swap(policy.clone(), self.generation));
        let checksum = profile.checksum();
        self.to_reporter.send(Message::Swapped(policy, checksum.clone()));
        self.looking.retain(|look| !look.is_done());
        self.looking.extend(Look::begin(profile, &checksum, &self.to_reporter));
        self.summary = summarize(profile);
        Ok(())
    }

    /// Monitor or sandbox, by name; refused where a session that starts with `--sandbox` would be.
    fn set_mode(&mut self, args: &Args, mode: Mode) -> Result<String> {
        if mode == Mode::Sandbox {
            let stays =
                |why: &str, hint: String| hinted(format!("the mode stays {}: {why}", self.mode.name()), hint);
            // What may be monitored may not be enforced yet: the file is judged as --sandbox would.
            Profile::load_for_sandbox(&args.profile_file, args.force)
                .map_err(|error| stays(&error.to_string(), error.hint()))?;
            let found = if self.contains_root { None } else { privilege::of(images::subjects(&self.procs)) };
            if let Some(found) = found.filter(|_| !args.allow_privileged) {
                let hint = "run them as an ordinary user, or start the session with --allow-privileged";
                return Err(stays(&found, hint.into()));
            }
        }
        self.mode = mode;
        if let Some(wanted) = &self.returns_wanted
            && mode == Mode::Monitor
        {
            wanted.store(true, Ordering::Relaxed);
            self.watch_returns();
        }
        let _ = self.orders.send(Order::Mode(mode));
        self.switch.set_mode(mode);
        self.to_reporter.send(Message::Mode(mode));
        crate::say(&format!("notice: the mode is {} now", mode.name()));
        Ok(format!("mode {}\n", mode.name()))
    }

    /// Requests over the control socket.
    fn answer(&mut self, args: &Args) {
        let Some(socket) = self.socket.take() else { return };
        let procs = MapHandle::try_from(&self.procs).ok();
        let is_subject =
            |pid: u32| procs.as_ref().is_none_or(|p| !matches!(p.get(&pid.to_ne_bytes()), Ok(None)));
        socket.serve(is_subject, |request| match request {
            Request::Mode(mode) => self.set_mode(args, mode),
            Request::Reload => Ok(self.reload(args)? + "\n"),
            Request::Status => Ok(self.status()),
        });
        self.socket = Some(socket);
    }

    fn skipped(&mut self) -> Skipped {
        let mut all = Skipped::default();
        for (program, misses) in self.kernel.skipped() {
            match program.as_str() {
                name if RETURN_PROGRAMS.contains(&name) => all.untold += misses,
                name if END_PROGRAMS.contains(&name) => all.ends += misses,
                _ => all.missed.push((program, misses)),
            }
        }
        all
    }

    fn status(&mut self) -> String {
        use std::fmt::Write;
        let subjects = self.watched();
        let mut text = format!(
            "mode {}\nprofile {}\nprocesses {subjects}\n",
            self.mode.name(),
            self.summary.trim_end_matches(", ")
        );
        let Skipped { missed, untold, ends } = self.skipped();
        let all: u64 = missed.iter().map(|(_, misses)| misses).sum();
        let _ = writeln!(text, "{all:>12}  programs skipped by the kernel");
        for (program, misses) in missed {
            let _ = writeln!(text, "{misses:>12}  times it skipped {program}");
        }
        let _ = writeln!(text, "{untold:>12}  returns that were not seen: skipped by the kernel");
        let _ = writeln!(text, "{ends:>12}  ends that were not seen: skipped by the kernel");
        let counts = read_stats(&self.stats);
        for ((_, told), count) in shared::intf::stats().iter().zip(counts) {
            let _ = writeln!(text, "{count:>12}  {told}");
        }
        text
    }

    /// A sandbox that ends before its COMMAND takes what is left of it along: SIGTERM, then SIGKILL, from here and at
    /// each of its calls, for as long as somebody is left. Who is killed may have forked a moment before.
    fn end_command(&self) {
        let nobody_left_by = |until: Instant, pause: Duration, again: &dyn Fn()| {
            while !self.left_of_command().is_empty() {
                if Instant::now() >= until {
                    return false;
                }
                again();
                thread::sleep(pause);
            }
            true
        };
        self.signal_all(Signal::SIGTERM);
        if nobody_left_by(Instant::now() + PATIENCE, Duration::from_millis(10), &|| {}) {
            return;
        }
        // A chain of forks is faster than who looks for its newest link.
        self.switch.end_everybody();
        let kill = || self.signal_all(Signal::SIGKILL);
        if !nobody_left_by(Instant::now() + PATIENCE, Duration::from_micros(100), &kill) {
            let left: Vec<String> = self.left_of_command().iter().map(u32::to_string).collect();
            // Fails open: nobody can be made to end that the kernel does not end.
            crate::say(&format!(
                "warning: {} process(es) could not be ended and go on without a sandbox: {}",
                left.len(),
                left.join(", ")
            ));
        }
    }

    /// Who has not ended. Of an end that the kernel side did not see, the number is still in its table, and stays.
    fn left_of_command(&self) -> Vec<u32> {
        let (left, ended) = self.left_and_ended();
        if !left.is_empty() {
            return left;
        }
        // Who had ended when it was asked for may have forked after it was listed.
        let (mut left, ended_since) = self.left_and_ended();
        left.extend(ended_since.difference(&ended).map(|(pid, _)| pid));
        left
    }

    /// Of those that are listed. Ended ones with their start, since a number may be had again.
    fn left_and_ended(&self) -> (Vec<u32>, HashSet<(u32, u64)>) {
        let (mut left, mut ended) = (Vec::new(), HashSet::new());
        for (pid, known) in images::processes(&self.procs) {
            let has_ended = match Process::open(pid, known.start) {
                Ok(process) => process.has_ended(),
                Err(Miss::Gone | Miss::Recycled) => true,
                Err(Miss::Refused(_)) => false, // it cannot be told: waited for
            };
            if has_ended {
                ended.insert((pid, known.start));
            } else {
                left.push(pid);
            }
        }
        (left, ended)
    }

    fn signal_all(&self, signal: Signal) {
        for (pid, known) in images::processes(&self.procs) {
            if let Ok(process) = Process::open(pid, known.start) {
                let _ = process.signal(signal as i32);
            }
        }
    }

    /// Ends both threads: everything that was recorded is told.
    fn end(&mut self) -> Option<Outcome> {
        // From here on nobody reads what the kernel side may find lost, so nobody may die for it.
        if self.mode == Mode::Sandbox && self.pins.is_none() {
            self.switch.set_mode(Mode::Monitor);
        }
        self.switch.set_tracer(0);
        let _ = self.stop.write(1); // fails only where it says so already
        if let Some(consumer) = self.consumer.take() {
            let _ = consumer.join();
        }
        self.looking.drain(..).for_each(Look::end);
        self.to_reporter.send(Message::Flushed);
        self.reporter.take().and_then(|r| r.join().ok())
    }

    /// The profile and the table, before anything is detached; then the exit status.
    fn finish(mut self, args: &Args, status: Option<u8>) -> Result<u8> {
        let outcome = self.end().context("the reporter ended unexpectedly")?;
        let Skipped { missed, untold, ends } = self.skipped();
        if !missed.is_empty() {
            let each: Vec<String> = missed.iter().map(|(program, n)| format!("{program} {n}")).collect();
            crate::say(&format!(
                "  missed enforcement: programs that the kernel skipped: {}",
                each.join(", ")
            ));
        }
        if untold > 0 {
            crate::say(&format!(
                "  returns that were not seen, of anybody's calls: skipped by the kernel: {untold}"
            ));
        }
        if ends > 0 {
            crate::say(&format!(
                "  ends that were not seen, of anybody's threads: skipped by the kernel: {ends}"
            ));
        }
        match outcome.ended {
            Ended::Well => {}
            Ended::NoProcess(ran) => {
                let hint = match ran {
                    Some(php) => format!("{php} ran, which is PHP: name it with --php {php}"),
                    None if self.filters.narrow() => {
                        "--uid and --cgroup let none through: change them, or leave them out".into()
                    }
                    None => "give PHP as COMMAND, or name its executable with --php".into(),
                };
                return Err(hinted(
                    "no process of a PHP image was seen: nothing was learnt or watched",
                    hint,
                ));
            }
            Ended::Failed(error) => return Err(error),
        }
        if args.exit_code && outcome.violations > 0 {
            return Ok(STATUS_VIOLATION);
        }
        Ok(status.unwrap_or(0))
    }
}

/// For a signal, or a new file at a watched path: until that is introspected, its processes are `{unknown}`.
fn wait_for_signal(signals: &SignalFd, images: &Images, socket: Option<&Control>, at_most: Duration) {
    let mut fds =
        vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(images.as_fd(), PollFlags::POLLIN)];
    fds.extend(socket.map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)));
    let _ = poll(&mut fds, PollTimeout::try_from(at_most).unwrap_or(PollTimeout::ZERO));
}

/// Also what is at its path by now, where processes run a file that was replaced: the next start runs that.
fn watch_path(images: &mut Images, kernel: &mut Kernel, given: &Path) -> Result<()> {
    let Some(path) = images.watch(given)? else { return Ok(()) };
    match images.add(kernel, &path) {
        Ok(_) => crate::say(&format!(
            "notice: {} is a file that was replaced; {} is watched, too",
            given.display(),
            path.display()
        )),
        Err(error) => {
            crate::say(&format!("warning: the new {} cannot be watched: {error}", path.display()));
        }
    }
    Ok(())
}

/// Those that were loaded: of the two, one is.
fn attach_returns(kernel: &mut Kernel) -> Result<()> {
    RETURN_PROGRAMS.into_iter().try_for_each(|program| kernel.attach_loaded(program))
}

fn refuse_privileged_subjects(args: &Args, mode: Mode, procs: &MapHandle) -> Result<()> {
    match privilege::of(images::subjects(procs)) {
        None => Ok(()),
        Some(found) => refuse_privileged(args, mode, &found),
    }
}

/// Where a path leads, also if the file is not there yet.
fn where_it_will_be(path: &Path) -> Option<PathBuf> {
    if let Ok(whole) = path.canonicalize() {
        return Some(whole);
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(folder.canonicalize().ok()?.join(path.file_name()?))
}

/// The tracer's own files.
fn own_files(args: &Args) -> Vec<PathBuf> {
    let own = [Some(args.profile_file.clone()), args.events.clone()];
    own.into_iter().flatten().filter_map(|p| where_it_will_be(&p)).collect()
}

/// With the folders of its pins and its socket, which may not be there yet.
fn protected_files(args: &Args) -> Vec<PathBuf> {
    own_files(args).into_iter().chain(persist::FOLDERS.iter().map(PathBuf::from)).collect()
}

/// Of a profile that was to be swapped in.
fn unchanged(error: &anyhow::Error) -> anyhow::Error {
    let hint = hinted_of(error).map_or("start anew with it", |hinted| &hinted.hint);
    hinted(format!("the profile stays as it was: {error:#}"), hint)
}

fn summarize(profile: &Profile) -> String {
    format!("{} sites and {} grants, ", profile.sites().len(), profile.grants.len())
}

/// What a selection means in a view.
fn in_view(view: View, operations: &Selection) -> OpSet {
    match view {
        View::Syscall => operations.ops(),
        View::Lsm => seen_of(operations),
    }
}

/// What is learnt where this is asked for: with the names of what only some kernels allow, if this one does.
fn learnable(phase: &dyn Phase, asked: Selection) -> Selection {
    let with_all = with_functions(&asked);
    if phase.view() == View::Lsm && with_all != asked && calls_can_be_denied() { with_all } else { asked }
}

/// What a selection means in the strategy's view. Errors: it names what that view does not see.
fn policed(phase: &dyn Phase, operations: &Selection) -> Result<OpSet> {
    if phase.view() == View::Syscall {
        return Ok(operations.ops());
    }
    if let Some(unseen) = operations.named().find(|op| seen_as(*op).is_empty()) {
        return Err(hinted(
            format!("no LSM hook sees `{unseen}`"),
            "leave it out of --syscalls, or leave --lsm out; docs/lsm.md says what hooks see",
        ));
    }
    if let Some(unseen) = operations.named().find(|op| is_by_function(*op))
        && !calls_can_be_denied()
    {
        return Err(hinted(
            format!(
                "`{operations}` is asked for, or was learnt; but no LSM hook sees `{unseen}`, and this kernel lets no \
                 program deny the call itself (fmod_ret/__x64_sys_*, seen on Linux 7.3)"
            ),
            "use phase2-kernel-kill or such a kernel; or do without: --syscalls relevant",
        ));
    }
    Ok(in_view(phase.view(), operations))
}

fn read_only(args: &Args, mode: Mode, policed: OpSet) -> Result<ReadOnly> {
    const FORCE_WAKEUP: u64 = 2; // BPF_RB_FORCE_WAKEUP
    let mut key = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut key).context("read /dev/urandom")?;
    let (low, high) = key.split_at(8);
    let word = |half: &[u8]| half.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    Ok(ReadOnly {
        wakeup: if mode != Mode::Profile && !args.default_wakeup { FORCE_WAKEUP } else { 0 },
        hash_key: [word(low), word(high)],
        scope_command: u32::from(!args.command.is_empty()),
        filter_uid: args.uid,
        filter_cgroup: !args.cgroup.is_empty(),
        filter_pid: !args.pid.is_empty(),
        chain_limit: intf::CHAIN_MAX,
        policed,
        usdt: args.attribution == Attribution::Usdt,
        context_files: false,
        context_frames: 1,
        instance: 1,
        exposed: false,
        tell_allowed: args.cross_check,
        return_work: false,
        actions: Actions { deny: false, kill: false },
        pins: None,
    })
}

fn load_failed(error: &anyhow::Error) -> anyhow::Error {
    if let Some(Reason { why, hint }) = why_nothing_works() {
        return hinted(format!("{why} ({error:#})"), hint);
    }
    if let Some(Hinted { hint, .. }) = error.chain().find_map(|e| e.downcast_ref()) {
        return hinted(format!("{error:#}"), hint.clone()); // it says itself what is to be done
    }
    hinted(format!("the kernel refused the programs: {error:#}"), "--doctor tells what this kernel lacks")
}

/// `--cgroup`: the ids of the cgroups that the patterns name. Where they are, from the hierarchy's root.
fn fill_cgroups(kernel: &mut Kernel, args: &Args) -> Result<Vec<PathBuf>> {
    use std::os::unix::fs::MetadataExt;
    let map = kernel.map("cgroups")?;
    let mut filled = Vec::new();
    if args.cgroup.is_empty() {
        return Ok(filled);
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    let Some(root) = cgroup_mount(&mounts) else {
        return Err(hinted("no cgroup2 file system is mounted", "mount -t cgroup2 none /sys/fs/cgroup"));
    };
    for pattern in &args.cgroup {
        let inside = Path::new(pattern).strip_prefix(root).unwrap_or(Path::new(pattern));
        let full = format!("{root}/{}", inside.display().to_string().trim_start_matches('/'));
        let mut found = false;
        for path in glob::glob(&full)
            .map_err(|e| hinted(format!("{pattern}: {e}"), "`*` and `?` are allowed"))?
            .flatten()
        {
            let id = std::fs::metadata(&path)?.ino();
            map.put(&id.to_ne_bytes(), &1u32.to_ne_bytes())?;
            filled.push(Path::new("/").join(path.strip_prefix(root).unwrap_or(&path)));
            found = true;
        }
        if !found {
            return Err(hinted(format!("no cgroup matches {pattern}"), format!("look below {root}")));
        }
    }
    Ok(filled)
}

/// Where the cgroup2 hierarchy is; the others have no ids that the kernel side could compare.
fn cgroup_mount(mounts: &str) -> Option<&str> {
    let mut fields = mounts.lines().map(|l| l.split(' '));
    fields.find_map(|mut f| {
        Some((f.nth(1)?, f.next()?)).filter(|(_, kind)| *kind == "cgroup2").map(|(at, _)| at)
    })
}

/// The consumer's thread.
fn consume(consumer: Consumer, events: &MapHandle, orders: &Receiver<Order>, stop: &EventFd, urgent: bool) {
    const FLUSH: Duration = Duration::from_millis(200);
    if urgent {
        crate::priority::run_first();
    }
    let consumer = Rc::new(RefCell::new(consumer));
    let handler = consumer.clone();
    // A swap comes before the first record that is judged after it was asked for.
    let swap = || {
        while let Ok(order) = orders.try_recv() {
            match order {
                Order::Swap(policy, generation) => consumer.borrow_mut().swap(policy, generation),
                Order::Mode(mode) => consumer.borrow_mut().set_mode(mode),
            }
        }
    };
    let mut builder = RingBufferBuilder::new();
    let added = builder.add(events, |bytes| {
        swap();
        handler.borrow_mut().handle(bytes);
        0
    });
    if added.is_err() {
        return;
    }
    let Ok(ring) = builder.build() else { return };
    // SAFETY: the descriptor is the ring's, and open as long as that.
    let records = unsafe { BorrowedFd::borrow_raw(ring.epoll_fd()) };
    let mut flushed = Instant::now();
    loop {
        let mut wait = [records, stop.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let _ = poll(&mut wait, PollTimeout::try_from(FLUSH).unwrap_or(PollTimeout::ZERO));
        if wait[1].any().unwrap_or(false) {
            break;
        }
        let _ = ring.consume();
        swap();
        if flushed.elapsed() >= FLUSH {
            consumer.borrow_mut().flush();
            flushed = Instant::now();
        }
    }
    let _ = ring.consume();
    consumer.borrow_mut().finish();
}
