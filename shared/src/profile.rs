//! What was learnt: grants, and what they were learnt from.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::intf;
use crate::op::{Op, Selection};
use crate::site::{Name, Site, SiteKind, escape};

pub use builtin::builtin_master;
pub use error::ProfileError;
pub use file::Face;
pub use grant::{Constraint, Grant, GrantKey, GrantMode, SiteRef, Who};
pub(crate) use pattern::{EVALUATED, FILELESS, any_stored_name, generated_match, stored_names};
pub use pattern::{Root, escape_pattern, is_evaluated, is_trusted_file, matches, without_lines};
pub use wrapper::check_wrapper;
pub(crate) use wrapper::is_wrapped;

mod builtin;
mod error;
mod file;
mod grant;
mod json;
mod pattern;
mod trust;
mod wrapper;

/// Bounds of a profile; more is refused (or, while learning, counted as unknown).
pub mod caps {
    use crate::intf;

    /// Bytes of a file, class, function or sink.
    pub const NAME: usize = intf::NAME_CAP as usize;
    /// Bytes of a program, a path sample or a path pattern.
    pub const PATH: usize = intf::PATH_ROOM as usize;
    /// Different sites.
    pub const SITES: usize = intf::SITES_MAX as usize;
    /// Grants.
    pub const GRANTS: usize = 1 << 20;
    /// Sinks that a grant keeps.
    pub const SINKS: usize = 16;
    /// Argument samples that a grant keeps.
    pub const SAMPLES: usize = 8;
    /// Patterns of one constraint.
    pub const PATTERNS: usize = 64;
    /// User frames that decide, the site among them.
    pub const CONTEXT: usize = intf::CONTEXT_MAX as usize;
    /// Entries of an origin.
    pub const ORIGIN: usize = intf::ORIGIN_MAX as usize;
    /// Files that may be on the chain of a call.
    pub const FILES: usize = 65_536;
    /// Scripts.
    pub const SCRIPTS: usize = 65_536;
    /// Roots, and patterns of each.
    pub const ROOTS: usize = 64;
    /// Entries of generated code.
    pub const GENERATED: usize = 4096;
    /// Wrappers of streams that are listed.
    pub const WRAPPERS: usize = intf::WRAPPERS_MAX as usize;
    /// Bytes of a wrapper's scheme.
    pub const WRAPPER: usize = intf::WRAPPER_ROOM as usize - 1;
    /// Causes of unknown sites, and bytes of other texts.
    pub const TEXT: usize = 255;
    /// Bytes of a file.
    pub const FILE: u64 = 256 << 20;
}

/// Where operations are seen: the two do not correspond one to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// System calls, at their tracepoint.
    Syscall,
    /// LSM hooks.
    Lsm,
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Syscall => "syscall",
            Self::Lsm => "lsm",
        })
    }
}

/// How sites are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attribution {
    /// The engine's own stack is walked.
    Stack,
    /// A shadow stack from function entries and returns.
    Usdt,
}

impl fmt::Display for Attribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stack => "stack",
            Self::Usdt => "usdt",
        })
    }
}

/// How much of PHP's stack a decision looks at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Context {
    /// The nearest user frame, the site.
    #[default]
    Nearest,
    /// Every user frame below it, too, is in a file that the profile knows.
    KnownFiles,
    /// So many nearest user frames: 2 to [`caps::CONTEXT`].
    Frames(u8),
}

impl Context {
    /// How many user frames decide, the site among them.
    pub fn frames(self) -> usize {
        match self {
            Self::Nearest | Self::KnownFiles => 1,
            Self::Frames(frames) => frames.into(),
        }
    }

    /// Whether a profile that was learnt with this says what the other one asks for.
    pub fn answers(self, asked: Self) -> bool {
        self.common(asked) == asked
    }

    /// The most that two profiles that were learnt with these both say.
    #[must_use]
    pub fn common(self, other: Self) -> Self {
        match (self, other) {
            (Self::Frames(one), Self::Frames(other)) => Self::Frames(one.min(other)),
            _ if self == other => self,
            _ => Self::Nearest,
        }
    }
}

