//! The thread that reads the ring buffer: decides, enforces, and only then tells the rest.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use libbpf_rs::MapHandle;
use shared::intf;
use shared::op::Op;
use shared::policy::{ArgsView, Once, Policy, ProgramPolicy, Reason, SitePolicy, Verdict};
use shared::profile::Context;
use shared::site::{Name, OriginEntry, Site, file_of};

use crate::cli::Mode;
use crate::context::{Files, callers, context_id, has_unknown_context};
use crate::drift::Drift;
use crate::enforce::{Action, Enforcer};
use crate::kernel::{bytes_of, read_as, read_stat};
use crate::late;
use crate::maps::MapCalls;
use crate::names::{Id, KEPT, NONE, Names, id};
use crate::process::{Miss, Process};
use crate::protect::{Beginnings, Protected, Reached, names_a_process};
use crate::queue::ToReporter;

/// A frame of a call's chain.
pub struct Frame {
    /// What runs.
    pub site: Arc<Site>,
    /// Its line; 0 where it could not be told.
    pub line: u32,
}

/// A call with everything that its record only refers to.
pub struct Call {
    /// The record. Its variable part is only as long as its lengths say.
    pub record: Box<intf::rec_call>,
    /// The site; for another program that of nobody.
    pub site: Arc<Site>,
    /// Its callers that decide, too, nearest first.
    pub callers: Vec<Site>,
    /// The internal function that made the call.
    pub sink: Option<Name>,
    /// Of a descendant.
    pub origin: Arc<[OriginEntry]>,
    /// What is executed.
    pub program: Option<Name>,
    /// The script that named its interpreter.
    pub script: Option<Name>,
    /// The request's main script.
    pub request: Option<Name>,
    /// Innermost first.
    pub chain: Vec<Frame>,
    /// What policy says; `Allowed` in profile mode.
    pub verdict: Verdict,
    /// What was done.
    pub action: Action,
    /// A file of the chain that the profile does not know, where that made it a violation.
    pub unknown_file: Option<Name>,
    /// The start of a program (`exec`), which has no return.
    pub is_exec: bool,
}

/// What the consumer tells the reporter, in the order in which it happened.
pub enum Message {
    /// An observation (profile) or a violation (monitor, sandbox).
    Call(Box<Call>),
    /// A call's `sys_exit`.
    Return(intf::rec_return),
    /// An identity became doubtful.
    Taint(Box<Call>),
    /// A process began, changed or ended: the record's kind and who.
    Process(u16, Box<intf::rec_proc>, Option<Name>),
    /// A process of an image is watched, whether or not it does anything.
    Watched,
    /// Calls that were allowed since the last of these.
    Allowed(u64),
    /// Names that had to be read late.
    Late(u64),
    /// Allowed calls of which a path could not be followed.
    NotFollowed(u64),
    /// Violations for which there was no room.
    Unreported(Unreported),
    /// A file whose code was on the chain of a call, while learning.
    File(Name),
    /// Another profile decides from now on; its checksum.
    Swapped(Arc<Policy>, String),
    /// Scripts have changed since the profile was learnt.
    Drift(Drift),
    /// The mode from now on.
    Mode(Mode),
    /// Everything up to here has been told.
    Flushed,
}

/// Violations that are only counted.
#[derive(Clone, Copy, Default)]
pub struct Unreported {
    /// All of them.
    pub violations: u64,
    /// Those whose process should have been killed, and was not.
    pub missed: u64,
}

struct Known {
    start: u64,
    process: Result<Process, Miss>,
    killed: bool,
}

/// Calls that the kernel side allowed and did not tell.
pub struct Untold {
    stats: MapHandle,
    /// Up to the last look.
    allowed: u64,
}

impl Untold {
    /// Counts from now on.
    pub fn new(stats: MapHandle) -> Self {
        Self { allowed: read_stat(&stats, intf::STAT_ALLOWED), stats }
    }

    /// Since the last time.
    fn take(&mut self) -> u64 {
        let allowed = read_stat(&self.stats, intf::STAT_ALLOWED);
        allowed.saturating_sub(std::mem::replace(&mut self.allowed, allowed))
    }
}

