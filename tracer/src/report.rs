//! The thread that tells: events, lines, counts, the table at the end; in profile mode it learns.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use comfy_table::{CellAlignment, Table};
use jiff::Timestamp;
use libbpf_rs::MapHandle;
use shared::event::{self, Event, EventOrigin, EventSite, Kind};
use shared::intf;
use shared::op::{ArgsSeen, Op, Selection, describe_args};
use shared::policy::{
    Actor, ArgsView, Learner, LearnerConfig, Observation, Policy, Reason, Verdict, is_include,
};
use shared::profile::{Context, Face, Php, Profile, Root, View};
use shared::site::{Name, Site, text};

use crate::cli::{self, Args, Mode};
use crate::consumer::{Call, Message, Unreported, bytes};
use crate::context::has_unknown_context;
use crate::drift::Drift;
use crate::enforce::Action;
use crate::events::{Events, Sink};
use crate::files::Files;
use crate::follow::file_at;
use crate::kernel::{bytes_of, read_as, read_stat, read_stats};
use crate::live;
use crate::maps::MapCalls;
use crate::moved::ended_of_it;
use crate::queue::Messages;
use crate::say;
use crate::session::from_profile;
use crate::unwatched;
use crate::wrappers;

/// What a session's reporter needs.
pub struct Settings {
    /// The command line.
    pub args: Args,
    /// What the session does.
    pub mode: Mode,
    /// As in events.
    pub strategy: &'static str,
    /// Where operations are seen.
    pub view: View,
    /// Which calls count.
    pub operations: Selection,
    /// How much of PHP's stack decides, or is learnt.
    pub context: Context,
    /// What is enforced.
    pub policy: Option<Arc<Policy>>,
    /// Of the profile that is enforced or added to.
    pub checksum: Option<String>,
    /// What is added to (profile mode).
    pub profile: Option<Profile>,
    /// How a profile is written.
    pub face: Face,
    /// The files of the images.
    pub watched: Vec<PathBuf>,
    /// Version and ABI, where they are known at the start.
    pub php: Option<(String, String)>,
    /// Counts of pairs.
    pub pairs: MapHandle,
    /// Counters.
    pub stats: MapHandle,
    /// Set: write the profile now.
    pub write_now: Arc<AtomicBool>,
    /// Set: open the event file again.
    pub reopen_events: Arc<AtomicBool>,
    /// Calls are seen to return, or will be: set by the first violation whose process goes on.
    pub returns_wanted: Arc<AtomicBool>,
}

/// How the session went.
pub enum Ended {
    /// As it should.
    Well,
    /// No process of an image was seen; PHP that ran all the same, as nobody had named it.
    NoProcess(Option<Name>),
    /// The profile could not be written.
    Failed(anyhow::Error),
}

/// What the session came to.
pub struct Outcome {
    /// How it went.
    pub ended: Ended,
    /// Violations.
    pub violations: u64,
}

/// A violation that waits for its call's return.
struct Pending {
    call: Box<Call>,
    until: Instant,
}

/// A row of the table.
#[derive(Default)]
struct Tally {
    attempts: u64,
    through: u64,
    stopped: u64,
    not_seen: u64,
}

/// How long a return is waited for. Calls that block longer are told as `not-seen`.
const RETURN_WAIT: Duration = Duration::from_secs(2);
const WRITE_EVERY: Duration = Duration::from_secs(60);
const LOOK_FOR_LOSSES_EVERY: Duration = Duration::from_millis(100);
const PROGRAMS_KEPT: usize = 256;
/// Lines above, below and under the head, none between rows: as `comfy_table` spells it.
pub(crate) const PLAIN_TABLE: &str = "  ── ══      ──    ";
/// Rows of the table; whoever makes violations at sites without end has one for the rest.
const ROWS: usize = 4096;
/// By whom those are.
const OTHERS: &str = "{others}";
/// How many scripts that have changed have an event each: the rest is one, so that violations keep their room.
const DRIFT_EVENTS: usize = 1_000;
/// Lines for one (site, operation); the table has the rest.
const LINES_EACH: u64 = 10;

/// Tells what the consumer decided.
pub struct Reporter {
    settings: Settings,
    host: String,
    session: String,
    clock: i128,
    events: Option<Events>,
    pending: HashMap<(u32, u64), Pending>,
    order: VecDeque<(u32, u64)>,
    table: BTreeMap<(String, String), Tally>,
    learner: Learner,
    pairs_seen: HashMap<Vec<u8>, Observed>,
    exes: HashMap<u32, Name>,
    /// Executed while no image was seen: one of them may be PHP.
    programs: HashSet<Name>,
    /// Executed while learning, by processes of no image: whether it is PHP.
    are_php: HashMap<Name, bool>,
    /// That sites are in.
    files: Files,
    /// That code was compiled from.
    included: Files,
    started: SystemTime,
    violations: u64,
    through: u64,
    missed: u64,
    allowed: u64,
    late: u64,
    not_followed: u64,
    unreported: u64,
    tainted: u64,
    saw_image: bool,
    /// A process died of a trap, and that was told.
    told_trap: bool,
    last_lost: u64,
    /// Learnt from, and how many calls were told: for the live line. At the end the profile has its own counts,
    /// which cost too much to be made every time.
    sites: HashSet<Arc<Site>>,
    observed: u64,
    /// The session has a live line; when it was looked at last.
    live: Option<Instant>,
}

