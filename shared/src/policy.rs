//! What follows from a profile: which operation of which site is allowed.
//!
//! Everything here fails closed: what is not granted is a violation.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::op::{Op, OpSet, nr};
use crate::profile::{
    Constraint, Context, Generated, Grant, GrantKey, GrantMode, Profile, Root, View, Who, any_stored_name,
    builtin_master, caps, escape_pattern, grantable, is_evaluated, is_wrapped, matches, without_lines,
};
use crate::profile::{generated_match, is_trusted_file, stored_names};
use crate::site::{Name, OriginEntry, Phase, Site, SiteKind};

pub use learn::{Actor, Learner, LearnerConfig, Observation};

mod automaton;
mod learn;
pub mod table;

/// Why something is a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Nothing is granted to the site.
    SiteNotInProfile,
    /// Something is granted to the site, but not this.
    OperationNotInProfile,
    /// Nothing is granted to the program from this origin.
    ProgramNotInProfile,
    /// The site could not be told.
    UnknownSite,
    /// The site may be forged.
    TaintedIdentity,
    /// A 32-bit or x32 call.
    ForeignAbi,
    /// The tracer's own, or a script of the profile.
    ProtectedObject,
    /// What happened was lost.
    EventsLost,
    /// Code of a file that the profile does not know is on the chain of an allowed call.
    UnknownContext,
}

impl Reason {
    /// `site-not-in-profile`, …
    pub fn name(self) -> &'static str {
        match self {
            Self::SiteNotInProfile => "site-not-in-profile",
            Self::OperationNotInProfile => "operation-not-in-profile",
            Self::ProgramNotInProfile => "program-not-in-profile",
            Self::UnknownSite => "unknown-site",
            Self::TaintedIdentity => "tainted-identity",
            Self::ForeignAbi => "foreign-abi",
            Self::ProtectedObject => "protected-object",
            Self::EventsLost => "events-lost",
            Self::UnknownContext => "unknown-context",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is decided about one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A grant allows it.
    Allowed,
    /// Nothing allows it.
    Violation {
        /// Why.
        reason: Reason,
        /// A grant in `log` mode speaks of it: tell, and do nothing.
        log_only: bool,
        /// It is the master's: deny or tell, never kill.
        never_kill: bool,
    },
}

impl Verdict {
    /// A violation that may be answered in every way.
    pub fn violation(reason: Reason) -> Self {
        Self::Violation { reason, log_only: false, never_kill: false }
    }

    /// Allowed only if both allow it (a descendant that runs PHP again). Of two
    /// violations the first is told, and the milder answer only where both ask for it.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Allowed, verdict) | (verdict, Self::Allowed) => verdict,
            (
                Self::Violation { reason, log_only, never_kill },
                Self::Violation { log_only: other_log, never_kill: other_kill, .. },
            ) => Self::Violation {
                reason,
                log_only: log_only && other_log,
                never_kill: never_kill && other_kill,
            },
        }
    }
}

/// The arguments that constraints speak of.
#[derive(Debug, Clone, Copy, Default)]
pub struct ArgsView<'a> {
    /// The first path, or the program; `None` where it could not be read whole.
    pub path: Option<&'a [u8]>,
    /// The second path.
    pub path2: Option<&'a [u8]>,
    /// The executable that the task runs already.
    pub exe: Option<&'a [u8]>,
}

/// Whether it starts a program.
pub(crate) fn is_exec(op: Op) -> bool {
    op == Op::EXEC || matches!(op.nr(), nr::EXECVE | nr::EXECVEAT)
}

/// Whether a program is in a file system. One that is not (`memfd:x`) is whatever its maker wants: nothing is granted
/// to it.
fn has_place(program: &[u8]) -> bool {
    program.starts_with(b"/")
}

/// Whether it creates, writes, truncates, deletes, renames or executes by path:
/// for `{engine}`, `{internal}` and `{master}` granted only with learnt paths.
pub(crate) fn needs_path(op: Op) -> bool {
    match op.nr() {
        nr::OPEN | nr::OPENAT | nr::OPENAT2 => opens_for_change(op),
        nr::CREAT
        | nr::MKDIR
        | nr::MKDIRAT
        | nr::MKNOD
        | nr::MKNODAT
        | nr::TRUNCATE
        | nr::UNLINK
        | nr::UNLINKAT
        | nr::RMDIR
        | nr::RENAME
        | nr::RENAMEAT
        | nr::RENAMEAT2
        | nr::LINK
        | nr::LINKAT
        | nr::SYMLINK
        | nr::SYMLINKAT => true,
        _ => is_exec(op),
    }
}

