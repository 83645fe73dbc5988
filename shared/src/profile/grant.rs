//! Who may do what.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Context, View, caps, grantable, pattern};
use crate::intf;
use crate::op::Op;
use crate::policy;
use crate::site::{Name, OriginEntry, Phase, Site, SiteKind};

/// A site as a profile stores it: its file may be `root:relative`.
pub type SiteRef = Site;

/// Whom a grant is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// A site, and the callers that it is for, nearest first ([`super::Context::Frames`]).
    Sites(Vec<SiteRef>),
    /// A descendant that runs another program.
    Program {
        /// Where it comes from, oldest first; empty: it is the started command itself, or
        /// what that started.
        origin: Vec<OriginEntry>,
        /// The kernel's path of the executable.
        program: Name,
    },
}

impl Who {
    /// One site.
    pub fn site(site: Site) -> Self {
        Self::Sites(vec![site])
    }

    /// The sites that it names.
    pub fn sites(&self) -> impl Iterator<Item = &Site> {
        let (sites, origin) = match self {
            Self::Sites(sites) => (&sites[..], &[][..]),
            Self::Program { origin, .. } => (&[][..], &origin[..]),
        };
        sites.iter().chain(origin.iter().map(|entry| &entry.site))
    }
}

/// Escaped: `Uploader::cleanup() in /a.php`, `/usr/bin/convert from Thumb::make() in /a.php via exec`,
/// `/bin/sh as started`.
impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Sites(sites) => sites.iter().map(Site::with_file).collect::<Vec<_>>().join(" < "),
            Self::Program { origin, program } => {
                let via = |entry: &OriginEntry| match &entry.sink {
                    Some(sink) => format!("{} via {sink}", entry.site.with_file()),
                    None => entry.site.with_file(),
                };
                if origin.is_empty() {
                    format!("{program} as started")
                } else {
                    format!("{program} from {}", origin.iter().map(via).collect::<Vec<_>>().join(", then "))
                }
            }
        };
        f.pad(&text)
    }
}

/// What a grant asks of the arguments; all of a grant's constraints must hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Constraint {
    /// Every path argument matches one of the patterns (see [`super::matches`]).
    Path(Vec<Name>),
    /// The program is the executable that the task runs already.
    Itself,
}

/// What becomes of what a grant speaks of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantMode {
    /// It is allowed.
    #[default]
    Enforce,
    /// It is still a violation, but only logged.
    Log,
}

/// Who may do what, and how that was learnt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "GrantFace", into = "GrantFace")]
pub struct Grant {
    /// Whom it is for.
    pub who: Who,
    /// What it is about.
    pub operation: Op,
    /// What it asks of the arguments; empty: nothing.
    pub constraints: Vec<Constraint>,
    /// What becomes of it.
    pub mode: GrantMode,
    /// How often it was observed.
    pub seen: u64,
    /// The internal functions that made the call; at most [`caps::SINKS`] are kept.
    pub sinks: Vec<Name>,
    /// Paths that were seen; at most [`caps::SAMPLES`] are kept.
    pub samples: Vec<Name>,
}

/// The part of a grant that decides: what would have to be granted for a violation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "KeyFace", into = "KeyFace")]
pub struct GrantKey {
    /// Whom it is for.
    pub who: Who,
    /// What it is about.
    pub operation: Op,
    /// What it asks of the arguments.
    pub constraints: Vec<Constraint>,
}

impl GrantKey {
    /// A grant of this key that was not observed yet.
    pub fn into_grant(self, mode: GrantMode) -> Grant {
        Grant {
            who: self.who,
            operation: self.operation,
            constraints: self.constraints,
            mode,
            seen: 0,
            sinks: Vec::new(),
            samples: Vec::new(),
        }
    }
}

/// Escaped: `unlink by Uploader::cleanup() in /a.php, paths /tmp/*`.
impl fmt::Display for GrantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}{}", self.operation, self.who, Constraints(&self.constraints))
    }
}

struct Constraints<'a>(&'a [Constraint]);

impl fmt::Display for Constraints<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for constraint in self.0 {
            match constraint {
                Constraint::Path(patterns) => {
                    let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
                    write!(f, ", paths {}", patterns.join(" "))?;
                }
                Constraint::Itself => f.write_str(", itself")?,
            }
        }
        Ok(())
    }
}

impl Grant {
    /// The part that decides.
    pub fn key(&self) -> GrantKey {
        GrantKey { who: self.who.clone(), operation: self.operation, constraints: self.constraints.clone() }
    }