/// What a pair's count is added to at the end.
struct Observed {
    /// With its callers.
    site: Option<(Arc<Site>, Vec<Site>)>,
    origin: Arc<[shared::site::OriginEntry]>,
    program: Option<Name>,
    op: Op,
    told: u64,
    path: Option<Vec<u8>>,
    path2: Option<Vec<u8>>,
}

impl Reporter {
    /// Opens the event file. Errors: it cannot be opened; a root is malformed.
    pub fn new(settings: Settings) -> Result<Self> {
        let host = nix::unistd::gethostname().map(|h| h.to_string_lossy().into_owned()).unwrap_or_default();
        let learner = Learner::new(learner_config(&settings, &host)?);
        let events = match &settings.args.events {
            None => None,
            Some(path) => Some(Events::new(open_events(path, &settings.args)?)?),
        };
        let session = format!("{:x}-{:x}", std::process::id(), Timestamp::now().as_nanosecond());
        Ok(Self {
            host,
            session,
            clock: Timestamp::now().as_nanosecond() - monotonic(),
            events,
            pending: HashMap::new(),
            order: VecDeque::new(),
            table: BTreeMap::new(),
            learner,
            pairs_seen: HashMap::new(),
            exes: HashMap::new(),
            programs: HashSet::new(),
            are_php: HashMap::new(),
            files: Files::default(),
            included: Files::default(),
            started: SystemTime::now(),
            violations: 0,
            through: 0,
            missed: 0,
            allowed: 0,
            late: 0,
            not_followed: 0,
            unreported: 0,
            tainted: 0,
            saw_image: false,
            told_trap: false,
            last_lost: 0,
            sites: HashSet::new(),
            observed: 0,
            live: live::suits(&settings.args).then(Instant::now),
            settings,
        })
    }

    /// Until the consumer has told everything.
    pub fn run(mut self, messages: &Messages) -> Outcome {
        let mut written = Instant::now();
        let mut looked_for_losses = Instant::now();
        loop {
            match messages.next(Duration::from_millis(250)) {
                Ok(Message::Flushed) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.expire(false);
            self.redraw();
            // Not at each message: the kernel skips perf's programs for whom it lets run amid a look at a map.
            if looked_for_losses.elapsed() >= LOOK_FOR_LOSSES_EVERY {
                looked_for_losses = Instant::now();
                self.tell_losses();
            }
            if self.settings.reopen_events.swap(false, Ordering::Relaxed) {
                self.reopen();
            }
            let asked = self.settings.write_now.swap(false, Ordering::Relaxed);
            if self.settings.mode == Mode::Profile && (asked || written.elapsed() >= WRITE_EVERY) {
                written = Instant::now();
                if self.saw_image
                    && let Err(error) = self.write_profile()
                {
                    say(&format!("warning: {error:#}"));
                }
            }
        }
        self.expire(true);
        self.end()
    }

    /// The counts of this moment on the live line.
    fn redraw(&mut self) {
        if self.live.is_none_or(|looked| looked.elapsed() < live::REDRAW_EVERY) {
            return;
        }
        self.live = Some(Instant::now());
        let counts = match self.settings.mode {
            Mode::Profile => {
                let seen = self.observed + self.stat(intf::STAT_DEDUPLICATED);
                format!("profile: {} sites, {seen} calls seen", self.sites.len())
            }
            _ => self.counts(),
        };
        let lost = match self.stat(intf::STAT_LOST) {
            0 => String::new(),
            lost => format!("; {lost} records lost"),
        };
        live::show(&(counts + &lost));
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Call(call) => self.call(call),
            Message::Return(back) => {
                for seq in back.first..=back.seq {
                    if let Some(pending) = self.pending.remove(&(back.tid, seq)) {
                        self.conclude(&pending.call, Some(back.ret));
                    }
                }
            }
            Message::Taint(call) => self.taint(&call),
            Message::Process(kind, record, program) => self.process(u32::from(kind), &record, program),
            Message::Watched => self.saw_image = true,
            Message::Allowed(n) => self.allowed += n,
            Message::Late(n) => self.late += n,
            Message::NotFollowed(n) => self.not_followed += n,
            Message::Unreported(of) => self.unreported(of),
            Message::File(file) => {
                self.learner.file(&file);
                self.files.add(&file, None);
            }
            Message::Swapped(policy, checksum) => {
                self.settings.policy = Some(policy);
                self.settings.checksum = Some(checksum);
            }
            Message::Drift(drift) => self.drift(&drift),
            Message::Mode(mode) => self.settings.mode = mode,
            Message::Flushed => {}
        }
    }