fn opens_for_change(op: Op) -> bool {
    use crate::intf::{OPEN_CREATE, OPEN_TRUNCATE, OPEN_WRITE};
    matches!(u32::from(op.class()), OPEN_WRITE | OPEN_CREATE | OPEN_TRUNCATE)
}

fn could_protect(op: Op) -> bool {
    match op.nr() {
        nr::OPEN | nr::OPENAT | nr::OPENAT2 => opens_for_change(op),
        nr::CREAT
        | nr::TRUNCATE
        | nr::MKNOD
        | nr::MKNODAT
        | nr::RENAME
        | nr::RENAMEAT
        | nr::RENAMEAT2
        | nr::LINK
        | nr::LINKAT
        | nr::SYMLINK
        | nr::SYMLINKAT => true,
        _ => false,
    }
}

fn could_remove(op: Op) -> bool {
    const NAMES: [&str; 17] = [
        "unlink",
        "unlinkat",
        "rmdir",
        "chmod",
        "fchmodat",
        "fchmodat2",
        "chown",
        "lchown",
        "fchownat",
        "setxattr",
        "lsetxattr",
        "setxattrat",
        "removexattr",
        "lremovexattr",
        "utimensat",
        "utimes",
        "utime",
    ];
    op.is_one_of(&NAMES)
}

/// Takes a folder away with all that is in it, covers it with another, or puts a link where one was.
fn could_move(op: Op) -> bool {
    const NAMES: [&str; 11] = [
        "rename",
        "renameat",
        "renameat2",
        "mount",
        "umount2",
        "move_mount",
        "pivot_root",
        "symlink",
        "symlinkat",
        "link",
        "linkat",
    ];
    op.is_one_of(&NAMES)
}

/// The folders above a file, or the patterns of those above what a pattern matches; the longest last.
fn folders_above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(at, byte)| **byte == b'/' && *at > 0).map(|(at, _)| &path[..at])
}

/// Whether every path of the call is its first one.
fn has_one_path(op: Op) -> bool {
    !op.call().is_some_and(|call| call.args.contains('q'))
}

fn is_io_uring(op: Op) -> bool {
    matches!(op.nr(), nr::IO_URING_SETUP | nr::IO_URING_ENTER | nr::IO_URING_REGISTER)
}

/// One grant that asks something of the arguments, or only logs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Rule {
    op: Op,
    mode: GrantMode,
    constraints: Vec<Constraint>,
}

impl Rule {
    fn matches(&self, args: &ArgsView<'_>) -> bool {
        self.constraints.iter().all(|constraint| match constraint {
            Constraint::Path(patterns) => paths_match(self.op, patterns, args),
            Constraint::Itself => args.path.is_some() && args.path == args.exe,
        })
    }
}

/// Every path of the call must be there and match.
fn paths_match(op: Op, patterns: &[Name], args: &ArgsView<'_>) -> bool {
    let one = |path: &[u8]| patterns.iter().any(|pattern| matches(pattern, path));
    args.path.is_some_and(one) && (has_one_path(op) || args.path2.is_some_and(one))
}

/// What one site or program may do.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rules {
    /// Nothing is granted, for this reason.
    missing: Option<Reason>,
    /// Violations never kill.
    master: bool,
    /// No exec, whatever is granted.
    no_exec: bool,
    /// `io_uring` is a violation, whatever is granted.
    no_io_uring: bool,
    /// Granted without asking anything.
    allowed: OpSet,
    /// Grants that ask or log, by operation.
    asking: Vec<Rule>,
}

/// What one site (or one program from one origin) may do. Cheap to clone; equal
/// ones of a policy are one.
#[derive(Debug, Clone)]
pub struct SitePolicy(Arc<Rules>);

/// What one program from one origin may do.
pub type ProgramPolicy = SitePolicy;

impl SitePolicy {
    /// Of whom nothing is known.
    pub fn nothing() -> Self {
        Self(Arc::new(Rules { missing: Some(Reason::UnknownSite), ..Rules::default() }))
    }

    /// Why nothing is granted, where nothing is.
    pub fn missing(&self) -> Option<Reason> {
        self.0.missing
    }

    /// What is allowed whatever the arguments are. An operation in it never
    /// needs [`decide`](Self::decide), with the exceptions of
    /// [`Policy::protects`] and taint.
    pub fn allowed(&self) -> &OpSet {
        &self.0.allowed
    }

    /// What is allowed or not by its arguments.
    pub fn conditional(&self) -> OpSet {
        self.0.asking.iter().filter(|rule| rule.mode == GrantMode::Enforce).map(|rule| rule.op).collect()
    }

    /// Whether the verdict about this operation may differ from call to call.
    pub fn depends_on_arguments(&self, op: Op) -> bool {
        self.0.asking.iter().any(|rule| rule.op == op)
    }