    /// The order in a file. Two grants of the same key and different modes cannot be.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        (&self.who, self.operation, &self.constraints).cmp(&(&other.who, other.operation, &other.constraints))
    }

    pub(super) fn normalize(&mut self) {
        for constraint in &mut self.constraints {
            if let Constraint::Path(patterns) = constraint {
                patterns.sort();
                patterns.dedup();
            }
        }
        self.constraints.sort();
        self.constraints.dedup();
        bound(&mut self.sinks, caps::SINKS);
        bound(&mut self.samples, caps::SAMPLES);
    }

    /// Adds what another grant of the same key has. The stricter mode stays.
    pub(super) fn unite(&mut self, other: Self) {
        self.seen = self.seen.saturating_add(other.seen);
        self.mode = self.mode.max(other.mode);
        self.sinks.extend(other.sinks);
        self.samples.extend(other.samples);
        self.normalize();
    }

    /// What a grant can never say, and every bound.
    pub(super) fn check(&self, view: View, context: Context, wrappers: &[String]) -> Result<(), String> {
        if let Some(cause) = policy::never_granted(view, self.operation) {
            return Err(format!("`{}` is never granted ({cause})", self.operation));
        }
        match &self.who {
            Who::Sites(sites) => check_list(sites, context)?,
            Who::Program { origin, program } => {
                if origin.len() > caps::ORIGIN {
                    return Err(format!("an origin has at most {} entries", caps::ORIGIN));
                }
                if program.is_empty() || program.len() > caps::PATH {
                    return Err(format!("a program has from 1 to {} bytes", caps::PATH));
                }
                if origin.iter().filter_map(|entry| entry.sink.as_ref()).any(|sink| sink.len() > caps::NAME) {
                    return Err(format!("a sink has at most {} bytes", caps::NAME));
                }
            }
        }
        for site in self.who.sites() {
            grantable(site, wrappers)?;
        }
        if let Who::Sites(sites) = &self.who {
            check_engine(&sites[0], self.operation)?;
        }
        for constraint in &self.constraints {
            let Constraint::Path(patterns) = constraint else { continue };
            if patterns.is_empty() || patterns.len() > caps::PATTERNS {
                return Err(format!("a path constraint has from 1 to {} patterns", caps::PATTERNS));
            }
            if patterns.iter().any(|pattern| pattern.is_empty() || pattern.len() > caps::PATH) {
                return Err(format!("a pattern has from 1 to {} bytes", caps::PATH));
            }
            if let Some(pattern) = patterns.iter().find(|pattern| pattern::has_odd_components(pattern)) {
                return Err(format!(
                    "the pattern `{pattern}` has a `.`, `..` or empty component: it never matches"
                ));
            }
        }
        if self.sinks.iter().any(|sink| sink.len() > caps::NAME) {
            return Err(format!("a sink has at most {} bytes", caps::NAME));
        }
        if self.samples.iter().any(|sample| sample.len() > caps::PATH) {
            return Err(format!("a sample has at most {} bytes", caps::PATH));
        }
        Ok(())
    }
}

/// A site alone, or code that code has called.
fn check_list(sites: &[Site], context: Context) -> Result<(), String> {
    if !(1..=context.frames()).contains(&sites.len()) {
        return Err(format!(
            "a list of {} sites; of a profile with the context `{context}` it has from 1 to {}",
            sites.len(),
            context.frames()
        ));
    }
    match sites.iter().find(|site| site.file.is_none()) {
        Some(site) if sites.len() > 1 => Err(format!("{site} neither calls nor is called by code")),
        _ => Ok(()),
    }
}

fn check_engine(site: &Site, op: Op) -> Result<(), String> {
    if site.kind == SiteKind::Engine && policy::is_exec(op) && site.phase() != Some(Phase::Startup) {
        return Err(format!("`{op}` is never granted to {site}"));
    }
    Ok(())
}

/// Sorted, no duplicates, at most so many.
fn bound(names: &mut Vec<Name>, most: usize) {
    if names.len() <= most && names.is_sorted_by(|a, b| a < b) {
        return;
    }
    let set: BTreeSet<Name> = names.drain(..).collect();
    names.extend(set.into_iter().take(most));
}

#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct GrantFace {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sites: Option<Vec<Site>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Vec<OriginEntry>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    program: Option<Name>,
    operation: Op,
    #[serde(default)]
    constraints: Vec<Constraint>,
    #[serde(default)]
    mode: GrantMode,
    #[serde(default)]
    seen: u64,
    #[serde(default)]
    sinks: Vec<Name>,
    #[serde(default)]
    samples: Vec<Name>,
}

#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct KeyFace {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sites: Option<Vec<Site>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Vec<OriginEntry>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    program: Option<Name>,
    operation: Op,
    #[serde(default)]
    constraints: Vec<Constraint>,
}

type WhoFace = (Option<Vec<Site>>, Option<Vec<OriginEntry>>, Option<Name>);

fn who_from(face: WhoFace) -> Result<Who, &'static str> {
    match face {
        (Some(sites), None, None) => Ok(Who::Sites(sites)),
        (None, Some(origin), Some(program)) => Ok(Who::Program { origin, program }),
        _ => Err("a grant has either `sites`, or both `origin` and `program`"),
    }
}

fn who_face(who: Who) -> WhoFace {
    match who {
        Who::Sites(sites) => (Some(sites), None, None),
        Who::Program { origin, program } => (None, Some(origin), Some(program)),
    }
}

impl TryFrom<GrantFace> for Grant {
    type Error = &'static str;

    fn try_from(face: GrantFace) -> Result<Self, Self::Error> {
        Ok(Self {
            who: who_from((face.sites, face.origin, face.program))?,
            operation: face.operation,
            constraints: face.constraints,
            mode: face.mode,
            seen: face.seen,
            sinks: face.sinks,
            samples: face.samples,
        })
    }
}

impl From<Grant> for GrantFace {
    fn from(grant: Grant) -> Self {
        let (sites, origin, program) = who_face(grant.who);
        Self {
            sites,
            origin,
            program,
            operation: grant.operation,
            constraints: grant.constraints,
            mode: grant.mode,
            seen: grant.seen,
            sinks: grant.sinks,
            samples: grant.samples,
        }
    }
}

impl TryFrom<KeyFace> for GrantKey {
    type Error = &'static str;

    fn try_from(face: KeyFace) -> Result<Self, Self::Error> {
        Ok(Self {
            who: who_from((face.sites, face.origin, face.program))?,
            operation: face.operation,
            constraints: face.constraints,
        })
    }
}

impl From<GrantKey> for KeyFace {
    fn from(key: GrantKey) -> Self {
        let (sites, origin, program) = who_face(key.who);
        Self { sites, origin, program, operation: key.operation, constraints: key.constraints }
    }
}

const _: () = assert!(intf::ORIGIN_MAX == 8, "the documentation says 8");