    /// Once: it will be so of each.
    fn tell_trap(&mut self, record: &intf::rec_proc) {
        let is_php = record.who.image != 0;
        if let Some(told) = ended_of_it(record.exit_code).filter(|_| is_php && !self.told_trap) {
            self.told_trap = true;
            say(told);
        }
    }

    fn unreported(&mut self, of: Unreported) {
        if self.unreported == 0 {
            say("warning: more violations at once than can be told: some are only counted");
        }
        self.unreported += of.violations;
        self.violations += of.violations;
        self.missed += of.missed;
        self.write_loss(of.violations, "more violations at once than can be told");
    }

    fn process(&mut self, kind: u32, record: &intf::rec_proc, program: Option<Name>) {
        let who = &record.who;
        if who.image != 0 && who.proc_flags & intf::PROC_IGNORED == 0 {
            self.saw_image = true;
        }
        if kind == intf::REC_EXIT {
            self.tell_trap(record);
            // Its calls can return no more.
            let ended: Vec<_> = self
                .pending
                .iter()
                .filter(|(_, p)| p.call.record.who.pid == who.pid)
                .map(|(k, _)| *k)
                .collect();
            for key in ended {
                if let Some(pending) = self.pending.remove(&key) {
                    self.conclude(&pending.call, None);
                }
            }
            self.exes.remove(&who.pid);
        } else if let Some(program) = program {
            if !self.saw_image && who.image == 0 && self.programs.len() < PROGRAMS_KEPT {
                self.programs.insert(program.clone());
            }
            self.exes.insert(who.pid, program);
        }
    }

    fn call(&mut self, call: Box<Call>) {
        if call.record.who.image != 0 {
            self.saw_image = true;
        }
        if self.settings.mode == Mode::Profile {
            self.observed += 1;
            self.learn(&call);
            if self.events.is_some() {
                let event = self.event(&call, Kind::Observed, None);
                self.write(&event);
            }
            return;
        }
        self.violations += 1;
        if matches!(call.action, Action::Missed(_)) {
            self.missed += 1;
        }
        if call.is_exec && call.record.seq == 0 {
            // Seen running: the exec has succeeded.
            self.conclude(&call, Some(0));
            return;
        }
        let is_told = call.action == Action::Killed
            || call.record.flags & (intf::CALL_KILLED | intf::CALL_RETURN_WORK) != 0;
        if !is_told && !self.settings.returns_wanted.swap(true, Ordering::Relaxed) {
            self.conclude(&call, None);
            return;
        }
        let key = (call.record.who.tid, call.record.seq);
        self.order.push_back(key);
        self.pending.insert(key, Pending { call, until: Instant::now() + RETURN_WAIT });
    }

    /// An identity became doubtful: what made it so.
    fn taint(&mut self, call: &Call) {
        let r = &*call.record;
        let mut event = self.event(call, Kind::Taint, None);
        (event.operation, event.nr, event.site, event.verdict) = (None, None, None, None);
        let names =
            [("path", &r.path, r.path_len), ("path2", &r.path2, r.path2_len)].into_iter().filter(|n| n.2 > 0);
        event.args = event::args(names.map(|(name, path, len)| (name, text(bytes(path, len)))));
        event.cause = Some(taint_cause(r.reason).into());
        event.scope =
            Some(if u32::from(r.error) & intf::TAINTED_POOL != 0 { "pool" } else { "request" }.into());
        self.tainted += 1;
        if self.tainted <= LINES_EACH {
            say(&event.taint_line());
        } else if self.tainted == LINES_EACH + 1 {
            say("… and more taints: counted at the end");
        }
        self.write(&event);
    }

    /// Calls whose return nobody will see any more.
    fn expire(&mut self, all: bool) {
        while let Some(key) = self.order.front().copied() {
            match self.pending.get(&key) {
                Some(pending) if !all && pending.until > Instant::now() => return,
                Some(_) => {
                    if let Some(pending) = self.pending.remove(&key) {
                        self.conclude(&pending.call, None);
                    }
                }
                None => {}
            }
            self.order.pop_front();
        }
    }