    /// What is a violation that is only logged.
    pub fn logged(&self) -> OpSet {
        self.0.asking.iter().filter(|rule| rule.mode == GrantMode::Log).map(|rule| rule.op).collect()
    }

    /// Whether both are the same rules in memory.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Decides about one call. Allocates nothing.
    pub fn decide(&self, op: Op, args: &ArgsView<'_>) -> Verdict {
        let rules = &*self.0;
        let violation = |reason, log_only| Verdict::Violation { reason, log_only, never_kill: rules.master };
        if op == Op::FOREIGN {
            return violation(Reason::ForeignAbi, false);
        }
        if op.nr() == nr::BPF {
            return violation(Reason::ProtectedObject, false);
        }
        if let Some(reason) = rules.missing {
            return violation(reason, false);
        }
        // Compiling leaves none of these in `allowed`; they are tested again
        // because a grant of them must not depend on one place.
        if op.is_unreadable()
            || op == Op::UNKNOWN
            || (rules.no_exec && is_exec(op))
            || (rules.no_io_uring && is_io_uring(op))
        {
            return violation(Reason::OperationNotInProfile, false);
        }
        if rules.allowed.contains(op) {
            return Verdict::Allowed;
        }
        let first = rules.asking.partition_point(|rule| rule.op < op);
        let mut logged = false;
        for rule in rules.asking[first..].iter().take_while(|rule| rule.op == op) {
            if rule.matches(args) {
                match rule.mode {
                    GrantMode::Enforce => return Verdict::Allowed,
                    GrantMode::Log => logged = true,
                }
            }
        }
        violation(Reason::OperationNotInProfile, logged)
    }
}

/// [`SitePolicy::decide`].
pub fn decide_site(policy: &SitePolicy, op: Op, args: &ArgsView<'_>) -> Verdict {
    policy.decide(op, args)
}

/// How a call was made that may be one of those that PHP makes once in each process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Once {
    /// Memory of no file.
    pub anonymous: bool,
    /// What memory becomes, as `mprotect` takes it.
    pub protection: u64,
    /// Of a socket: its type with flags, and its protocol, as `socket` takes them.
    pub socket: [u64; 2],
    /// An internal function made the call.
    pub has_sink: bool,
}

/// `PROT_READ | PROT_EXEC`: memory that cannot be written while it can be run.
const READ_EXEC: u64 = 5;

/// Folders whose files PHP and the C library read when they are needed first.
pub const ONCE_READ: [&str; 4] =
    ["/usr/share/zoneinfo/", "/usr/lib/locale/", "/usr/lib/x86_64-linux-gnu/gconv/", "/usr/share/locale/"];
/// Likewise files: `SQLite` seeds its random numbers.
pub const ONCE_READ_FILES: [&str; 1] = ["/dev/urandom"];

fn is_read_once(path: &[u8]) -> bool {
    ONCE_READ.iter().any(|folder| below(folder, path))
        || ONCE_READ_FILES.iter().any(|file| file.as_bytes() == path)
}

/// Whether a socket is the one that PHP makes and closes to find out whether there is IPv6 at all. It reaches nobody:
/// to connect it or to send through it has to be granted.
fn is_probe_of_ipv6([kind, protocol]: [u64; 2]) -> bool {
    const FLAGS: u32 = 0o2_000_000 | 0o4000; // SOCK_CLOEXEC, SOCK_NONBLOCK
    const SOCK_DGRAM: u32 = 2;
    kind as u32 & !FLAGS == SOCK_DGRAM && protocol as u32 == 0 // as the kernel takes them: 32 bits
}

/// Below the folder, and not out of it again.
fn below(folder: &str, path: &[u8]) -> bool {
    path.strip_prefix(folder.as_bytes())
        .is_some_and(|rest| !rest.split(|b| *b == b'/').any(|part| part == b".."))
}

type Programs = HashMap<Vec<OriginEntry>, HashMap<Name, SitePolicy>>;

/// A profile, ready to decide.
#[derive(Debug)]
pub struct Policy {
    view: View,
    roots: Vec<Root>,
    generated: Vec<Generated>,
    wrappers: Vec<String>,
    /// By the site and the callers that decide, too, nearest first.
    sites: HashMap<Vec<Site>, SitePolicy>,
    programs: Programs,
    protected: HashSet<Name>,
    /// Those that may be on a chain; none where that was not learnt.
    files: HashSet<Name>,
    missing_site: SitePolicy,
    missing_context: SitePolicy,
    missing_program: SitePolicy,
    unknown: SitePolicy,
}

/// How many ways to store an origin, or a site's callers, are tried.
const WAYS: usize = 64;