/// What a session decides by.
pub struct By {
    /// What it does.
    pub mode: Mode,
    /// Without one (profile mode) everything is an observation.
    pub policy: Option<Arc<Policy>>,
    /// Its number, as the kernel side has it.
    pub generation: u32,
    /// What no profile can open.
    pub protected: Option<Protected>,
    /// What the kernel side does not tell.
    pub untold: Untold,
    /// Whether it decides.
    pub kernel_decides: bool,
    /// Each record of a kernel side that decides is judged once more here, and a difference is told: for tests, of
    /// calls that are all told.
    pub cross_check: bool,
    /// How much of PHP's stack decides.
    pub context: Context,
    /// Of a kernel side that asks which files the profile knows.
    pub known_files: Option<MapHandle>,
    /// Of a kernel side that asks in which folders nothing is protected.
    pub harmless_folders: Option<MapHandle>,
    /// Those that an earlier session was told.
    pub names: Names,
}

/// Decides about records.
pub struct Consumer {
    mode: Mode,
    policy: Option<Arc<Policy>>,
    protected: Option<Protected>,
    enforcer: Box<dyn Enforcer>,
    names: Names,
    /// By the site as it was called.
    sites: HashMap<Id, SitePolicy>,
    programs: HashMap<(Id, Id), ProgramPolicy>,
    processes: HashMap<u32, Known>,
    partials: HashMap<u32, Box<intf::rec_partial>>,
    pairs: MapHandle,
    /// What is allowed where there is no policy to ask.
    nothing: SitePolicy,
    untold: Untold,
    kernel_decides: bool,
    cross_check: bool,
    files: Files,
    context: Context,
    generation: u32,
    /// Kept for its memory; empty only while a call is being handled.
    spare: Option<Box<intf::rec_call>>,
    allowed: u64,
    late: u64,
    not_followed: u64,
    harmless_folders: Option<MapHandle>,
    beginnings: Beginnings,
    unreported: Unreported,
    to: ToReporter,
}

/// Where a call's site is known under: the kernel side's id, or a name read late.
enum Told {
    Site(Arc<Site>, SitePolicy),
    Unknown,
}

impl Told {
    fn depends_on_arguments(&self, op: Op) -> bool {
        match self {
            // Not allowed by itself: then its arguments were what allowed it.
            Self::Site(_, policy) => policy.depends_on_arguments(op) || !policy.allowed().contains(op),
            Self::Unknown => true,
        }
    }
}

/// Whether the call's site decides, as that of PHP.
fn by_site(who: &intf::who) -> bool {
    who.image != 0 || who.proc_flags & intf::PROC_UNINTROSPECTED != 0
}

/// Whether its program decides: another one, or PHP below it.
fn by_program(who: &intf::who) -> bool {
    !by_site(who) || is_descendant(who)
}

fn is_descendant(who: &intf::who) -> bool {
    id(who.origin) != NONE || who.proc_flags & intf::PROC_ORIGIN_UNKNOWN != 0
}

/// What can be looked up again: whoever has names without end has it looked up more than once.
fn remember<K: Eq + Hash, P>(known: &mut HashMap<K, P>, key: K, policy: P) {
    if known.len() >= KEPT {
        known.clear();
    }
    known.insert(key, policy);
}

impl Consumer {
    /// For one session.
    pub fn new(by: By, enforcer: Box<dyn Enforcer>, pairs: MapHandle, to: ToReporter) -> Self {
        Self {
            mode: by.mode,
            policy: by.policy,
            protected: by.protected,
            enforcer,
            names: by.names,
            sites: HashMap::new(),
            programs: HashMap::new(),
            processes: HashMap::new(),
            partials: HashMap::new(),
            pairs,
            nothing: SitePolicy::nothing(),
            untold: by.untold,
            kernel_decides: by.kernel_decides,
            cross_check: by.cross_check,
            files: Files::new(by.context, by.known_files),
            context: by.context,
            generation: by.generation,
            spare: Some(Box::default()),
            allowed: 0,
            late: 0,
            not_followed: 0,
            harmless_folders: by.harmless_folders,
            beginnings: Beginnings::default(),
            unreported: Unreported::default(),
            to,
        }
    }