    fn conclude(&mut self, call: &Call, ret: Option<i64>) {
        let event = self.event(call, Kind::Violation, ret);
        let who = event.site.as_ref().map_or_else(
            || text(call.program.as_ref().map_or(b"{unknown}".as_slice(), |p| p.as_bytes())),
            ToString::to_string,
        );
        let who = who
            .rsplit_once(':')
            .filter(|(_, l)| l.parse::<u32>().is_ok())
            .map_or(who.as_str(), |(w, _)| w)
            .to_owned();
        let mut row = (event.operation.clone().unwrap_or_default(), who);
        if self.table.len() >= ROWS && !self.table.contains_key(&row) {
            row.1 = OTHERS.into();
        }
        let tally = self.table.entry(row).or_default();
        tally.attempts += 1;
        match event.effect {
            Some(event::Effect::Yes) => {
                tally.through += 1;
                self.through += 1;
            }
            Some(event::Effect::No) => tally.stopped += 1,
            _ => tally.not_seen += 1,
        }
        if tally.attempts <= LINES_EACH {
            say(&colored(&event.violation_line(), call.action));
        } else if tally.attempts == LINES_EACH + 1 {
            say("… and more of the same: counted in the table at the end");
        }
        self.write(&event);
    }

    fn event(&self, call: &Call, kind: Kind, ret: Option<i64>) -> Event {
        let r = &*call.record;
        let who = &r.who;
        let op = Op::from_raw(r.op).unwrap_or(Op::UNKNOWN);
        let ts =
            Timestamp::from_nanosecond(self.clock + i128::from(r.h.ts)).unwrap_or_else(|_| Timestamp::now());
        let mut event = Event::new(kind, ts);
        event.host.clone_from(&self.host);
        event.session.clone_from(&self.session);
        event.profile.clone_from(&self.settings.checksum);
        event.mode = self.settings.mode.name().into();
        event.strategy = self.settings.strategy.into();
        (event.pid, event.tid, event.ppid, event.nspid) = (who.pid, who.tid, who.ppid, who.nspid);
        (event.start, event.uid) = (who.start, who.uid);
        event.comm = text(cstr(&who.comm));
        let exe = call.program.as_ref().or_else(|| self.exes.get(&who.pid));
        event.exe = exe.map(|p| text(p.as_bytes()));
        event.cgroup = cgroup_of(who.pid);
        event.script = call.request.as_ref().or(call.script.as_ref()).map(|s| text(s.as_bytes()));
        event.view = Some(self.settings.view);
        event.set_operation(op, r.nr);
        event.args = describe_args(r.nr, &r.args, &seen(call));
        let runs_php = who.image != 0 || who.proc_flags & intf::PROC_UNINTROSPECTED != 0;
        if runs_php && !call.is_exec {
            event.site = Some(EventSite::new(&call.site, r.line));
        }
        event.sink = call.sink.as_ref().map(|s| text(s.as_bytes()));
        event.origin = call.origin.iter().map(EventOrigin::from).collect();
        event.chain =
            call.chain.iter().filter(|f| is_site(&f.site)).map(|f| EventSite::new(&f.site, f.line)).collect();
        event.frames = call.chain.iter().map(|f| EventSite::new(&f.site, f.line)).collect();
        match call.verdict {
            Verdict::Allowed => event.verdict = Some("allowed".into()),
            Verdict::Violation { reason, .. } => {
                event.verdict = Some("violation".into());
                event.reason = Some(reason);
                // Protected whatever the profile says, or what is unknown is not who asks: no grant would allow it.
                let grantable = match reason {
                    Reason::UnknownContext => r.flags & intf::CALL_CONTEXT_UNKNOWN == 0,
                    reason => reason != Reason::ProtectedObject,
                };
                event.grant = if grantable { self.grant(call, op) } else { None };
                event.unknown_file = self.unknown_file(call, reason);
            }
        }
        event.cause = if let Action::Missed(why) = call.action {
            Some(why.to_string())
        } else {
            let unknown = (r.unknown != 0).then(|| unknown_causes(r.unknown));
            let causes = unknown.into_iter().chain(spared_cause(r.spared).map(ToOwned::to_owned));
            let causes = context_cause(call).into_iter().chain(causes);
            Some(causes.collect::<Vec<_>>().join("; ")).filter(|causes| !causes.is_empty())
        };
        if kind == Kind::Violation {
            event.action = Some(match call.action {
                Action::Logged => event::Action::Logged,
                Action::Killed => event::Action::Killed,
                Action::Denied => event::Action::Denied,
                Action::Rewritten => event::Action::Rewritten,
                Action::Missed(_) => event::Action::Missed,
            });
            event.ret = ret;
            event.effect = Some(effect(call.action, op, ret));
        }
        event
    }

    /// What the profile would have to list.
    fn unknown_file(&self, call: &Call, reason: Reason) -> Option<Name> {
        let file = call.unknown_file.as_ref().filter(|_| reason == Reason::UnknownContext)?;
        self.settings.policy.as_ref()?.file_to_list(file)
    }

    /// The complete key that would allow it.
    fn grant(&self, call: &Call, op: Op) -> Option<shared::profile::GrantKey> {
        let policy = self.settings.policy.as_ref()?;
        let who = &call.record.who;
        let args = args_view(call);
        let by_program = call.is_exec || (who.image == 0 && who.proc_flags & intf::PROC_UNINTROSPECTED == 0);
        if by_program {
            return policy.program_grant(&call.origin, call.program.as_ref()?.as_bytes(), op, &args);
        }
        policy.site_grant(&call.site, &call.callers, op, &args)
    }