impl Policy {
    /// Compiles a profile, to decide by as much context as it was learnt with.
    pub fn new(profile: &Profile) -> Self {
        Self::in_context(profile, profile.context)
    }

    /// Compiles a profile, to decide by no more context than this.
    pub fn in_context(profile: &Profile, context: Context) -> Self {
        let frames = context.frames();
        let mut by_site: HashMap<&[Site], Vec<&Grant>> = HashMap::new();
        let mut by_program: HashMap<(&[OriginEntry], &Name), Vec<&Grant>> = HashMap::new();
        let builtin = builtin_master(profile.view);
        for grant in profile.grants.iter().chain(&builtin) {
            match &grant.who {
                Who::Sites(sites) => {
                    // Longer lists are not what the profile was learnt with (of one that was not checked).
                    if (1..=profile.context.frames()).contains(&sites.len()) {
                        by_site.entry(&sites[..sites.len().min(frames)]).or_default().push(grant);
                    }
                }
                Who::Program { program, .. } if !has_place(program) => {}
                Who::Program { origin, program } => {
                    by_program.entry((origin, program)).or_default().push(grant);
                }
            }
        }
        let mut shared = Shared::new(profile.view);
        let sites = by_site
            .into_iter()
            .map(|(sites, grants)| (sites.to_vec(), shared.rules(Some(&sites[0]), &grants)))
            .collect();
        let mut programs = Programs::new();
        for ((origin, program), grants) in by_program {
            let policy = shared.rules(None, &grants);
            programs.entry(origin.to_vec()).or_default().insert(program.clone(), policy);
        }
        let nothing = |reason| SitePolicy(Arc::new(Rules { missing: Some(reason), ..Rules::default() }));
        Self {
            view: profile.view,
            roots: profile.roots.clone(),
            generated: profile.generated.clone(),
            wrappers: profile.wrappers.clone(),
            sites,
            programs,
            protected: scripts(profile),
            files: known_files(profile),
            missing_site: nothing(Reason::SiteNotInProfile),
            missing_context: nothing(Reason::UnknownContext),
            missing_program: nothing(Reason::ProgramNotInProfile),
            unknown: nothing(Reason::UnknownSite),
        }
    }

    /// What a site may do that was seen while running, where nothing below it decides.
    pub fn site(&self, site: &Site) -> SitePolicy {
        self.site_as_called(site, &[])
    }

    /// What a site may do that was seen while running, by its callers that decide, too, nearest first.
    pub fn site_as_called(&self, site: &Site, callers: &[Site]) -> SitePolicy {
        if [site].into_iter().chain(callers).any(|site| site.kind == SiteKind::Unknown) {
            return self.unknown.clone();
        }
        let missing = if callers.is_empty() { &self.missing_site } else { &self.missing_context };
        let Some(file) = &site.file else {
            return self.sites.get(std::slice::from_ref(site)).unwrap_or(missing).clone();
        };
        let names = self.places().names(&without_lines(file));
        if let Some(operations) = generated_operations(&self.generated, &names) {
            return self.generated_policy(&operations);
        }
        if is_evaluated(file) {
            return missing.clone();
        }
        let below = stored_lists(self.places(), callers.iter());
        let as_stored = |name: Name| {
            let site = renamed(site, name);
            below
                .iter()
                .filter_map(move |callers| self.sites.get(&[std::slice::from_ref(&site), callers].concat()))
        };
        self.united(names.into_iter().flat_map(as_stored)).unwrap_or_else(|| missing.clone())
    }

    /// What a site may do of which nobody could tell who has called it, where that decides.
    pub fn site_of_unknown_callers(&self) -> SitePolicy {
        self.missing_context.clone()
    }

    /// What a program may do, started by this origin. An empty one is the started
    /// command's: one that could not be told must hold `{unknown}` instead, or it
    /// would be taken for that.
    pub fn program(&self, origin: &[OriginEntry], program: &[u8]) -> ProgramPolicy {
        if origin.iter().any(|entry| entry.site.kind == SiteKind::Unknown) {
            return self.unknown.clone();
        }
        let ways = stored_origins(self.places(), origin);
        let found = ways.iter().filter_map(|way| self.programs.get(way)?.get(program));
        self.united(found).unwrap_or_else(|| self.missing_program.clone())
    }

    /// Whether code of a file, as PHP names it, may be on the chain of an allowed call.
    pub fn knows_file(&self, file: &[u8]) -> bool {
        let names = self.places().names(&without_lines(file));
        generated_operations(&self.generated, &names).is_some()
            || (!is_evaluated(file) && names.iter().any(|name| self.files.contains(name)))
    }