/// `nearest`, `known-files`, or the number of frames.
impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nearest => f.pad("nearest"),
            Self::KnownFiles => f.pad("known-files"),
            Self::Frames(frames) => f.pad(&frames.to_string()),
        }
    }
}

impl FromStr for Context {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let most = caps::CONTEXT;
        match (text, text.parse::<u8>()) {
            ("nearest", _) | (_, Ok(1)) => Ok(Self::Nearest),
            ("known-files", _) => Ok(Self::KnownFiles),
            (_, Ok(frames)) if (2..=most).contains(&usize::from(frames)) => Ok(Self::Frames(frames)),
            _ => Err(format!(
                "`{}` is neither nearest nor known-files, nor a number of frames from 1 to {most}",
                escape(text.as_bytes())
            )),
        }
    }
}

impl From<Context> for String {
    fn from(context: Context) -> Self {
        context.to_string()
    }
}

impl TryFrom<String> for Context {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// The PHP that was watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Php {
    /// `8.2.29`
    pub version: String,
    /// `API20220829,NTS`
    pub abi: String,
    /// `8.2`
    pub minor: String,
}

impl Php {
    /// The minor release is taken from the version.
    pub fn new(version: &str, abi: &str) -> Self {
        Self { version: version.into(), abi: abi.into(), minor: minor_of(version).into() }
    }
}

/// `8.2` of `8.2.29`.
fn minor_of(version: &str) -> &str {
    version.match_indices('.').nth(1).map_or(version, |(at, _)| &version[..at])
}

/// How the running PHP compares with the one of the profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PhpMatch {
    /// The same release.
    Same,
    /// Another release that may be used; the text is for the user.
    Notice(String),
}

/// Files that the application writes and runs: template caches, eval'd code.
/// Sites in them have what is listed here, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    /// Absolute or `root:relative`; `*` matches within one component. Code from
    /// `eval` is meant only by a pattern that ends in ` : eval()'d code`.
    pub pattern: Name,
    /// What sites in matching files may do.
    pub operations: Vec<Op>,
}

/// A script as it was when it was learnt, so that drift is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// As the profile stores it: absolute or `root:relative`.
    pub file: Name,
    /// Device, as the kernel has it.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Of the content.
    #[serde(with = "hex32")]
    pub sha256: [u8; 32],
}

mod hex32 {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use crate::site::{from_hex, to_hex};

    pub fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_hex(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        from_hex(&text)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| de::Error::custom("a SHA-256 is 64 hexadecimal digits"))
    }
}

/// What a profile was learnt from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learned {
    /// Sessions.
    pub runs: u64,
    /// Policed calls that were seen.
    pub events: u64,
    /// Records that were lost.
    pub lost: u64,
    /// Observations that could not be granted, by cause.
    pub unknown: BTreeMap<String, u64>,
    /// 32-bit and x32 calls.
    pub foreign: u64,
    /// When the first session started.
    pub started: Option<Timestamp>,
    /// When the last session ended.
    pub ended: Option<Timestamp>,
    /// Where; several are separated by commas.
    pub host: String,
}

/// What sites and programs may do, and what that was learnt from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Where operations are seen.
    pub view: View,
    /// How sites are found.
    pub attribution: Attribution,
    /// The operations that were watched.
    pub operations: Selection,
    /// The PHP that was watched.
    pub php: Php,
    /// Named places that files are stored relative to.
    pub roots: Vec<Root>,
    /// Code that the application writes and runs.
    pub generated: Vec<Generated>,
    /// Schemes of stream wrappers of PHP code, whose includes are what they say they are.
    pub wrappers: Vec<String>,
    /// How much of PHP's stack was looked at.
    pub context: Context,
    /// Files that may be on the chain of a call, beside those that sites are in.
    pub files: Vec<Name>,
    /// The files that sites are in.
    pub scripts: Vec<Script>,
    /// Who may do what.
    pub grants: Vec<Grant>,
    /// What it was learnt from.
    pub learned: Learned,
    /// Nothing was lost while learning.
    pub complete: bool,
}