    fn learn(&mut self, call: &Call) {
        let r = &*call.record;
        let who = &r.who;
        let op = Op::from_raw(r.op).unwrap_or(Op::UNKNOWN);
        let args = args_view(call);
        let runs_php = who.image != 0 && !call.is_exec;
        let sink = call.sink.as_ref().map(shared::site::Name::as_bytes);
        let observe = |learner: &mut Learner, actor: Actor<'_>| {
            let tainted = runs_php && r.unknown & intf::UNK_TAINTED != 0;
            learner.observe(&Observation { actor, op, sink, args, count: 1, tainted });
        };
        let program = call.program.clone();
        if self.runs_unwatched_php(who, program.as_ref()) {
            self.learner.unknown(unwatched::CAUSE, 1);
            return;
        }
        if runs_php {
            if r.unknown != 0 {
                self.learner.unknown(&unknown_causes(r.unknown), 1);
                return;
            }
            if self.settings.context.frames() > 1 && has_unknown_context(r, &call.site) {
                self.learner.unknown("unknown-context", 1);
                return;
            }
            observe(&mut self.learner, Actor::Site(&call.site, &call.callers));
            self.sites.insert(call.site.clone());
            let sites = [&*call.site].into_iter().chain(&call.callers);
            for file in sites.filter_map(|site| site.file.as_ref()) {
                self.files.add(file, Some(who.pid));
            }
            // php-cli opens it before the request, when nothing tells that it is one.
            if let Some(script) = &call.request {
                self.included.add(script, Some(who.pid));
            }
            if let Some(path) = args.path.filter(|_| is_include(&call.site, op, sink.is_some())) {
                // The engine reads other things than scripts.
                if call.site.file.is_some() || call.request.as_ref().is_some_and(|r| is_same_file(r, path)) {
                    self.included.add(&path.into(), Some(who.pid));
                }
            }
        }
        if who.proc_flags & intf::PROC_ORIGIN_UNKNOWN != 0 {
            if !runs_php {
                self.learner.unknown("unknown-origin", 1);
            }
        } else if let (true, Some(program)) = (!runs_php || !call.origin.is_empty(), &program) {
            observe(&mut self.learner, Actor::Program { origin: &call.origin, program: program.as_bytes() });
        }
        for entry in call.origin.iter() {
            if let Some(file) = &entry.site.file {
                self.files.add(file, Some(who.pid));
            }
        }
        self.pairs_seen.entry(bytes_of(&r.pair).to_vec()).or_insert_with(|| Observed {
            site: runs_php.then(|| (call.site.clone(), call.callers.clone())),
            origin: call.origin.clone(),
            program,
            op,
            told: 1,
            path: args.path.map(<[u8]>::to_vec),
            path2: args.path2.map(<[u8]>::to_vec),
        });
    }

    /// A new file at a watched path is an image soon.
    fn runs_unwatched_php(&mut self, who: &intf::who, program: Option<&Name>) -> bool {
        if who.image != 0 || who.proc_flags & intf::PROC_UNINTROSPECTED != 0 {
            return false;
        }
        let Some(program) = program else { return false };
        if let Some(known) = self.are_php.get(program) {
            return *known;
        }
        if self.are_php.len() >= PROGRAMS_KEPT {
            self.are_php.retain(|_, is_php| *is_php);
        }
        let is_php = unwatched::is_php(program);
        self.are_php.insert(program.clone(), is_php);
        is_php
    }

    /// What the kernel side only counted since the pair was told.
    fn learn_counts(&mut self) {
        for (key, seen) in &mut self.pairs_seen {
            let found = self.settings.pairs.get(key);
            let Ok(Some(value)) = found else { continue };
            let count = read_as::<intf::pair>(&value).map_or(0, |p| p.count);
            let more = count.saturating_sub(seen.told);
            if more == 0 {
                continue;
            }
            seen.told = count;
            let args = ArgsView { path: seen.path.as_deref(), path2: seen.path2.as_deref(), exe: None };
            let mut observe = |actor| {
                self.learner.observe(&Observation {
                    actor,
                    op: seen.op,
                    sink: None,
                    args,
                    count: more,
                    tainted: false,
                });
            };
            if let Some((site, callers)) = &seen.site {
                observe(Actor::Site(site, callers));
            } else if let Some(program) = &seen.program {
                observe(Actor::Program { origin: &seen.origin, program: program.as_bytes() });
            }
        }
    }

    fn write_profile(&mut self) -> Result<Profile> {
        self.learn_counts();
        // What was written meanwhile the application may write again: it names itself only by what it does.
        for script in self.files.scripts(None).chain(self.included.scripts(Some(self.started))) {
            self.learner.script(script);
        }
        let mut profile = self.learner.profile(Timestamp::now());
        if profile.learned.lost > 0 {
            profile.complete = false;
        }
        if let (true, Some(before)) = (self.settings.args.merge, &self.settings.profile) {
            let mut merged = before.clone();
            merged.merge(profile).map_err(from_profile)?;
            profile = merged;
        }
        let path = &self.settings.args.profile_file;
        profile.save_face(path, self.settings.face, true).map_err(from_profile)?;
        Ok(profile)
    }

    fn tell_losses(&mut self) {
        let lost = self.stat(intf::STAT_LOST);
        if lost == self.last_lost {
            return;
        }
        let more = lost - self.last_lost;
        self.last_lost = lost;
        self.learner.lost(more);
        self.write_loss(more, "the ring buffer was full");
    }

    fn write_loss(&mut self, count: u64, cause: &str) {
        let event = Event { count, ..self.about_session(Kind::Lost, cause) };
        self.write(&event);
    }

    /// For people in a line, for machines an event for each file.
    fn drift(&mut self, drift: &Drift) {
        say(&drift.to_string());
        for path in drift.changed.iter().take(DRIFT_EVENTS) {
            let mut event = self.about_session(Kind::Notice, "script-changed");
            event.profile = Some(drift.profile.clone());
            event.args = event::args([("path", text(path.as_os_str().as_bytes()))].into_iter());
            self.write(&event);
        }
        if let Some(more @ 1..) = drift.changed.len().checked_sub(DRIFT_EVENTS) {
            let about = self.about_session(Kind::Notice, "more-scripts-changed");
            self.write(&Event { profile: Some(drift.profile.clone()), count: more as u64, ..about });
        }
    }

    /// What no process has done.
    fn about_session(&self, kind: Kind, cause: &str) -> Event {
        let mut event = Event::new(kind, Timestamp::now());
        event.host.clone_from(&self.host);
        event.session.clone_from(&self.session);
        event.mode = self.settings.mode.name().into();
        event.strategy = self.settings.strategy.into();
        event.cause = Some(cause.into());
        event
    }

    fn stat(&self, which: u32) -> u64 {
        read_stat(&self.settings.stats, which)
    }

    fn write(&mut self, event: &Event) {
        if let Some(events) = &mut self.events {
            events.write(event.to_line());
        }
    }

    fn reopen(&mut self) {
        let (Some(path), Some(events)) = (&self.settings.args.events, &self.events) else { return };
        match open_events(path, &self.settings.args) {
            Ok(file) => events.reopen(file),
            Err(error) => say(&format!("warning: {error:#}")),
        }
    }

    fn end(mut self) -> Outcome {
        live::end();
        self.tell_losses();
        let ended = match (self.saw_image, self.settings.mode) {
            (false, _) => Ended::NoProcess(self.unnamed_php()),
            (true, Mode::Profile) => match self.write_profile() {
                Ok(profile) => {
                    self.tell_profile(&profile);
                    Ended::Well
                }
                Err(error) => Ended::Failed(error),
            },
            (true, _) => {
                self.tell_table();
                Ended::Well
            }
        };
        self.tell_counters();
        match self.events.take().map_or(0, Events::end) {
            0 => {}
            lost => say(&format!("  events that were not written: {lost}")),
        }
        Outcome { ended, violations: self.violations }
    }

    /// A PHP image among the programs that were run.
    fn unnamed_php(&self) -> Option<Name> {
        self.programs.iter().find(|program| unwatched::is_php(program)).cloned()
    }

    fn tell_profile(&self, profile: &Profile) {
        let unknown: u64 = profile.learned.unknown.values().sum();
        say(&format!(
            "profile {}: {} sites, {} grants, {} calls seen; {unknown} not granted{}",
            self.settings.args.profile_file.display(),
            profile.sites().len(),
            profile.grants.len(),
            profile.learned.events,
            if profile.complete {
                String::new()
            } else {
                format!("; incomplete: {} records lost", profile.learned.lost)
            }
        ));
        for (cause, count) in &profile.learned.unknown {
            say(&format!("  not granted: {cause}: {count}"));
        }
        self.tell_unwatched_php();
    }

    fn tell_unwatched_php(&self) {
        let mut php: Vec<&Name> =
            self.are_php.iter().filter(|(_, is_php)| **is_php).map(|(p, _)| p).collect();
        php.sort_unstable();
        for program in php {
            say(&format!(
                "notice: {program} ran, which is PHP and not watched: nothing is granted to it\n\
                 Hint: name it, too: {}",
                unwatched::options(&self.settings.watched, program)
            ));
        }
    }

    fn tell_table(&self) {
        if !self.table.is_empty() {
            let mut table = Table::new();
            table.load_preset(PLAIN_TABLE);
            table.set_header(["operation", "by", "attempts", "let through", "without effect", "not seen"]);
            for ((operation, who), t) in &self.table {
                table.add_row([
                    shared::site::escape(operation.as_bytes()),
                    shared::site::escape(who.as_bytes()),
                    t.attempts.to_string(),
                    t.through.to_string(),
                    t.stopped.to_string(),
                    t.not_seen.to_string(),
                ]);
            }
            for column in 2..6 {
                if let Some(column) = table.column_mut(column) {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
            say(&table.to_string());
        }
        say(&self.counts());
    }

    /// What monitor and sandbox came to until now.
    fn counts(&self) -> String {
        format!(
            "{}: {} violations, {} let through{}; {} calls allowed{}",
            self.settings.mode.name(),
            self.violations,
            self.through,
            match self.table.values().map(|t| t.not_seen).sum::<u64>() {
                0 => String::new(),
                unseen => format!(", {unseen} whose end was not seen"),
            },
            self.allowed,
            if self.missed > 0 { format!("; {} kills missed", self.missed) } else { String::new() }
        )
    }

    /// Only what went wrong: a counter that is not zero has a line.
    fn tell_counters(&self) {
        let stats = read_stats(&self.settings.stats);
        for (which, (name, told)) in shared::intf::stats().iter().enumerate() {
            let count = stats.get(which).copied().unwrap_or(0);
            let wrong = [
                "LOST",
                "KILL_FAILED",
                "FULL",
                "FAILED",
                "UNK_",
                "BUSY",
                "DRIFT",
                "ARG_FAULT",
                "TAINT_",
                "UNSEEN_",
                "UNTOLD",
                "NO_DECIDER",
                "ENDED",
            ];
            if count > 0 && wrong.iter().any(|w| name.contains(w)) {
                say(&format!("  {told}: {count}"));
            }
        }
        if self.unreported > 0 {
            say(&format!(
                "  violations that were only counted, more at once than can be told: {}",
                self.unreported
            ));
        }
        if self.late > 0 {
            say(&format!("  names read late, from the opcode cache: {}", self.late));
        }
        if self.not_followed > 0 {
            say(&format!(
                "  allowed calls whose paths could not be followed, mostly of processes that had ended: {}",
                self.not_followed
            ));
        }
    }
}

fn learner_config(settings: &Settings, host: &str) -> Result<LearnerConfig> {
    let mut roots = settings.profile.as_ref().map(|p| p.roots.clone()).unwrap_or_default();
    for given in &settings.args.roots {
        let root = Root::parse(given).map_err(|e| cli::hinted(e, "--root app=/srv/app/releases/*"))?;
        root.add_to(&mut roots);
    }
    let (version, abi) = settings.php.clone().unwrap_or_default();
    Ok(LearnerConfig {
        view: settings.view,
        attribution: settings.args.attribution.into(),
        operations: settings.operations.clone(),
        php: Php::new(&version, &abi),
        roots,
        generated: settings.profile.as_ref().map(|p| p.generated.clone()).unwrap_or_default(),
        wrappers: wrappers::asked(&settings.args, settings.profile.as_ref()),
        context: settings.context,
        host: host.to_owned(),
        started: Timestamp::now(),
    })
}

fn open_events(path: &Path, args: &Args) -> Result<Sink> {
    if path == Path::new("-") {
        if !args.command.is_empty() {
            return Err(cli::hinted("--events - with a COMMAND", "stdout is COMMAND's: name a file"));
        }
        return Ok(Box::new(std::io::stdout()));
    }
    let file: File = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
        .map_err(|e| cli::hinted(format!("{e:#}"), "name a file in a folder that exists"))?;
    Ok(Box::new(file))
}

fn monotonic() -> i128 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |t| i128::from(t.tv_sec()) * 1_000_000_000 + i128::from(t.tv_nsec()))
}