    /// What the profile would have to list so that code of this file may be on a chain; `None` where nothing could.
    pub fn file_to_list(&self, file: &[u8]) -> Option<Name> {
        stored_file(self.places(), &self.generated, file).ok()
    }

    /// Whether the call would change a script of the profile: opening it for
    /// writing, or renaming or linking it or over it. `protected-object`,
    /// whatever is granted. Paths must be absolute; others are not told here.
    pub fn protects(&self, op: Op, args: &ArgsView<'_>) -> bool {
        self.could_protect(op)
            && [args.path, args.path2].into_iter().flatten().any(|path| self.is_protected(path))
    }

    /// Whether this is an operation that could change a script.
    pub fn could_protect(&self, op: Op) -> bool {
        could_protect(op)
    }

    /// Whether this is an operation that could take a file away or change what it is, without opening it.
    pub fn could_remove(&self, op: Op) -> bool {
        could_remove(op)
    }

    /// Whether this is an operation that could take a folder away with all that is in it, or cover it.
    pub fn could_move(&self, op: Op) -> bool {
        could_move(op)
    }

    /// Whether a script of the profile is somewhere below this directory: whoever moves it moves the script.
    pub fn is_above_protected(&self, directory: &[u8]) -> bool {
        let inside = [directory, b"/x"].concat();
        let prefixes: Vec<Vec<u8>> = stored_names(&self.roots, &inside)
            .iter()
            .map(|name| name.as_bytes()[..name.as_bytes().len() - 1].to_vec())
            .collect();
        self.protected
            .iter()
            .any(|script| prefixes.iter().any(|prefix| script.as_bytes().starts_with(prefix)))
    }

    /// Whether a root may be below this directory: whoever moves it may have other code there under the same names.
    pub fn is_above_root(&self, directory: &[u8]) -> bool {
        let mut patterns = self.roots.iter().flat_map(|root| &root.patterns);
        patterns.any(|pattern| folders_above(pattern).any(|above| matches(above, directory)))
    }

    /// Patterns of the folders that hold roots, and of the roots that hold scripts: what [`Self::is_above_root`] is
    /// true of, and [`Self::is_above_protected`] because of a whole root.
    fn folders_of_roots(&self) -> impl Iterator<Item = &[u8]> {
        self.roots.iter().flat_map(|root| {
            let inside = format!("{}:", root.name);
            let has_scripts =
                self.protected.iter().any(|script| script.as_bytes().starts_with(inside.as_bytes()));
            let whole = move |pattern| has_scripts.then_some(Name::as_bytes(pattern));
            root.patterns.iter().flat_map(move |pattern| folders_above(pattern).chain(whole(pattern)))
        })
    }

    /// The scripts of the profile that are not generated, but for those in roots.
    pub fn protected_files(&self) -> impl Iterator<Item = &Name> {
        self.protected.iter().filter(|name| name.as_bytes().starts_with(b"/"))
    }

    /// Whether an absolute path is a script of the profile that is not generated. Allocates nothing.
    pub fn is_protected(&self, path: &[u8]) -> bool {
        !self.protected.is_empty() && any_stored_name(&self.roots, path, |name| self.protected.contains(name))
    }

    /// Whether it is what PHP does once in each process, on behalf of whoever comes first: the pattern compiler's
    /// code memory, that of the opcode cache's JIT whenever a function gets hot, time zones, locales, character sets
    /// and random bytes, a probe for IPv6, and compiling a script of the profile (an `include`, which has no sink; with
    /// one, a file is read). Not
    /// learnt from one order of events, so not a violation in another, for code in files of the profile. Anybody
    /// else's is judged like everything.
    pub fn is_once_per_process(&self, site: &Site, op: Op, args: &ArgsView<'_>, how: Once) -> bool {
        if !site.file.as_ref().is_some_and(|file| self.is_protected(file)) {
            return false;
        }
        match (op.nr(), u32::from(op.class())) {
            (nr::MMAP, crate::intf::MEM_EXEC) => how.anonymous,
            (nr::MPROTECT, crate::intf::MEM_EXEC) => how.protection == READ_EXEC,
            (nr::SOCKET, crate::intf::FAMILY_INET6) => is_probe_of_ipv6(how.socket),
            (nr::OPEN | nr::OPENAT, crate::intf::OPEN_READ) => {
                args.path.is_some_and(|path| is_read_once(path) || (!how.has_sink && self.is_protected(path)))
            }
            _ => false,
        }
    }

    /// The complete key that would allow this to a site as it was called; `None` where no grant could.
    pub fn site_grant(&self, site: &Site, callers: &[Site], op: Op, args: &ArgsView<'_>) -> Option<GrantKey> {
        let stored = stored_sites(self.places(), &self.generated, site, callers).ok()?;
        grant_key(self.view, Who::Sites(stored), op, args).ok()
    }

