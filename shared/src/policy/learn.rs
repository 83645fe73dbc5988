//! From observations to a profile.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;

use super::{
    ArgsView, Places, generated_operations, grant_key, has_place, stored_file, stored_origin, stored_sites,
};
use crate::op::{Op, Selection};
use crate::profile::{
    Attribution, Constraint, Context, Generated, Grant, GrantMode, Learned, Php, Profile, Root, Script, View,
    Who, caps, stored_names, without_lines,
};
use crate::site::{Name, OriginEntry, Site};

/// What is learnt about, and where.
#[derive(Debug, Clone)]
pub struct LearnerConfig {
    /// Where operations are seen.
    pub view: View,
    /// How sites are found.
    pub attribution: Attribution,
    /// What is watched.
    pub operations: Selection,
    /// The PHP that is watched.
    pub php: Php,
    /// Named places that files are stored relative to.
    pub roots: Vec<Root>,
    /// Code that the application writes; kept as it is.
    pub generated: Vec<Generated>,
    /// Schemes of stream wrappers whose includes are no forgery, as they were asked for.
    pub wrappers: Vec<String>,
    /// How much of PHP's stack is looked at.
    pub context: Context,
    /// This machine's name.
    pub host: String,
    /// When the session started.
    pub started: Timestamp,
}

/// On whose behalf something was observed.
#[derive(Debug, Clone, Copy)]
pub enum Actor<'a> {
    /// PHP code, or the engine; and its callers that decide, too, nearest first.
    Site(&'a Site, &'a [Site]),
    /// Another program.
    Program {
        /// Where it comes from, oldest first.
        origin: &'a [OriginEntry],
        /// The kernel's path of the executable.
        program: &'a [u8],
    },
}

/// One or more equal observations.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// On whose behalf.
    pub actor: Actor<'a>,
    /// What was done.
    pub op: Op,
    /// The internal function that made the call.
    pub sink: Option<&'a [u8]>,
    /// Its paths, where they could be read whole.
    pub args: ArgsView<'a>,
    /// How often.
    pub count: u64,
    /// The identity may be forged: counted, never granted.
    pub tainted: bool,
}

#[derive(Debug, Default)]
struct Entry {
    seen: u64,
    sinks: BTreeSet<Name>,
    samples: BTreeSet<Name>,
    patterns: BTreeSet<Name>,
}

/// Collects observations. What cannot be granted is counted by cause.
#[derive(Debug)]
pub struct Learner {
    config: LearnerConfig,
    entries: HashMap<(Who, Op), Entry>,
    sites: HashSet<Site>,
    scripts: BTreeMap<Name, Script>,
    files: BTreeSet<Name>,
    events: u64,
    lost: u64,
    foreign: u64,
    unknown: BTreeMap<String, u64>,
}

impl Learner {
    /// Nothing observed yet.
    pub fn new(config: LearnerConfig) -> Self {
        Self {
            config,
            entries: HashMap::new(),
            sites: HashSet::new(),
            scripts: BTreeMap::new(),
            files: BTreeSet::new(),
            events: 0,
            lost: 0,
            foreign: 0,
            unknown: BTreeMap::new(),
        }
    }

    /// Takes an observation. Returns whether it is granted by what was learnt.
    pub fn observe(&mut self, observation: &Observation<'_>) -> bool {
        self.events = self.events.saturating_add(observation.count);
        if observation.op == Op::FOREIGN {
            self.foreign = self.foreign.saturating_add(observation.count);
            return false;
        }
        match self.take(observation) {
            Ok(()) => true,
            Err(cause) => {
                self.unknown(cause, observation.count);
                false
            }
        }
    }

    fn take(&mut self, observation: &Observation<'_>) -> Result<(), &'static str> {
        if observation.tainted {
            return Err("tainted-identity");
        }
        let (places, generated) = (self.places(), &self.config.generated);
        let who = match observation.actor {
            Actor::Site(site, _) if self.is_listed(site, observation.op) => return Ok(()),
            Actor::Site(site, callers) => Who::Sites(stored_sites(places, generated, site, callers)?),
            Actor::Program { origin, program } => {
                if !has_place(program) || program.len() > caps::PATH {
                    return Err("unknown-program");
                }
                Who::Program { origin: stored_origin(places, generated, origin)?, program: program.into() }
            }
        };
        let key = grant_key(self.config.view, who, observation.op, &observation.args)?;
        self.reserve(&key.who)?;
        let patterns = key.constraints.into_iter().flat_map(|constraint| match constraint {
            Constraint::Path(patterns) => patterns,
            Constraint::Itself => Vec::new(),
        });
        let entry = self.entries.entry((key.who, key.operation)).or_default();
        for pattern in patterns {
            if entry.patterns.len() >= caps::PATTERNS && !entry.patterns.contains(&pattern) {
                return Err("too-many-paths");
            }
            entry.patterns.insert(pattern);
        }
        entry.seen = entry.seen.saturating_add(observation.count);
        add(&mut entry.sinks, observation.sink, caps::SINKS, caps::NAME);
        add(&mut entry.samples, observation.args.path, caps::SAMPLES, caps::PATH);
        add(&mut entry.samples, observation.args.path2, caps::SAMPLES, caps::PATH);
        Ok(())
    }

    fn places(&self) -> Places<'_> {
        Places { roots: &self.config.roots, wrappers: &self.config.wrappers }
    }