fn cstr(field: &[i8]) -> &[u8] {
    let len = field.iter().position(|c| *c == 0).unwrap_or(field.len());
    bytes(field, len as u16)
}

fn cgroup_of(pid: u32) -> Option<String> {
    let told = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    crate::process::cgroup_in(&told).map(ToOwned::to_owned)
}

/// What a hook has refused is not done, whatever the call returns that it was part of (signals to a group, a request
/// of an `io_uring`, which may be none of the task's calls). Who is refused a capability may do without.
fn effect(action: Action, op: Op, ret: Option<i64>) -> event::Effect {
    let is_refused = action == Action::Denied
        && op.call().is_none_or(|call| !shared::op::lsm::BY_CAPABILITY.contains(&call.name));
    match ret {
        _ if is_refused => event::Effect::No,
        None => event::Effect::NotSeen,
        Some(ret) if ret >= 0 => event::Effect::Yes,
        Some(_) => event::Effect::No,
    }
}

/// Frames that are sites: not internal functions, not trampolines.
fn is_site(site: &Site) -> bool {
    use shared::site::SiteKind;
    matches!(site.kind, SiteKind::Function | SiteKind::Main | SiteKind::Closure)
}

fn seen(call: &Call) -> ArgsSeen<'_> {
    let r = &*call.record;
    let view = args_view(call);
    ArgsSeen {
        path: if call.is_exec { call.program.as_ref().map(shared::site::Name::as_bytes) } else { view.path },
        path2: view.path2,
        addr: (r.addr_len > 0).then(|| &r.addr[..usize::from(r.addr_len).min(r.addr.len())]),
        target_pid: (r.target_pid != 0).then_some(r.target_pid),
    }
}