    /// The complete key that would allow this to a program; `None` where no grant could.
    pub fn program_grant(
        &self,
        origin: &[OriginEntry],
        program: &[u8],
        op: Op,
        args: &ArgsView<'_>,
    ) -> Option<GrantKey> {
        if !has_place(program) {
            return None;
        }
        let origin = stored_origin(self.places(), &self.generated, origin).ok()?;
        grant_key(self.view, Who::Program { origin, program: program.into() }, op, args).ok()
    }

    fn places(&self) -> Places<'_> {
        Places { roots: &self.roots, wrappers: &self.wrappers }
    }

    /// All of several at once; `None` of none.
    fn united<'a>(&self, mut found: impl Iterator<Item = &'a SitePolicy>) -> Option<SitePolicy> {
        let first = found.next()?.clone();
        Some(found.fold(first, |all, more| {
            let mut asking: Vec<Rule> = all.0.asking.iter().chain(&more.0.asking).cloned().collect();
            asking.sort();
            let mut allowed = all.0.allowed.clone();
            allowed.union(&more.0.allowed);
            SitePolicy(Arc::new(Rules {
                no_io_uring: self.view == View::Syscall,
                allowed,
                asking,
                ..Rules::default()
            }))
        }))
    }

    fn generated_policy(&self, operations: &OpSet) -> SitePolicy {
        let no_io_uring = self.view == View::Syscall;
        let allowed = operations.iter().filter(|op| never_granted(self.view, *op).is_none()).collect();
        SitePolicy(Arc::new(Rules { no_io_uring, allowed, ..Rules::default() }))
    }
}

/// Whether code opens a file and no internal function does it for it: an `include`. Of the engine it may be the script
/// that was asked for.
pub fn is_include(site: &Site, op: Op, has_sink: bool) -> bool {
    let is_code = matches!(site.kind, SiteKind::Function | SiteKind::Main | SiteKind::Closure);
    let begins = site.kind == SiteKind::Engine && site.phase() == Some(Phase::Request);
    let opens = matches!(op.nr(), nr::OPEN | nr::OPENAT) && u32::from(op.class()) == crate::intf::OPEN_READ;
    (is_code || begins) && opens && !has_sink
}

/// Rules, one for all that are equal.
struct Shared {
    view: View,
    known: HashMap<(bool, bool, Vec<Rule>), SitePolicy>,
}

impl Shared {
    fn new(view: View) -> Self {
        Self { view, known: HashMap::new() }
    }

    fn rules(&mut self, site: Option<&Site>, grants: &[&Grant]) -> SitePolicy {
        let master = site.is_some_and(|site| site.kind == SiteKind::Master);
        let no_exec = site.is_some_and(never_executes);
        let mut rules: Vec<Rule> = grants
            .iter()
            .filter(|grant| !lacks_places(grant))
            .map(|grant| Rule {
                op: grant.operation,
                mode: grant.mode,
                constraints: grant.constraints.clone(),
            })
            .collect();
        rules.sort();
        rules.dedup();
        let view = self.view;
        let build = |rules: &[Rule]| {
            let plain = |rule: &Rule| rule.mode == GrantMode::Enforce && rule.constraints.is_empty();
            SitePolicy(Arc::new(Rules {
                missing: None,
                master,
                no_exec,
                no_io_uring: view == View::Syscall,
                allowed: rules
                    .iter()
                    .filter(|rule| plain(rule) && !(no_exec && is_exec(rule.op)))
                    .map(|rule| rule.op)
                    .filter(|op| never_granted(view, *op).is_none())
                    .collect(),
                asking: rules.iter().filter(|rule| !plain(rule)).cloned().collect(),
            }))
        };
        let key = (master, no_exec, rules);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let policy = build(&key.2);
        self.known.insert(key, policy.clone());
        policy
    }
}

/// Whether a grant of `{engine}`, `{internal}` or `{master}` allows nothing, since it does not say where.
pub fn lacks_places(grant: &Grant) -> bool {
    let Who::Sites(sites) = &grant.who else { return false };
    let needs = |site: &Site| is_nobodys(site) && needs_place(site, grant.operation);
    sites.first().is_some_and(needs) && !names_places(grant)
}

/// Not where `{master}` calls for a program, by whatever name: what comes to run is asked about as `exec`.
fn needs_place(site: &Site, op: Op) -> bool {
    let asked_later = site.kind == SiteKind::Master && is_exec(op) && op != Op::EXEC;
    needs_path(op) && !asked_later
}