    /// Generated code that has the operation already.
    fn is_listed(&self, site: &Site, op: Op) -> bool {
        let Some(file) = &site.file else { return false };
        let names = self.places().names(&without_lines(file));
        generated_operations(&self.config.generated, &names).is_some_and(|operations| operations.contains(op))
    }

    /// Room for the sites that are new.
    fn reserve(&mut self, who: &Who) -> Result<(), &'static str> {
        for site in who.sites() {
            if !self.sites.contains(site) {
                if self.sites.len() >= caps::SITES {
                    return Err("too-many-sites");
                }
                self.sites.insert(site.clone());
            }
        }
        if self.entries.len() >= caps::GRANTS { Err("too-many-grants") } else { Ok(()) }
    }

    /// A file whose code was on the chain of a call. What cannot be listed is counted by cause.
    pub fn file(&mut self, file: &[u8]) {
        match self.take_file(file) {
            // By its pattern it is known already.
            Ok(()) | Err("generated-not-listed") => {}
            Err(cause) => self.unknown(&format!("on-a-chain: {cause}"), 1),
        }
    }

    fn take_file(&mut self, file: &[u8]) -> Result<(), &'static str> {
        let stored = stored_file(self.places(), &self.config.generated, file)?;
        if stored.len() > caps::NAME {
            return Err("untrusted-file");
        }
        if self.files.len() >= caps::FILES && !self.files.contains(&stored) {
            return Err("too-many-files");
        }
        self.files.insert(stored);
        Ok(())
    }

    /// Counts what could not be told.
    pub fn unknown(&mut self, cause: &str, count: u64) {
        let known = self.unknown.entry(cause.to_owned()).or_default();
        *known = known.saturating_add(count);
    }

    /// Counts records that were lost: the profile is incomplete.
    pub fn lost(&mut self, count: u64) {
        self.lost = self.lost.saturating_add(count);
    }

    /// Counts 32-bit and x32 calls that had no record.
    pub fn foreign(&mut self, count: u64) {
        self.foreign = self.foreign.saturating_add(count);
    }

    /// Keeps what a script is. `script.file` is its absolute path.
    pub fn script(&mut self, mut script: Script) {
        let stored = stored_names(&self.config.roots, &script.file).into_iter().next();
        if let Some(stored) =
            stored.filter(|stored| stored.len() <= caps::NAME && self.scripts.len() < caps::SCRIPTS)
        {
            script.file = stored.clone();
            self.scripts.insert(stored, script);
        }
    }

    /// The sites that were granted something.
    pub fn sites(&self) -> usize {
        self.sites.len()
    }

    /// The grants that were learnt.
    pub fn grants(&self) -> usize {
        self.entries.len()
    }

    /// What was learnt so far.
    pub fn profile(&self, ended: Timestamp) -> Profile {
        let config = &self.config;
        let mut profile =
            Profile::new(config.view, config.attribution, config.operations.clone(), config.php.clone());
        profile.roots.clone_from(&config.roots);
        profile.generated.clone_from(&config.generated);
        profile.wrappers.clone_from(&config.wrappers);
        profile.context = config.context;
        profile.files = self.files.iter().cloned().collect();
        profile.scripts = self.scripts.values().cloned().collect();
        profile.grants = self.entries.iter().map(|((who, op), entry)| entry.grant(who, *op)).collect();
        profile.learned = Learned {
            runs: 1,
            events: self.events,
            lost: self.lost,
            unknown: self.unknown.clone(),
            foreign: self.foreign,
            started: Some(config.started),
            ended: Some(ended),
            host: config.host.clone(),
        };
        profile.complete = self.lost == 0;
        profile.normalize();
        profile
    }
}

impl Entry {
    fn grant(&self, who: &Who, operation: Op) -> Grant {
        let patterns: Vec<Name> = self.patterns.iter().cloned().collect();
        Grant {
            who: who.clone(),
            operation,
            constraints: if patterns.is_empty() { Vec::new() } else { vec![Constraint::Path(patterns)] },
            mode: GrantMode::Enforce,
            seen: self.seen,
            sinks: self.sinks.iter().cloned().collect(),
            samples: self.samples.iter().cloned().collect(),
        }
    }
}

/// The first so many that are short enough.
fn add(set: &mut BTreeSet<Name>, name: Option<&[u8]>, most: usize, longest: usize) {
    let fits = |name: &&[u8]| name.len() <= longest && !name.is_empty() && set.len() < most;
    if let Some(name) = name.filter(fits) {
        set.insert(name.into());
    }
}