/// Paths as far as they could be read whole.
pub fn args_view(call: &Call) -> ArgsView<'_> {
    crate::consumer::args_view(&call.record, call.program.as_ref().map(shared::site::Name::as_bytes))
}

/// Why a violating call was not rewritten.
fn spared_cause(spared: u16) -> Option<&'static str> {
    match u32::from(spared) {
        intf::SPARED_VALUE => Some("not-rewritten: nothing of it lies in memory"),
        intf::SPARED_SHARED => Some("not-rewritten: shared memory"),
        intf::SPARED_FAULT => Some("not-rewritten: memory not writable at that moment"),
        intf::SPARED_BUSY => Some("not-rewritten: the memory map was being changed"),
        intf::SPARED_FOREIGN => Some("not-rewritten: a 32-bit or x32 call"),
        intf::SPARED_EMPTY => Some("not-rewritten: an empty path would be the descriptor itself"),
        _ => None,
    }
}

/// Of a taint.
fn taint_cause(cause: u16) -> &'static str {
    match u32::from(cause) {
        intf::TAINTED_BY_STREAM => "code-from-a-stream",
        intf::TAINTED_BY_NAME => "code-with-the-name-of-another-file",
        intf::TAINTED_BY_FILE_WRAPPER => "wrapper-of-files-taken-away",
        intf::TAINTED_BY_ARCHIVE => "code-from-an-archive-whose-wrapper-was-taken-away",
        intf::TAINTED_BY_OPENED => "code-from-a-stream-where-a-file-was-asked-for",
        intf::TAINTED_BY_ENCODING => "code-converted-from-another-encoding",
        intf::TAINTED_BY_FIBER => "code-named-amid-other-code-of-a-fiber",
        _ => "unknown",
    }
}