/// Whether no function of the application is behind a call there: anybody's code can bring it about, by a setting or as
/// a function to be called at the end.
fn is_nobodys(site: &Site) -> bool {
    matches!(site.kind, SiteKind::Engine | SiteKind::Internal | SiteKind::Master)
}

/// Whether no program may be started there. `{master}` starts itself again, to reload.
fn never_executes(site: &Site) -> bool {
    is_nobodys(site) && site.kind != SiteKind::Master && site.phase() != Some(Phase::Startup)
}

/// For these a relative pattern is as good as none.
fn names_places(grant: &Grant) -> bool {
    grant.constraints.iter().any(|constraint| match constraint {
        Constraint::Path(patterns) => patterns.iter().all(|pattern| names_a_place(pattern)),
        Constraint::Itself => true,
    })
}

/// Requests of a ring with other credentials would pass for the kernel's own.
fn hands_over_credentials(view: View, op: Op) -> bool {
    view == View::Lsm && op.nr() == nr::IO_URING_REGISTER
}

/// Why no grant can allow an operation, whoever asks.
pub(crate) fn never_granted(view: View, op: Op) -> Option<&'static str> {
    if op == Op::FOREIGN {
        Some("foreign-abi")
    } else if op.nr() == nr::BPF {
        Some("protected-object")
    } else if op.is_unreadable() {
        Some("unreadable-argument")
    } else if !op.is_named() || op == Op::UNKNOWN {
        Some("unknown-call")
    } else if (view == View::Syscall && is_io_uring(op)) || hands_over_credentials(view, op) {
        Some("io-uring")
    } else {
        None
    }
}

fn renamed(site: &Site, file: Name) -> Site {
    Site { file: Some(file), ..site.clone() }
}

/// The union of what is listed; `None` where the file is not generated.
fn generated_operations(generated: &[Generated], names: &[Name]) -> Option<OpSet> {
    let mut matching = generated
        .iter()
        .filter(|generated| names.iter().any(|name| generated_match(&generated.pattern, name)))
        .peekable();
    matching.peek()?;
    Some(matching.flat_map(|generated| generated.operations.iter().copied()).collect())
}

/// What a profile says of the names of files.
#[derive(Clone, Copy)]
struct Places<'a> {
    roots: &'a [Root],
    wrappers: &'a [String],
}

impl Places<'_> {
    /// Every way in which the profile would store this file; nothing where the name cannot be believed.
    fn names(self, file: &[u8]) -> Vec<Name> {
        if is_wrapped(self.wrappers, file) { vec![file.into()] } else { stored_names(self.roots, file) }
    }
}

/// Scripts that are not generated. An absolute path that no script can have (`/a/../b`, `/a/`) is none, nor above one.
fn scripts(profile: &Profile) -> HashSet<Name> {
    let can_be = |file: &&Name| !file.as_bytes().starts_with(b"/") || is_trusted_file(file.as_bytes());
    profile.protected().map(|script| &script.file).filter(can_be).cloned().collect()
}

/// Files that sites are in, and those that were on chains.
fn known_files(profile: &Profile) -> HashSet<Name> {
    if profile.context != Context::KnownFiles {
        return HashSet::new();
    }
    let of_sites = profile.sites().into_iter().filter_map(|site| site.file.as_ref());
    of_sites.chain(&profile.files).cloned().collect()
}

/// A file as a profile would store it; the error is the cause that is counted.
fn stored_file(places: Places<'_>, generated: &[Generated], file: &[u8]) -> Result<Name, &'static str> {
    let names = places.names(&without_lines(file));
    if generated_operations(generated, &names).is_some() {
        return Err("generated-not-listed");
    }
    if is_evaluated(file) {
        return Err("evaluated-code");
    }
    names.into_iter().next().ok_or("untrusted-file")
}

/// The site as a profile would store it; the error is the cause that is counted.
fn stored_site(places: Places<'_>, generated: &[Generated], site: &Site) -> Result<Site, &'static str> {
    if site.kind == SiteKind::Unknown {
        return Err("unknown-site");
    }
    let stored = match &site.file {
        None => site.clone(),
        Some(file) => renamed(site, stored_file(places, generated, file)?),
    };
    grantable(&stored, places.wrappers).map_err(|_| "invalid-site")?;
    Ok(stored)
}

/// Likewise with its callers.
fn stored_sites(
    places: Places<'_>,
    generated: &[Generated],
    site: &Site,
    callers: &[Site],
) -> Result<Vec<Site>, &'static str> {
    [site].into_iter().chain(callers).map(|site| stored_site(places, generated, site)).collect()
}

fn stored_origin(
    places: Places<'_>,
    generated: &[Generated],
    origin: &[OriginEntry],
) -> Result<Vec<OriginEntry>, &'static str> {
    if origin.len() > caps::ORIGIN {
        return Err("unknown-origin");
    }
    if origin.iter().filter_map(|entry| entry.sink.as_ref()).any(|sink| sink.len() > caps::NAME) {
        return Err("unknown-origin");
    }
    origin
        .iter()
        .map(|entry| {
            let site = stored_site(places, generated, &entry.site)?;
            Ok(OriginEntry { site, sink: entry.sink.clone() })
        })
        .collect()
}