impl Profile {
    /// A profile that grants nothing.
    pub fn new(view: View, attribution: Attribution, operations: Selection, php: Php) -> Self {
        Self {
            view,
            attribution,
            operations,
            php,
            roots: Vec::new(),
            generated: Vec::new(),
            wrappers: Vec::new(),
            context: Context::default(),
            files: Vec::new(),
            scripts: Vec::new(),
            grants: Vec::new(),
            learned: Learned::default(),
            complete: true,
        }
    }

    /// The scripts that no subject may change: all but generated ones.
    pub fn protected(&self) -> impl Iterator<Item = &Script> {
        self.scripts.iter().filter(|script| !pattern::is_generated(&self.generated, &script.file))
    }

    /// The different sites that grants and origins name.
    pub fn sites(&self) -> BTreeSet<&Site> {
        self.grants.iter().flat_map(|grant| grant.who.sites()).collect()
    }

    /// Stable order, grants of the same key united.
    pub fn normalize(&mut self) {
        self.roots.sort();
        self.generated.iter_mut().for_each(|generated| {
            generated.operations.sort_unstable();
            generated.operations.dedup();
        });
        self.generated.sort();
        self.wrappers.sort();
        self.wrappers.dedup();
        self.files.sort();
        self.files.dedup();
        self.scripts.sort();
        self.scripts.dedup();
        self.grants.iter_mut().for_each(Grant::normalize);
        // A file that was written by this has them so already.
        if self.grants.is_sorted_by(|a, b| a.order(b).is_lt()) {
            return;
        }
        let mut united: HashMap<GrantKey, Grant> = HashMap::with_capacity(self.grants.len());
        for grant in std::mem::take(&mut self.grants) {
            match united.entry(grant.key()) {
                std::collections::hash_map::Entry::Occupied(mut entry) => entry.get_mut().unite(grant),
                std::collections::hash_map::Entry::Vacant(entry) => drop(entry.insert(grant)),
            }
        }
        self.grants = united.into_values().collect();
        self.grants.sort_unstable_by(Grant::order);
    }

    /// Whether what is learnt so can be merged into this.
    pub fn check_merge(&self, view: View, attribution: Attribution, php: &Php) -> Result<(), ProfileError> {
        let same = |what, mine: String, theirs: String| {
            let (shown, other) = (escape(mine.as_bytes()), escape(theirs.as_bytes()));
            if mine == theirs {
                Ok(())
            } else {
                Err(ProfileError::Merge { what, mine: shown, theirs: other })
            }
        };
        same("view", self.view.to_string(), view.to_string())?;
        same("attribution", self.attribution.to_string(), attribution.to_string())?;
        same("PHP release", self.php.minor.clone(), php.minor.clone())
    }

    /// Adds what another profile has: grants united, counts, runs and losses added.
    pub fn merge(&mut self, other: Self) -> Result<(), ProfileError> {
        self.check_merge(other.view, other.attribution, &other.php)?;
        let mut merged = self.clone();
        merged.operations = self.operations.union(&other.operations);
        merged.php = other.php;
        for root in other.roots {
            root.add_to(&mut merged.roots);
        }
        for generated in other.generated {
            match merged.generated.iter_mut().find(|mine| mine.pattern == generated.pattern) {
                Some(mine) => mine.operations.extend(generated.operations),
                None => merged.generated.push(generated),
            }
        }
        merged.wrappers.extend(other.wrappers);
        merged.files.extend(other.files);
        // The newer content of a file replaces the older.
        merged.scripts.retain(|mine| other.scripts.iter().all(|script| script.file != mine.file));
        merged.scripts.extend(other.scripts);
        merged.grants.extend(other.grants);
        // Of what was learnt with less, nobody has seen more.
        merged.narrow(self.context.common(other.context));
        merged.learned.add(other.learned);
        merged.complete &= other.complete;
        merged.normalize();
        merged.check()?;
        *self = merged;
        Ok(())
    }