    /// One record of the ring buffer. Records that are shorter than their kind are dropped: the kernel side
    /// does not make them.
    pub fn handle(&mut self, bytes: &[u8]) {
        let Some(header) = read_as::<intf::rec_hdr>(bytes) else { return };
        match u32::from(header.kind) {
            intf::REC_CALL => self.call(bytes),
            intf::REC_TAINT => self.taint(bytes),
            intf::REC_RETURN => self.forward(read_as(bytes).map(Message::Return)),
            intf::REC_SITE => self.site_told(bytes),
            intf::REC_PARTIAL => {
                if let Some(partial) = read_as::<intf::rec_partial>(bytes) {
                    self.partials.insert(partial.tid, Box::new(partial));
                }
            }
            intf::REC_PATH => {
                if let Some(path) = read_as::<intf::rec_path>(bytes) {
                    self.names.path_told(&path);
                }
            }
            intf::REC_FOLDER => {
                if let Some(folder) = read_as::<intf::rec_path>(bytes) {
                    self.beginnings.folder(&folder);
                }
            }
            intf::REC_OPENED => {
                if let Some(opened) = read_as::<intf::rec_opened>(bytes) {
                    self.beginnings.opened(&opened);
                }
            }
            intf::REC_FILE => {
                if let Some(asked) = read_as::<intf::rec_file>(bytes) {
                    self.files.asked_about(&asked, self.policy.as_deref(), &self.names);
                }
            }
            intf::REC_ORIGIN => {
                if let Some(origin) = read_as::<intf::rec_origin>(bytes) {
                    self.names.origin_told(&origin);
                }
            }
            kind => {
                if let Some(process) = read_as::<intf::rec_proc>(bytes) {
                    self.process(kind, process);
                }
            }
        }
    }

    /// Tells what was only counted since the last time, where there is room.
    pub fn flush(&mut self) {
        self.tell_counts(|to, counted| to.offer(counted).is_ok());
    }

    /// Tells that everything was told.
    pub fn finish(&mut self) {
        self.tell_counts(|to, counted| {
            to.send(counted);
            true
        });
        self.to.send(Message::Flushed);
    }

    fn tell_counts(&mut self, tell: fn(&ToReporter, Message) -> bool) {
        self.allowed += self.untold.take();
        let tell_count = |count: &mut u64, message: fn(u64) -> Message| {
            if *count > 0 && tell(&self.to, message(*count)) {
                *count = 0;
            }
        };
        tell_count(&mut self.allowed, Message::Allowed);
        tell_count(&mut self.late, Message::Late);
        tell_count(&mut self.not_followed, Message::NotFollowed);
        if self.unreported.violations > 0 && tell(&self.to, Message::Unreported(self.unreported)) {
            self.unreported = Unreported::default();
        }
    }

    /// Who decides in the kernel has counted it.
    fn count_allowed(&mut self) {
        if !self.kernel_decides {
            self.allowed += 1;
        }
    }

    /// Another profile, at once: nothing that was decided by the old one is remembered.
    pub fn swap(&mut self, policy: Arc<Policy>, generation: u32) {
        if let Some(protected) = &mut self.protected {
            protected.look_at_scripts(&policy);
        }
        self.policy = Some(policy);
        self.generation = generation;
        self.sites = self.names.sites().map(|(id, site)| (id, self.site_policy(site, &[]))).collect();
        for (id, file) in self.names.files() {
            self.files.mark(id, file, self.policy.as_deref(), generation);
        }
        let keys: Vec<_> = self.programs.keys().copied().collect();
        self.programs = keys.into_iter().map(|key| (key, self.program_policy(key))).collect();
    }

    /// Monitor or sandbox from the next record on.
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    fn forward(&mut self, message: Option<Message>) {
        const A_MOMENT: Duration = Duration::from_millis(1);
        let Some(mut message) = message else { return };
        while let Err(refused) = self.to.offer(message) {
            if self.mode != Mode::Profile {
                return self.count_refused(&refused);
            }
            // Nobody waits for a decision: what has no room in the ring buffer meanwhile is counted there.
            std::thread::sleep(A_MOMENT);
            message = refused;
        }
    }