/// Why not every file of the chain is known.
fn context_cause(call: &Call) -> Option<String> {
    let Verdict::Violation { reason: Reason::UnknownContext, .. } = call.verdict else { return None };
    if call.record.flags & intf::CALL_CONTEXT_UNKNOWN == 0 {
        let callers: Vec<String> = call.callers.iter().map(Site::with_file).collect();
        return Some(format!("called by {}", callers.join(" < ")));
    }
    let what = match (call.record.context_cause, &call.unknown_file) {
        (0, Some(file)) => text(file),
        (0, None) => "a file that was not told".into(),
        (cause, _) => unknown_causes(cause.into()),
    };
    Some(format!("on its chain: {what}"))
}

fn unknown_causes(bits: u32) -> String {
    const NAMES: [(u32, &str); 14] = [
        (intf::UNK_LINK, "link-unreadable"),
        (intf::UNK_FRAME, "frame-unreadable"),
        (intf::UNK_TYPE, "not-the-expected-structure"),
        (intf::UNK_FILE, "file-unreadable"),
        (intf::UNK_CLASS, "class-unreadable"),
        (intf::UNK_FUNCTION, "function-unreadable"),
        (intf::UNK_LONG, "name-too-long"),
        (intf::UNK_TRUNCATED, "stack-too-deep"),
        (intf::UNK_TABLE_FULL, "site-table-full"),
        (intf::UNK_NO_IMAGE, "not-introspected"),
        (intf::UNK_GLOBALS, "globals-unreadable"),
        (intf::UNK_DRIFT, "shadow-stack-drift"),
        (intf::UNK_ORIGIN, "origin-unknown"),
        (intf::UNK_TAINTED, "tainted-identity"),
    ];
    let named: Vec<&str> = NAMES.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    named.join(",")
}

/// Whether two names lead to one file.
fn is_same_file(one: &[u8], other: &[u8]) -> bool {
    let file = |name: &[u8]| file_at(std::ffi::OsStr::from_bytes(name));
    file(one).is_some_and(|id| file(other) == Some(id))
}

fn colored(line: &str, action: Action) -> String {
    let color = match action {
        Action::Logged => "33",
        Action::Killed | Action::Denied | Action::Rewritten => "31",
        Action::Missed(_) => "1;31",
    };
    match (live::takes_color(), line.split_once(' ')) {
        (true, Some((first, rest))) => format!("\x1b[{color}m{first}\x1b[0m {rest}"),
        _ => line.to_owned(),
    }
}