    /// Forgets what only more context tells apart.
    pub(crate) fn narrow(&mut self, context: Context) {
        self.context = context;
        for grant in &mut self.grants {
            if let Who::Sites(sites) = &mut grant.who {
                sites.truncate(context.frames());
            }
        }
    }

    /// Whether the running PHP is one that this profile speaks about.
    pub fn check_php(&self, version: &str, accept: bool) -> Result<PhpMatch, ProfileError> {
        if version == self.php.version {
            return Ok(PhpMatch::Same);
        }
        if minor_of(version) != self.php.minor && !accept {
            return Err(ProfileError::PhpMinor {
                profile: escape(self.php.version.as_bytes()),
                running: version.into(),
            });
        }
        Ok(PhpMatch::Notice(format!(
            "the profile was learnt from PHP {}, and this is PHP {version}: what changed between them is a violation",
            escape(self.php.version.as_bytes())
        )))
    }

    /// Whether the profile speaks of the operations that this view sees.
    pub fn check_view(&self, view: View) -> Result<(), ProfileError> {
        if view == self.view {
            Ok(())
        } else {
            Err(ProfileError::ViewMismatch { profile: self.view, asked: view })
        }
    }

    /// Whether as much of the stack was looked at while learning as a decision is to look at.
    pub fn check_context(&self, asked: Context) -> Result<(), ProfileError> {
        if self.context.answers(asked) {
            Ok(())
        } else {
            Err(ProfileError::LessContext { profile: self.context, asked })
        }
    }

    /// Whether nothing was lost while learning.
    pub fn check_complete(&self) -> Result<(), ProfileError> {
        if self.complete { Ok(()) } else { Err(ProfileError::Incomplete { lost: self.learned.lost }) }
    }

    /// Adds grants, or refuses all of them where one says what no grant can.
    pub fn add(&mut self, grants: impl IntoIterator<Item = Grant>) -> Result<(), ProfileError> {
        let mut more = self.clone();
        more.grants.extend(grants);
        more.normalize();
        more.check()?;
        *self = more;
        Ok(())
    }