    /// A return that is not told is an effect that was not seen, and a process that is not told a name less in events.
    fn count_refused(&mut self, message: &Message) {
        if let Message::Call(call) = message {
            self.unreported.violations += 1;
            self.unreported.missed += u64::from(matches!(call.action, Action::Missed(_)));
        }
    }

    fn site_told(&mut self, bytes: &[u8]) {
        let Some(record) = read_as::<intf::rec_site>(bytes) else { return };
        self.names.site_told(&record);
        if let Some(file) = file_of(&record.name) {
            self.files.mark(id(record.hash), &file, self.policy.as_deref(), self.generation);
            if self.mode == Mode::Profile {
                self.forward(Some(Message::File(file)));
            }
            return;
        }
        // Looked up now, so that at the moment of a violation nothing is allocated.
        if self.policy.is_some() {
            let site = id(record.hash);
            let policy = self.site_policy(&self.names.site(site), &[]);
            remember(&mut self.sites, site, policy);
        }
    }

    fn process(&mut self, kind: u32, record: intf::rec_proc) {
        let who = &record.who;
        match kind {
            intf::REC_EXIT => {
                self.processes.remove(&who.pid);
            }
            _ => {
                // Opened now, so that at the moment of a violation it is only signalled.
                if self.mode != Mode::Profile
                    && self.processes.get(&who.pid).is_none_or(|p| p.start != who.start)
                {
                    self.know(who.pid, who.start);
                }
            }
        }
        if kind != intf::REC_EXIT && self.policy.is_some() {
            // Looked up now, as a site is when it is told.
            self.program((id(who.origin), id(who.program)));
        }
        if kind == intf::REC_EXEC {
            self.exec(&record);
        }
        let program = self.names.path(id(record.who.program));
        self.forward(Some(Message::Process(record.h.kind, Box::new(record), program)));
    }

    fn know(&mut self, pid: u32, start: u64) {
        let process = match Process::open(pid, start) {
            // Out of descriptors: those of quiet processes can be had again when they are needed.
            Err(Miss::Refused(libc::EMFILE | libc::ENFILE)) => {
                self.processes.retain(|_, known| known.killed);
                Process::open(pid, start)
            }
            opened => opened,
        };
        self.processes.insert(pid, Known { start, process, killed: false });
    }

    /// A program was started: the one moment when (origin, program) as such is judged.
    fn exec(&mut self, record: &intf::rec_proc) {
        let who = record.who;
        let root_php = !by_program(&who);
        if root_php || who.proc_flags & intf::PROC_IGNORED != 0 {
            return;
        }
        let heard = verdict_heard(record.flags, record.reason);
        let verdict = if let Some(heard) = heard {
            // Quiet: a hook has judged it before it ran, and told that as a call.
            if record.flags & intf::CALL_QUIET == 0 {
                self.cross_check(
                    heard,
                    || format!("exec by {}", who.pid),
                    |me| me.judge_program(&who, Op::EXEC, &ArgsView::default()),
                );
            }
            heard
        } else {
            self.judge_program(&who, Op::EXEC, &ArgsView::default())
        };
        if self.mode != Mode::Profile && verdict == Verdict::Allowed {
            self.count_allowed();
            return;
        }
        let action = if verdict == Verdict::Allowed {
            Action::Logged
        } else {
            self.enforce(&who, intf::SITE_NONE, record.flags, verdict)
        };
        let call = intf::rec_call { h: record.h, who, op: Op::EXEC.raw(), nr: 59, ..Default::default() };
        self.tell(Box::new(call), Arc::new(Site::unknown()), verdict, action, true);
    }

    fn call(&mut self, bytes: &[u8]) {
        let mut record = self.spare.take().unwrap_or_default();
        if read_call(bytes, &mut record) {
            self.decide(&mut record);
            self.beginnings.forget(record.who.tid);
        }
        self.spare = Some(record);
    }

    fn taint(&self, bytes: &[u8]) {
        let mut record: Box<intf::rec_call> = Box::default();
        if read_call(bytes, &mut record) {
            let call =
                self.call_of(record, Arc::new(Site::unknown()), Verdict::Allowed, Action::Logged, false);
            // At most one for each request: it holds until that ends.
            self.to.send(Message::Taint(Box::new(call)));
        }
    }