/// Every way to store a list of sites, up to a bound.
fn stored_lists<'a>(places: Places<'_>, list: impl Iterator<Item = &'a Site>) -> Vec<Vec<Site>> {
    let mut ways: Vec<Vec<Site>> = vec![Vec::new()];
    for site in list {
        let sites: Vec<Site> = match &site.file {
            None => vec![site.clone()],
            Some(file) => places.names(file).into_iter().map(|name| renamed(site, name)).collect(),
        };
        let longer = |way: &Vec<Site>| {
            let way = way.clone();
            sites.iter().map(move |site| way.iter().chain([site]).cloned().collect())
        };
        ways = ways.iter().flat_map(longer).take(WAYS).collect();
    }
    ways
}

/// Every way to store an origin, up to a bound.
fn stored_origins(places: Places<'_>, origin: &[OriginEntry]) -> Vec<Vec<OriginEntry>> {
    let entry = |(site, from): (Site, &OriginEntry)| OriginEntry { site, sink: from.sink.clone() };
    let ways = stored_lists(places, origin.iter().map(|entry| &entry.site));
    ways.into_iter().map(|way| way.into_iter().zip(origin).map(entry).collect()).collect()
}

/// What would have to be granted; the error is the cause that is counted.
fn grant_key(view: View, who: Who, op: Op, args: &ArgsView<'_>) -> Result<GrantKey, &'static str> {
    if let Some(cause) = never_granted(view, op) {
        return Err(cause);
    }
    let nobodys = match &who {
        Who::Sites(sites) => sites.iter().find(|site| is_nobodys(site)),
        Who::Program { .. } => None,
    };
    let constraints = match nobodys {
        Some(site) if is_exec(op) && never_executes(site) => return Err("engine-exec"),
        Some(site) if needs_place(site, op) => vec![Constraint::Path(learnt_patterns(op, args)?)],
        _ => Vec::new(),
    };
    Ok(GrantKey { who, operation: op, constraints })
}

/// The paths exactly, but for names that PHP makes up.
fn learnt_patterns(op: Op, args: &ArgsView<'_>) -> Result<Vec<Name>, &'static str> {
    let second = op.call().is_some_and(|call| call.args.contains('q'));
    let paths = [args.path].into_iter().chain(second.then_some(args.path2));
    let mut patterns = paths
        .map(|path| {
            let path = path.ok_or("unreadable-argument")?;
            let pattern = if is_exec(op) { escape_pattern(path) } else { name_pattern(path) };
            // A path with `..` matches nothing, not even what was learnt from it.
            if matches(&pattern, path) && names_a_place(&pattern) && pattern.len() <= caps::PATH {
                Ok(Name::from(pattern))
            } else {
                Err("odd-path")
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    patterns.sort();
    patterns.dedup();
    Ok(patterns)
}

/// What PHP's names of temporary files begin with, before six letters and digits: uploads and `tmpfile()`, the opcode
/// cache's lock, the memory of `APCu`.
const TEMPORARY: [&[u8]; 3] = [b"php", b".ZendSem.", b"apc."];
const SESSION: &[u8] = b"sess_";

/// `/var/lib/php/sessions/sess_*` of a session's file in it, `/tmp/php*` of a temporary file; else the path alone: any
/// other name in that folder may be one that the code of anybody has chosen.
fn name_pattern(path: &[u8]) -> Vec<u8> {
    let (folder, name) =
        path.split_at(path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1));
    let is_temporary = |prefix: &&[u8]| {
        name.strip_prefix(*prefix)
            .is_some_and(|rest| rest.len() == 6 && rest.iter().all(u8::is_ascii_alphanumeric))
    };
    let made_up = Some(SESSION).filter(|prefix| name.starts_with(prefix));
    match made_up.or_else(|| TEMPORARY.into_iter().find(is_temporary)) {
        Some(prefix) => [&escape_pattern(folder), prefix, b"*"].concat(),
        None => escape_pattern(path),
    }
}

/// Whether a pattern says where a file is: a relative one is wherever the code of anybody has changed to.
fn names_a_place(pattern: &[u8]) -> bool {
    pattern.starts_with(b"/")
}