    /// Every bound, and what a grant can never say.
    pub fn check(&self) -> Result<(), ProfileError> {
        let invalid = |place: String, what: &str| Err(ProfileError::Invalid { place, what: what.into() });
        let most = |what: &str, found: usize, cap: usize| {
            if found <= cap {
                Ok(())
            } else {
                Err(ProfileError::Invalid {
                    place: what.into(),
                    what: format!("{found} of them, at most {cap} are allowed"),
                })
            }
        };
        most("roots", self.roots.len(), caps::ROOTS)?;
        most("generated", self.generated.len(), caps::GENERATED)?;
        most("wrappers", self.wrappers.len(), caps::WRAPPERS)?;
        most("scripts", self.scripts.len(), caps::SCRIPTS)?;
        most("grants", self.grants.len(), caps::GRANTS)?;
        most("learned.unknown", self.learned.unknown.len(), caps::TEXT)?;
        if self.php.minor != minor_of(&self.php.version) {
            return invalid("php".into(), "`minor` is not that of `version`");
        }
        for text in [&self.php.version, &self.php.abi].into_iter().chain(self.learned.unknown.keys()) {
            most("bytes of a text", text.len(), caps::TEXT)?;
        }
        if self.complete && self.learned.lost > 0 {
            return invalid("complete".into(), "records were lost (`learned.lost`), so it is not");
        }
        most("bytes of learned.host", self.learned.host.len(), caps::PATH)?;
        for (index, root) in self.roots.iter().enumerate() {
            root.check().or_else(|what| invalid(format!("roots[{index}]"), what))?;
            if self.roots[..index].iter().any(|other| other.name == root.name) {
                return invalid(format!("roots[{index}]"), "there is another root of that name");
            }
        }
        for (index, generated) in self.generated.iter().enumerate() {
            let place = || format!("generated[{index}]");
            if generated.pattern.is_empty() || generated.pattern.len() > caps::PATH {
                return invalid(place(), "a pattern has from 1 to 1024 bytes");
            }
            let never = |op: &&Op| crate::policy::never_granted(self.view, **op).is_some();
            if let Some(op) = generated.operations.iter().find(never) {
                return invalid(place(), &format!("`{op}` is never granted"));
            }
        }
        for (index, scheme) in self.wrappers.iter().enumerate() {
            check_wrapper(scheme).or_else(|what| invalid(format!("wrappers[{index}]"), &what))?;
        }
        most("files", self.files.len(), caps::FILES)?;
        for (index, file) in self.files.iter().enumerate() {
            check_file(file, &self.wrappers).or_else(|what| invalid(format!("files[{index}]"), what))?;
        }
        let mut scripts = HashMap::with_capacity(self.scripts.len());
        for (index, script) in self.scripts.iter().enumerate() {
            if script.file.is_empty() || script.file.len() > caps::NAME {
                return invalid(format!("scripts[{index}]"), "a file has from 1 to 255 bytes");
            }
            if scripts.insert(&script.file, script).is_some_and(|other| other != script) {
                return invalid(format!("scripts[{index}]"), "there is another script of that name");
            }
        }
        for (index, grant) in self.grants.iter().enumerate() {
            grant
                .check(self.view, self.context, &self.wrappers)
                .or_else(|what| invalid(format!("grants[{index}]"), &what))?;
        }
        most("sites", self.sites().len(), caps::SITES)
    }
}

impl Learned {
    fn add(&mut self, other: Self) {
        self.runs = self.runs.saturating_add(other.runs);
        self.events = self.events.saturating_add(other.events);
        self.lost = self.lost.saturating_add(other.lost);
        self.foreign = self.foreign.saturating_add(other.foreign);
        for (cause, count) in other.unknown {
            let mine = self.unknown.entry(cause).or_default();
            *mine = mine.saturating_add(count);
        }
        self.started = self.started.into_iter().chain(other.started).min();
        self.ended = self.ended.into_iter().chain(other.ended).max();
        let hosts = self.host.split(',').chain(other.host.split(',')).filter(|host| !host.is_empty());
        let hosts: BTreeSet<&str> = hosts.collect();
        let mut joined = hosts.into_iter().collect::<Vec<_>>().join(",");
        while joined.len() > caps::PATH {
            joined.truncate(joined.rfind(',').unwrap_or(0));
        }
        self.host = joined;
    }
}

/// Whether a site can be in a grant at all.
pub(crate) fn grantable(site: &Site, wrappers: &[String]) -> Result<(), &'static str> {
    site.check()?;
    match site.kind {
        SiteKind::Unknown => Err("{unknown} is never granted"),
        SiteKind::Engine | SiteKind::Master | SiteKind::Internal => Ok(()),
        SiteKind::Function | SiteKind::Main | SiteKind::Closure => {
            check_file(site.file.as_deref().unwrap_or_default(), wrappers)
        }
    }
}

/// Whether code of a file can be meant by its name.
fn check_file(file: &[u8], wrappers: &[String]) -> Result<(), &'static str> {
    if file.is_empty() || file.len() > caps::NAME {
        return Err("a file has from 1 to 255 bytes");
    }
    if is_evaluated(file) {
        return Err("code from eval is granted only by a pattern in `generated`");
    }
    if !is_trusted_file(file) && !pattern::is_stored(file) && !is_wrapped(wrappers, file) {
        return Err("a file must be an absolute path, ROOT:relative, or of one of `wrappers`");
    }
    Ok(())
}

const _: () = assert!(intf::NAME_CAP == 255 && intf::PATH_ROOM == 1024, "messages say these numbers");