    fn decide(&mut self, record: &mut intf::rec_call) {
        let Some(op) = Op::from_raw(record.op) else { return };
        if record.flags & intf::CALL_DECIDED != 0 {
            self.heard(record, op);
            return;
        }
        self.files.answer(record);
        let told = self.told(record);
        let mut verdict = self.judge(record, op, &told);
        if verdict == Verdict::Allowed && self.mode != Mode::Profile {
            self.remember_allowed(record, op, &told);
            if !self.is_protected(record, op) {
                self.remember_folder(record);
                self.count_allowed();
                return;
            }
            verdict = Verdict::violation(Reason::ProtectedObject);
        }
        let action = self.enforce(&record.who, record.site_kind.into(), record.flags, verdict);
        let site = match told {
            Told::Site(site, _) => site,
            Told::Unknown => Arc::new(Site::unknown()),
        };
        self.tell(Box::new(*record), site, verdict, action, false);
    }

    /// A call that the kernel side has decided about.
    fn heard(&mut self, record: &mut intf::rec_call, op: Op) {
        let Some(mut verdict) = verdict_heard(record.flags, record.reason) else { return };
        if record.generation == self.generation {
            let of = *record;
            let what = || format!("{op} by site {:?} of {}", id(of.site), of.who.pid);
            self.cross_check(verdict, what, |me| {
                if op == Op::EXEC {
                    return me.judge_program(&of.who, op, &ArgsView::default());
                }
                let mut of = of;
                me.files.check_again(&mut of, me.policy.as_deref(), &me.names);
                let told = me.told(&mut of);
                me.judge(&of, op, &told)
            });
        }
        if verdict == Verdict::Allowed {
            // The path's own text reached nothing; where it leads is found out here, after the call.
            if record.flags & intf::CALL_REVIEW == 0 || !self.is_protected(record, op) {
                return;
            }
            // By an earlier profile it may have been right: told, and nobody is killed for it.
            let log_only = record.generation != self.generation;
            verdict = Verdict::Violation { reason: Reason::ProtectedObject, log_only, never_kill: false };
        }
        let action = self.enforce(&record.who, record.site_kind.into(), record.flags, verdict);
        let site = self.names.site(id(record.site));
        self.tell(Box::new(*record), site, verdict, action, op == Op::EXEC);
    }

    /// For tests: whether user space would have decided the same.
    fn cross_check(
        &mut self,
        heard: Verdict,
        what: impl FnOnce() -> String,
        judge: impl FnOnce(&mut Self) -> Verdict,
    ) {
        if !(self.kernel_decides && self.cross_check) {
            return;
        }
        let own = judge(self);
        let reason = |verdict| match verdict {
            Verdict::Violation { reason: Reason::ProtectedObject, .. } | Verdict::Allowed => None,
            Verdict::Violation { reason, log_only, .. } => Some((reason, log_only)),
        };
        if reason(own) != reason(heard) {
            crate::say(&format!("cross-check: {}: the kernel side said {heard:?}, not {own:?}", what()));
        }
    }

    /// The call's site and what it may do.
    fn told(&mut self, record: &mut intf::rec_call) -> Told {
        let site_id = id(record.site);
        if u32::from(record.site_kind) == intf::SITE_UNKNOWN {
            return self.told_late(record);
        }
        if self.context.frames() > 1 && record.flags & intf::CALL_CONTEXT_UNKNOWN != 0 {
            let nothing = self.policy.as_ref().map(|policy| policy.site_of_unknown_callers());
            return Told::Site(self.names.site(site_id), nothing.unwrap_or_else(|| self.nothing.clone()));
        }
        let as_called = context_id(record);
        if let Some(policy) = self.sites.get(&as_called) {
            return Told::Site(self.names.site(site_id), policy.clone());
        }
        let site = self.names.site(site_id);
        let policy = self.site_policy(&site, &self.callers(record));
        remember(&mut self.sites, as_called, policy.clone());
        Told::Site(site, policy)
    }

    fn callers(&self, record: &intf::rec_call) -> Vec<Site> {
        callers(record).map(|caller| (*self.names.site(caller)).clone()).collect()
    }

    fn site_policy(&self, site: &Site, callers: &[Site]) -> SitePolicy {
        self.policy.as_ref().map_or_else(|| self.nothing.clone(), |p| p.site_as_called(site, callers))
    }

    /// A name that could not be read then may be readable now; see [`late`].
    fn told_late(&mut self, record: &mut intf::rec_call) -> Told {
        const READABLE: u32 = intf::UNK_FILE | intf::UNK_CLASS | intf::UNK_FUNCTION;
        let partial = self.partials.remove(&record.who.tid);
        if record.unknown == 0 || record.unknown & !READABLE != 0 {
            return Told::Unknown;
        }
        let Some(name) = partial.and_then(|p| late::complete(&p)) else { return Told::Unknown };
        let site = Arc::new(Site::from_raw(&name));
        if *site == Site::unknown() {
            return Told::Unknown;
        }
        self.late += 1;
        record.unknown = 0;
        let policy = self.site_policy(&site, &self.callers(record));
        Told::Site(site, policy)
    }

    fn judge(&mut self, record: &intf::rec_call, op: Op, told: &Told) -> Verdict {
        if self.mode == Mode::Profile {
            return Verdict::Allowed;
        }
        let who = &record.who;
        let exe = self.names.path(id(who.program));
        let args = args_view(record, exe.as_ref().map(shared::site::Name::as_bytes));
        if by_site(who) {
            let own = match told {
                Told::Site(_, policy) => policy.decide(op, &args),
                Told::Unknown if record.unknown & intf::UNK_TAINTED != 0 => {
                    Verdict::violation(Reason::TaintedIdentity)
                }
                Told::Unknown => UNKNOWN_SITE,
            };
            let own = match told {
                Told::Site(site, _) if own != Verdict::Allowed && self.is_once(site, op, &args, record) => {
                    Verdict::Allowed
                }
                _ => own,
            };
            let own = match told {
                Told::Site(site, _) if own == Verdict::Allowed && has_unknown_context(record, site) => {
                    Verdict::violation(Reason::UnknownContext)
                }
                _ => own,
            };
            // PHP below another program: both must allow it.
            if own != Verdict::Allowed || !by_program(who) {
                return own;
            }
        }
        self.judge_program(who, op, &args)
    }

    fn judge_program(&mut self, who: &intf::who, op: Op, args: &ArgsView<'_>) -> Verdict {
        if self.mode == Mode::Profile {
            return Verdict::Allowed;
        }
        if who.proc_flags & intf::PROC_ORIGIN_UNKNOWN != 0 {
            return UNKNOWN_SITE;
        }
        self.program((id(who.origin), id(who.program))).decide(op, args)
    }

    fn program(&mut self, key: (Id, Id)) -> &ProgramPolicy {
        if !self.programs.contains_key(&key) {
            let policy = self.program_policy(key);
            remember(&mut self.programs, key, policy);
        }
        &self.programs[&key]
    }

    fn program_policy(&self, (origin, program): (Id, Id)) -> ProgramPolicy {
        match (&self.policy, self.names.path(program)) {
            (Some(policy), Some(program)) => policy.program(&self.names.origin(origin), program.as_bytes()),
            _ => self.nothing.clone(), // not told: nothing is allowed
        }
    }

    /// Acts on a violation. Before anything is allocated.
    fn enforce(&mut self, who: &intf::who, site_kind: u32, flags: u32, verdict: Verdict) -> Action {
        let Verdict::Violation { log_only, .. } = verdict else { return Action::Logged };
        // One stray call of the master must not take the service down: logged, never killed. Code, and what code
        // or who knows what has started, is nobody's master (fails closed).
        let descendant = is_descendant(who);
        let role = u32::from(who.role);
        let no_code = site_kind == intf::SITE_NONE && role == intf::ROLE_MASTER;
        let master = (site_kind == intf::SITE_MASTER || no_code) && !descendant;
        if self.mode != Mode::Sandbox || log_only || master {
            return Action::Logged;
        }
        if flags & intf::CALL_KILLED != 0
            && let Some(known) = self.processes.get_mut(&who.pid)
        {
            known.killed = true;
        }
        if flags & intf::CALL_DENIED != 0 {
            return Action::Denied;
        }
        if flags & intf::CALL_REWRITTEN != 0 {
            return Action::Rewritten;
        }
        if flags & intf::CALL_KILLED != 0 {
            return Action::Killed;
        }
        // Decided by the mode of that moment, which was not the sandbox.
        if flags & intf::CALL_DECIDED != 0 && flags & (intf::CALL_KILL_FAILED | intf::CALL_REVIEW) == 0 {
            return Action::Logged;
        }
        // A refusal may have been of that moment only.
        let usable = |p: &Known| p.start == who.start && !matches!(p.process, Err(Miss::Refused(_)));
        if !self.processes.get(&who.pid).is_some_and(usable) {
            self.know(who.pid, who.start);
        }
        let Some(known) = self.processes.get_mut(&who.pid) else { return Action::Missed(Miss::Gone) };
        if known.killed {
            return Action::Killed; // on its way: this call came before it landed
        }
        let action = self.enforcer.enforce(known.process.as_ref().map_err(|m| *m));
        known.killed = action == Action::Killed;
        action
    }

    /// From now on the kernel side does not ask about this pair.
    fn remember_allowed(&mut self, record: &intf::rec_call, op: Op, told: &Told) {
        let is_known = record.flags & intf::CALL_PATHS_ONLY != 0;
        if is_known || u32::from(record.site_kind) == intf::SITE_UNKNOWN {
            return;
        }
        // Only what no argument can change, but for where its paths lead.
        let program = self.programs.get(&(id(record.who.origin), id(record.who.program)));
        let depends = names_a_process(op)
            || (by_site(&record.who) && told.depends_on_arguments(op))
            || (by_program(&record.who) && program.is_none_or(|p| p.depends_on_arguments(op)));
        if depends || record.generation != self.generation {
            return;
        }
        let review = u32::from(self.paths_matter(op));
        let pair = intf::pair { count: 1, sent: review, generation: self.generation };
        // Not stored: the next call of this pair is told in full again.
        let _ = self.pairs.put(bytes_of(&record.pair), bytes_of(&pair));
    }

    /// From now on the kernel side does not tell what is opened there.
    fn remember_folder(&self, record: &intf::rec_call) {
        let opened = self.beginnings.of(record.who.tid).opened;
        let (Some(opened), Some(map), Some(policy), Some(protected)) =
            (opened, &self.harmless_folders, &self.policy, &self.protected)
        else {
            return;
        };
        if record.generation == self.generation && protected.is_harmless_folder(policy, opened) {
            let generation = self.generation.to_ne_bytes();
            // Not stored: the next one is told, too.
            let _ = map.put(bytes_of(&opened.folder), &generation);
        }
    }

    fn is_once(&self, site: &Site, op: Op, args: &ArgsView<'_>, record: &intf::rec_call) -> bool {
        const SOCKET: usize = 1; // its type, then its protocol
        const PROTECTION: usize = 2; // of mprotect
        const FD: usize = 4; // of mmap
        let how = Once {
            anonymous: record.args[FD] as u32 == u32::MAX,
            protection: record.args[PROTECTION],
            socket: [record.args[SOCKET], record.args[SOCKET + 1]],
            has_sink: id(record.sink) != NONE,
        };
        self.policy.as_ref().is_some_and(|p| p.is_once_per_process(site, op, args, how))
    }

    /// Whether an allowed call of this operation may still reach a protected object by its path.
    fn paths_matter(&self, op: Op) -> bool {
        match (&self.policy, &self.protected) {
            (Some(policy), Some(protected)) => protected.may_reach(policy, op),
            _ => true,
        }
    }

    fn is_protected(&mut self, record: &intf::rec_call, op: Op) -> bool {
        let mut reached = self.reached(record, op);
        if reached == Reached::NoRoom {
            // As in `know`: those of quiet processes can be had again when they are needed.
            self.processes.retain(|_, known| known.killed);
            reached = self.reached(record, op);
        }
        self.not_followed += u64::from(reached == Reached::Untold);
        matches!(reached, Reached::Protected | Reached::NoRoom) // what cannot be looked at fails closed
    }

    fn reached(&mut self, record: &intf::rec_call, op: Op) -> Reached {
        let (Some(protected), Some(policy)) = (&mut self.protected, &self.policy) else {
            return Reached::Nothing;
        };
        protected.reached(policy, op, record, self.beginnings.of(record.who.tid))
    }

    fn tell(
        &mut self,
        record: Box<intf::rec_call>,
        site: Arc<Site>,
        verdict: Verdict,
        action: Action,
        is_exec: bool,
    ) {
        let call = self.call_of(record, site, verdict, action, is_exec);
        self.forward(Some(Message::Call(Box::new(call))));
    }

    fn call_of(
        &self,
        record: Box<intf::rec_call>,
        site: Arc<Site>,
        verdict: Verdict,
        action: Action,
        is_exec: bool,
    ) -> Call {
        let frames = record.chain.iter().take(usize::from(record.chain_len).min(record.chain.len()));
        let chain = frames.map(|f| Frame { site: self.names.site(id(f.name)), line: f.line }).collect();
        let who = &record.who;
        Call {
            sink: self.names.sink(id(record.sink)),
            origin: self.names.origin(id(who.origin)),
            program: self.names.path(id(who.program)),
            script: self.names.path(id(who.script)),
            request: self.names.path(id(record.request)),
            unknown_file: self.names.file(id(record.context)).cloned(),
            callers: self.callers(&record),
            record,
            site,
            chain,
            verdict,
            action,
            is_exec,
        }
    }
}

/// False where the record is too short for one.
fn read_call(bytes: &[u8], record: &mut intf::rec_call) -> bool {
    let len = bytes.len().min(size_of::<intf::rec_call>());
    // SAFETY: rec_call is plain data, valid for any bytes; `len` is within both.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), std::ptr::from_mut(record).cast::<u8>(), len);
    }
    len >= std::mem::offset_of!(intf::rec_call, chain)
}

/// What the kernel side decided; `None` where it leaves that to us.
fn verdict_heard(flags: u32, reason: u16) -> Option<Verdict> {
    if flags & intf::CALL_DECIDED == 0 {
        return None;
    }
    let reason = match u32::from(reason) {
        intf::REASON_NONE => return Some(Verdict::Allowed),
        intf::REASON_SITE => Reason::SiteNotInProfile,
        intf::REASON_OPERATION => Reason::OperationNotInProfile,
        intf::REASON_PROGRAM => Reason::ProgramNotInProfile,
        intf::REASON_TAINTED => Reason::TaintedIdentity,
        intf::REASON_FOREIGN_ABI => Reason::ForeignAbi,
        intf::REASON_PROTECTED => Reason::ProtectedObject,
        intf::REASON_LOST => Reason::EventsLost,
        intf::REASON_CONTEXT => Reason::UnknownContext,
        _ => Reason::UnknownSite,
    };
    Some(Verdict::Violation {
        reason,
        log_only: flags & intf::CALL_LOG_ONLY != 0,
        never_kill: flags & intf::CALL_NEVER_KILL != 0,
    })
}

const UNKNOWN_SITE: Verdict =
    Verdict::Violation { reason: Reason::UnknownSite, log_only: false, never_kill: false };

/// Paths as far as they could be read whole, and the executable that the task runs already.
pub fn args_view<'a>(record: &'a intf::rec_call, exe: Option<&'a [u8]>) -> ArgsView<'a> {
    let whole = |bad: u32| record.flags & bad == 0;
    let given = |arg: u8| arg != 0;
    let desc = shared::op::desc(record.nr);
    ArgsView {
        path: (given(desc.path_arg) && whole(intf::CALL_PATH_FAULT | intf::CALL_PATH_TRUNCATED))
            .then(|| bytes(&record.path, record.path_len)),
        path2: (given(desc.path2_arg) && whole(intf::CALL_PATH2_FAULT | intf::CALL_PATH2_TRUNCATED))
            .then(|| bytes(&record.path2, record.path2_len)),
        exe,
    }
}

/// The used part of a path argument.
pub fn bytes(field: &[i8], len: u16) -> &[u8] {
    let used = &field[..usize::from(len).min(field.len())];
    // SAFETY: i8 and u8 have the same layout; length and lifetime are those of `used`.
    unsafe { std::slice::from_raw_parts(used.as_ptr().cast(), used.len()) }
}
