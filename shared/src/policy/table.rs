//! A policy as plain tables, for who decides in the kernel: `intf.h`, "the profile in the kernel".
//!
//! What is looked up there gives the decisions of [`Policy`], with these differences, each of them about names that
//! no sensible profile has:
//!
//! - A stored name (`root:relative`) of more than 255 bytes is none for [`Policy`]; a pattern of generated code
//!   matches it here. Only files whose root's name is longer than its directory can have such.
//! - Of an origin, or a site's callers, that can be stored in many ways [`Policy`] tries 64, and the kernel at most
//!   `NODES_MAX` at once; and of grants with constraints that one site has by different ways it asks `WAYS_MAX`.
//!
//! What roots say of a name ([`intf::automaton_row`]) is said of the name as it is, with the lines of evaluated
//! code: sites of such code are never looked up by it, and paths and origins are as they are.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use siphasher::sip128::SipHasher24;
use thiserror::Error;

use super::automaton::{self, ANYTHING, Automaton, Failure, NameFound, Names};
use super::{
    Constraint, GrantMode, Policy, Rule, Rules, SitePolicy, could_move, could_protect, could_remove,
    has_one_path, is_exec, never_granted,
};
use crate::intf;
use crate::op::{Op, OpSet};
use crate::profile::{View, caps, is_evaluated, is_trusted_file, is_wrapped};
use crate::site::{Name, Site, SiteKind};

#[cfg(test)]
mod tests;

/// Everything that one generation of a profile puts into the kernel's maps.
#[derive(Debug, Clone)]
pub struct Tables {
    /// What the others begin with.
    pub head: intf::tables,
    /// What each site, program, generated file and protected path has. Each key once.
    pub policies: Vec<(intf::policy_key, intf::policy)>,
    /// What asks for arguments or only logs. Each key once.
    pub rules: Vec<(intf::rule_key, intf::rules)>,
    /// The tree of origins and of callers: the node that follows. Each key once.
    pub nodes: Vec<(intf::node_key, u32)>,
    /// All states of all automata, by their numbers; state 0 is dead.
    pub automaton: Vec<intf::automaton_row>,
}

/// A profile that the kernel's tables have no room for. Each has a [`hint`](Self::hint).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs)] // the fields are what the messages say
pub enum TableError {
    /// The patterns need too many states.
    #[error("the patterns of {what} need more than the {most} states that there is room for")]
    TooManyStates { what: String, most: u32 },
    /// A file can be stored in too many ways.
    #[error("files can be in {} directories of roots at once ({}), and at most {most} are told apart", roots.len(), roots.join(", "))]
    TooManyWays { roots: Vec<String>, most: usize },
    /// More rules than one operation can have.
    #[error("{who} has {found} grants of `{op}` with constraints that cannot be united, at most {most} fit")]
    TooManyRules { who: String, op: Op, found: usize, most: usize },
    /// More path constraints than one grant can have.
    #[error("{who} has a grant of `{op}` with {found} path constraints, at most {most} fit")]
    TooManyPaths { who: String, op: Op, found: usize, most: usize },
    /// Patterns that no automaton could be made of.
    #[error("the patterns of {what} cannot be compiled: {detail}")]
    Patterns { what: String, detail: String },
}

impl TableError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::TooManyStates { .. } => {
                "use fewer and simpler patterns: one `*` at the end of a component instead of several within it".into()
            }
            Self::TooManyWays { .. } => {
                "use fewer roots whose directories lie in one another (--root): the innermost is enough".into()
            }
            Self::TooManyRules { .. } => {
                "unite the grants, or grant the operation without constraints: `php-profile export`, edit, `php-profile import`"
                    .into()
            }
            Self::TooManyPaths { .. } => {
                "say it in fewer lists of patterns: `php-profile export`, edit, `php-profile import`".into()
            }
            Self::Patterns { .. } => "this is a defect of the program; please report it with the profile".into(),
        }
    }
}

// ---- operations ----

static INFO: LazyLock<Box<[u16; intf::OPS_MAX as usize]>> = LazyLock::new(|| {
    let mut info = Box::new([0; intf::OPS_MAX as usize]);
    let mut granted = 0;
    for raw in 0..intf::OPS_MAX as u16 {
        let Some(op) = Op::from_raw(raw) else { continue };
        let entry = &mut info[usize::from(raw)];
        // Hooks may be granted what system calls may not, so this asks about both views.
        if never_granted(View::Lsm, op).is_none() {
            granted += 1;
            *entry = granted;
        }
        if could_protect(op) {
            *entry |= intf::OP_PROTECTS as u16;
        }
        if could_remove(op) {
            *entry |= intf::OP_REMOVES as u16;
        }
        if could_move(op) {
            *entry |= intf::OP_MOVES as u16;
        }
    }
    assert!(u32::from(granted) <= intf::OP_BITS, "intf.h has room for every operation");
    info
});

/// `enum op_info` of each operation, by [`Op::raw`]. The same for every profile.
pub fn op_info() -> Box<[u16; intf::OPS_MAX as usize]> {
    INFO.clone()
}

/// The number of the operation's bit; `None` of what is never granted.
fn index(op: Op) -> Option<usize> {
    (usize::from(INFO[usize::from(op.raw())]) & intf::OP_INDEX as usize).checked_sub(1)
}

type Bits = [u64; intf::OP_WORDS as usize];

fn set(bits: &mut Bits, index: usize) {
    bits[index / 64] |= 1 << (index % 64);
}

/// [`OpSet::iter`], fast for small sets.
fn each(set: &OpSet) -> impl Iterator<Item = Op> + '_ {
    set.words().iter().enumerate().flat_map(|(number, &word)| {
        let next = |rest: &u64| Some(rest & rest.wrapping_sub(1)).filter(|rest| *rest != 0);
        std::iter::successors(Some(word).filter(|word| *word != 0), next)
            .filter_map(move |rest| Op::from_raw((number as u32 * 64 + rest.trailing_zeros()) as u16))
    })
}

// ---- ids ----

/// How names become ids: a hash whose key only the tracer and its kernel side know.
#[derive(Clone, Copy)]
pub struct Ids {
    key: [u64; 2],
}

/// A message of whole words.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn word(&mut self, word: u64) {
        self.0.extend_from_slice(&word.to_le_bytes());
    }

    fn name(&mut self, name: &[u8]) {
        self.0.extend_from_slice(name);
        self.0.resize(self.0.len().next_multiple_of(8), 0);
    }

    fn hash(&self, key: [u64; 2]) -> intf::hash128 {
        let hash = SipHasher24::new_with_keys(key[0], key[1]).hash(&self.0);
        intf::hash128 { lo: hash.h1, hi: hash.h2 }
    }
}

impl Ids {
    /// `key`: `hash_key` of the kernel side.
    pub fn new(key: [u64; 2]) -> Self {
        Self { key }
    }

    /// Of a site as PHP names it: what the kernel side knows it by.
    pub fn site(&self, site: &Site) -> intf::hash128 {
        let file = site.file.as_deref().unwrap_or_default();
        let mut message = Message::default();
        message.site(kind(site.kind), file, Some(site));
        message.hash(self.key)
    }

    /// Of a site in a root, or of a script in it. `root`: its number in the profile's list, from 1; `rest`: the
    /// file below it.
    pub fn rooted(&self, root: u16, rest: &[u8], site: Option<&Site>) -> intf::hash128 {
        let mut message = Message::default();
        message.word(root.into());
        message.site(site.map_or(intf::SITE_NONE, |site| kind(site.kind)), rest, site);
        message.hash([!self.key[0], !self.key[1]])
    }

    /// Of a program or a script: its absolute path.
    pub fn path(&self, path: &[u8]) -> intf::hash128 {
        let mut message = Message::default();
        message.word(path.len() as u64);
        message.name(path);
        message.hash([self.key[0], !self.key[1]])
    }

    /// Of an internal function: `unlink`, `PDO::__construct`. Zero of none.
    pub fn sink(&self, sink: Option<&[u8]>) -> intf::hash128 {
        let Some(sink) = sink else { return intf::hash128::default() };
        let (class, function) = match sink.windows(2).position(|pair| pair == b"::") {
            Some(at) => (Some(Name::from(&sink[..at])), &sink[at + 2..]),
            None => (None, sink),
        };
        self.site(&Site::internal(class, function))
    }
}

impl Message {
    fn site(&mut self, kind: u32, file: &[u8], site: Option<&Site>) {
        let class = site.and_then(|site| site.class.as_deref()).unwrap_or_default();
        let function = site.and_then(|site| site.function.as_deref()).unwrap_or_default();
        let len = |name: &[u8]| u64::from(name.len() as u16);
        self.word(u64::from(kind) << 48 | len(file) << 32 | len(class) << 16 | len(function));
        for name in [file, class, function] {
            self.name(name);
        }
    }
}

fn kind(kind: SiteKind) -> u32 {
    match kind {
        SiteKind::Function => intf::SITE_FUNCTION,
        SiteKind::Main => intf::SITE_MAIN,
        SiteKind::Closure => intf::SITE_CLOSURE,
        SiteKind::Internal => intf::SITE_INTERNAL,
        SiteKind::Engine => intf::SITE_ENGINE,
        SiteKind::Master => intf::SITE_MASTER,
        SiteKind::Unknown => intf::SITE_UNKNOWN,
    }
}

// ---- tables ----

const WAYS: usize = intf::WAYS_MAX as usize - 1;
/// Numbers from 1 that a `u16` has.
const STATES: u32 = intf::AUTOMATON_STATES_MAX - 1;

impl Tables {
    /// Compiles a policy.
    ///
    /// `key`: `hash_key` of the kernel side. `generation` goes into every key. `own`: files of the tracer that no
    /// subject may change, by absolute path.
    pub fn new(policy: &Policy, key: [u64; 2], generation: u32, own: &[Name]) -> Result<Self, TableError> {
        let mut compiler = Compiler::new(policy, key, generation);
        compiler.sites()?;
        compiler.programs()?;
        compiler.scripts(own);
        compiler.files();
        let names = compiler.names()?;
        let once = compiler.space.path_automaton("ONCE_READ", automaton::once())?;
        Ok(Self {
            head: intf::tables {
                names,
                once,
                patterned: u32::from(!(policy.roots.is_empty() && policy.generated.is_empty())),
            },
            policies: compiler.policies.into_iter().collect(),
            rules: compiler.rules,
            nodes: compiler.nodes.into_iter().collect(),
            automaton: compiler.space.rows,
        })
    }
}

/// All states of a generation.
struct Space {
    /// By state: that of the dead one is there from the beginning.
    rows: Vec<intf::automaton_row>,
    lists: HashMap<Vec<Name>, u16>,
}

impl Default for Space {
    fn default() -> Self {
        Self { rows: vec![intf::automaton_row::default()], lists: HashMap::new() }
    }
}

impl Space {
    /// The start state.
    fn add<A>(
        &mut self,
        what: &str,
        automaton: Result<Automaton<A>, Failure>,
        row: impl Fn(&A) -> intf::automaton_row,
    ) -> Result<u16, TableError>
    where
        A: Clone + Default + Eq + std::hash::Hash,
    {
        let too_many = || TableError::TooManyStates { what: what.into(), most: STATES };
        let automaton = automaton.map_err(|failure| match failure {
            Failure::TooLarge => too_many(),
            Failure::Refused(detail) => TableError::Patterns { what: what.into(), detail },
        })?;
        let before = self.rows.len() as u32 - 1;
        if before as usize + automaton.len() > STATES as usize {
            return Err(too_many());
        }
        let moved = |state: u32| if state == 0 { 0 } else { (before + state) as u16 };
        self.rows.extend(automaton.rows().map(|(next, accept)| {
            let next = std::array::from_fn(|byte| moved(next(byte as u8)));
            intf::automaton_row { next, ..row(accept) }
        }));
        Ok(moved(automaton.start()))
    }

    fn path_automaton(
        &mut self,
        what: &str,
        automaton: Result<Automaton<bool>, Failure>,
    ) -> Result<u16, TableError> {
        self.add(what, automaton, |accept| intf::automaton_row {
            accept: if *accept { intf::ACCEPT } else { 0 },
            ..Default::default()
        })
    }

    /// Of the paths that match any of the patterns; 0 where none can.
    fn list(&mut self, what: &str, mut patterns: Vec<Name>) -> Result<u16, TableError> {
        patterns.sort();
        patterns.dedup();
        if let Some(&known) = self.lists.get(&patterns) {
            return Ok(known);
        }
        let start = self.path_automaton(what, automaton::paths(patterns.iter().map(Name::as_bytes)))?;
        self.lists.insert(patterns, start);
        Ok(start)
    }
}

/// How a stored file is looked up.
enum Stored<'a> {
    Exact(&'a [u8]),
    /// The root's number, and the file below it.
    Rooted(u16, &'a [u8]),
}

struct Compiler<'a> {
    policy: &'a Policy,
    ids: Ids,
    generation: u32,
    space: Space,
    policies: HashMap<intf::policy_key, intf::policy>,
    rules: Vec<(intf::rule_key, intf::rules)>,
    nodes: HashMap<intf::node_key, u32>,
    /// By the address of what it was made from.
    compiled: HashMap<*const Rules, intf::policy>,
    owners: HashMap<Vec<(Op, Vec<intf::rule>)>, u32>,
}

impl<'a> Compiler<'a> {
    fn new(policy: &'a Policy, key: [u64; 2], generation: u32) -> Self {
        Self {
            policy,
            ids: Ids::new(key),
            generation,
            space: Space::default(),
            policies: HashMap::with_capacity(policy.sites.len()),
            rules: Vec::new(),
            nodes: HashMap::new(),
            compiled: HashMap::new(),
            owners: HashMap::new(),
        }
    }

    fn key(&self, kind: u32, id: intf::hash128, node: u32) -> intf::policy_key {
        intf::policy_key { id, generation: self.generation, kind: kind as u16, node, ..Default::default() }
    }

    /// The ways in which a stored file can be seen. Nothing where it never is.
    fn seen<'n>(&self, stored: &'n [u8]) -> Vec<Stored<'n>> {
        if is_wrapped(&self.policy.wrappers, stored) {
            return vec![Stored::Exact(stored)];
        }
        let mut ways = Vec::new();
        if is_trusted_file(stored) {
            ways.push(Stored::Exact(stored));
        }
        if stored.len() > caps::NAME {
            return ways;
        }
        let roots = &self.policy.roots;
        for (number, root) in (1..).zip(roots) {
            let rest = stored.strip_prefix(root.name.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
            // A profile has each name once; of several the first stands for all.
            let is_first = || roots[..usize::from(number) - 1].iter().all(|other| other.name != root.name);
            if let Some(rest) = rest.filter(|_| is_first()) {
                ways.push(Stored::Rooted(number, rest));
            }
        }
        ways
    }

    /// Kind and id under which a stored site is found.
    fn keys(&self, site: &Site) -> Vec<(u32, intf::hash128)> {
        if site.kind == SiteKind::Unknown {
            return Vec::new();
        }
        let Some(file) = &site.file else { return vec![(intf::POLICY_EXACT, self.ids.site(site))] };
        self.seen(file)
            .into_iter()
            .map(|way| match way {
                Stored::Exact(_) => (intf::POLICY_EXACT, self.ids.site(site)),
                Stored::Rooted(root, rest) => (intf::POLICY_ROOTED, self.ids.rooted(root, rest, Some(site))),
            })
            .collect()
    }

    fn sites(&mut self) -> Result<(), TableError> {
        let mut sites: Vec<(&Vec<Site>, &SitePolicy)> = self.policy.sites.iter().collect();
        // The same profile gives the same tables.
        sites.sort_unstable_by_key(|(sites, _)| *sites);
        for (sites, may) in sites {
            let Some((site, callers)) = sites.split_first() else { continue };
            if site.file.as_ref().is_some_and(|file| is_evaluated(file)) {
                continue;
            }
            let entry = self.compiled(may, &|| site.with_file())?;
            let nodes = self.nodes_of(callers.iter().map(|caller| (caller, None)));
            for (kind, id) in self.keys(site) {
                for &node in &nodes {
                    self.policies.insert(self.key(kind, id, node), entry);
                }
            }
        }
        Ok(())
    }

    fn programs(&mut self) -> Result<(), TableError> {
        let mut origins: Vec<_> = self.policy.programs.iter().collect();
        origins.sort_unstable_by_key(|(origin, _)| *origin);
        for (origin, programs) in origins {
            let mut programs: Vec<(&Name, &SitePolicy)> = programs.iter().collect();
            programs.sort_unstable_by_key(|(program, _)| *program);
            for node in self.nodes_of(origin.iter().map(|entry| (&entry.site, entry.sink.as_deref()))) {
                for (program, may) in &programs {
                    let entry = self.compiled(may, &|| program.to_string())?;
                    self.policies.insert(self.key(intf::POLICY_PROGRAM, self.ids.path(program), node), entry);
                }
            }
        }
        Ok(())
    }

    /// The nodes at which an origin (sites and sinks), or a list of callers, ends, made where they are not there: one,
    /// but of unchecked profiles.
    fn nodes_of<'s>(&mut self, path: impl Iterator<Item = (&'s Site, Option<&'s [u8]>)>) -> Vec<u32> {
        let mut ends = vec![0];
        for (site, sink) in path {
            let sink = self.ids.sink(sink);
            let sites = self.keys(site);
            let mut next = Vec::new();
            for (node, &(kind, site)) in
                ends.iter().flat_map(|&node| sites.iter().map(move |key| (node, key)))
            {
                let (generation, kind) = (self.generation, kind as u16);
                let key = intf::node_key { site, sink, generation, node, kind, ..Default::default() };
                let fresh = self.nodes.len() as u32 + 1;
                next.push(*self.nodes.entry(key).or_insert(fresh));
            }
            ends = next;
        }
        ends
    }

    fn scripts(&mut self, own: &[Name]) {
        // Code from wrappers is in no file that could be changed.
        let in_files = |script: &&Name| !is_wrapped(&self.policy.wrappers, script);
        for script in self.policy.protected.iter().filter(in_files) {
            for way in self.seen(script) {
                let key = self.script_key(&way);
                self.policies.entry(key).or_default().flags |= intf::POLICY_IS_SCRIPT;
                for key in self.above(&way) {
                    self.policies.entry(key).or_default().flags |= intf::POLICY_IS_ABOVE;
                }
            }
        }
        for path in own {
            let key = self.key(intf::POLICY_SCRIPT_EXACT, self.ids.path(path), 0);
            self.policies.entry(key).or_default().flags |= intf::POLICY_IS_OWN;
            for key in self.above(&Stored::Exact(path)) {
                self.policies.entry(key).or_default().flags |= intf::POLICY_IS_ABOVE;
            }
        }
        for folder in self.policy.folders_of_roots().filter(|folder| is_plain(folder)) {
            let key = self.key(intf::POLICY_SCRIPT_EXACT, self.ids.path(folder), 0);
            self.policies.entry(key).or_default().flags |= intf::POLICY_IS_ABOVE;
        }
    }

    /// What may be on a chain.
    fn files(&mut self) {
        for file in self.policy.files.iter().filter(|file| !is_evaluated(file)) {
            for way in self.seen(file) {
                let key = self.script_key(&way);
                self.policies.entry(key).or_default().flags |= intf::POLICY_IS_KNOWN;
            }
        }
    }

    fn script_key(&self, way: &Stored<'_>) -> intf::policy_key {
        match *way {
            Stored::Exact(path) => self.key(intf::POLICY_SCRIPT_EXACT, self.ids.path(path), 0),
            Stored::Rooted(root, rest) => {
                self.key(intf::POLICY_SCRIPT_ROOTED, self.ids.rooted(root, rest, None), 0)
            }
        }
    }

    /// The folders above a file; of one in a root those in it.
    fn above(&self, way: &Stored<'_>) -> Vec<intf::policy_key> {
        match *way {
            Stored::Exact(path) => super::folders_above(path)
                .map(|folder| self.key(intf::POLICY_SCRIPT_EXACT, self.ids.path(folder), 0))
                .collect(),
            Stored::Rooted(root, rest) => super::folders_above(rest)
                .map(|folder| self.key(intf::POLICY_SCRIPT_ROOTED, self.ids.rooted(root, folder, None), 0))
                .collect(),
        }
    }

    // ---- what may be done ----

    fn compiled(&mut self, may: &SitePolicy, who: &dyn Fn() -> String) -> Result<intf::policy, TableError> {
        if let Some(known) = self.compiled.get(&Arc::as_ptr(&may.0)) {
            return Ok(*known);
        }
        let rules = &*may.0;
        let view = self.policy.view;
        let granted = |op: Op| {
            let never = never_granted(view, op).is_some() || (rules.no_exec && is_exec(op));
            if never { None } else { index(op) }
        };
        let mut entry = intf::policy::default();
        each(&rules.allowed).filter_map(granted).for_each(|index| set(&mut entry.allowed, index));
        let mut asking = Vec::new();
        for of_op in rules.asking.chunk_by(|a, b| a.op == b.op) {
            let op = of_op[0].op;
            let Some(index) = granted(op).filter(|_| !rules.allowed.contains(op)) else { continue };
            let of_op = self.rules_of(op, of_op, who)?;
            if !of_op.is_empty() {
                set(&mut entry.asking, index);
                asking.push((op, of_op));
            }
        }
        if !asking.is_empty() {
            entry.owners[0] = self.owner(asking);
        }
        if rules.master {
            entry.flags |= intf::POLICY_IS_MASTER;
        }
        self.compiled.insert(Arc::as_ptr(&may.0), entry);
        Ok(entry)
    }

    fn owner(&mut self, asking: Vec<(Op, Vec<intf::rule>)>) -> u32 {
        let fresh = self.owners.len() as u32 + 1;
        let owner = *self.owners.entry(asking.clone()).or_insert(fresh);
        if owner == fresh {
            let generation = self.generation;
            self.rules.extend(asking.into_iter().map(|(op, of_op)| {
                let key = intf::rule_key { generation, owner, op: op.raw().into(), ..Default::default() };
                let mut rules = intf::rules { n: of_op.len() as u32, ..Default::default() };
                rules.rule[..of_op.len()].copy_from_slice(&of_op);
                (key, rules)
            }));
        }
        owner
    }

    /// All rules of one operation; those that can never match are left out.
    fn rules_of(
        &mut self,
        op: Op,
        rules: &[Rule],
        who: &dyn Fn() -> String,
    ) -> Result<Vec<intf::rule>, TableError> {
        let mut united: BTreeMap<GrantMode, Vec<Name>> = BTreeMap::new();
        let mut out = Vec::new();
        for rule in rules {
            match &rule.constraints[..] {
                // One path that matches any pattern of several lists matches any of all their patterns; of two
                // paths each list must match both.
                [Constraint::Path(patterns)] if has_one_path(op) => {
                    united.entry(rule.mode).or_default().extend(patterns.iter().cloned());
                }
                constraints => out.extend(self.rule(op, rule.mode, constraints, who)?),
            }
        }
        for (mode, patterns) in united {
            out.extend(self.rule(op, mode, &[Constraint::Path(patterns)], who)?);
        }
        let mut distinct: Vec<intf::rule> = Vec::with_capacity(out.len());
        for rule in out {
            if !distinct.contains(&rule) {
                distinct.push(rule);
            }
        }
        let (found, most) = (distinct.len(), intf::RULES_MAX as usize);
        if found > most {
            return Err(TableError::TooManyRules { who: who(), op, found, most });
        }
        Ok(distinct)
    }

    /// `None` where it can never match.
    fn rule(
        &mut self,
        op: Op,
        mode: GrantMode,
        constraints: &[Constraint],
        who: &dyn Fn() -> String,
    ) -> Result<Option<intf::rule>, TableError> {
        let mut starts = Vec::new();
        let mut rule = intf::rule { log: u8::from(mode == GrantMode::Log), ..Default::default() };
        for constraint in constraints {
            match constraint {
                Constraint::Itself => rule.itself = 1,
                Constraint::Path(patterns) => {
                    let start = self.space.list(&format!("`{op}` of {}", who()), patterns.clone())?;
                    // 0 in a rule asks for nothing, and as a state it accepts nothing.
                    if start == 0 {
                        return Ok(None);
                    }
                    starts.push(start);
                }
            }
        }
        starts.sort_unstable();
        starts.dedup();
        let (found, most) = (starts.len(), rule.paths.len());
        if found > most {
            return Err(TableError::TooManyPaths { who: who(), op, found, most });
        }
        rule.paths[..found].copy_from_slice(&starts);
        Ok(Some(rule))
    }

    // ---- names ----

    /// The start state of names, and what generated code may do.
    fn names(&mut self) -> Result<u16, TableError> {
        let roots = self.root_groups();
        let (plain, without_lines) = self.generated_groups();
        let patterns = |groups: &[GeneratedGroup]| -> Vec<String> {
            groups.iter().map(|(_, patterns)| automaton::any_of(patterns)).collect()
        };
        let above: Vec<String> =
            self.policy.folders_of_roots().filter(|folder| !is_plain(folder)).map(automaton::glob).collect();
        let above_number = roots.len() + plain.len();
        let above_roots = (!above.is_empty()).then(|| automaton::any_of(&above));
        let asked = Names {
            wrappers: &self.policy.wrappers,
            plain: roots
                .iter()
                .map(|(_, any)| any.clone())
                .chain(patterns(&plain))
                .chain(above_roots)
                .collect(),
            without_lines: patterns(&without_lines),
        };
        let mut kinds = Generated::default();
        let mut too_many = None;
        let automaton = automaton::names(&asked, |found| {
            let mut accept = NameAccept::flags(found);
            if found.trusted {
                let (of_roots, others): (Vec<usize>, Vec<usize>) =
                    found.plain.iter().partition(|&&number| number < roots.len());
                let is_generated = |number: &&usize| !found.evaluated && **number < above_number;
                let plain = others.iter().filter(is_generated).map(|number| &plain[number - roots.len()]);
                let lines = found.without_lines.iter().map(|number| &without_lines[*number]);
                accept.generated = kinds.number(plain.chain(lines).map(|(operations, _)| operations));
                if found.plain.contains(&above_number) {
                    accept.flags |= intf::ACCEPT_ABOVE;
                }
                if of_roots.len() > WAYS {
                    too_many = Some(of_roots);
                } else {
                    accept.roots.iter_mut().zip(of_roots).for_each(|(way, number)| *way = roots[number].0);
                }
            }
            accept
        });
        if let Some(of_roots) = too_many {
            let name = |(root, _): (u16, u16)| self.policy.roots[usize::from(root) - 1].name.clone();
            let roots = of_roots.into_iter().map(|number| name(roots[number].0)).collect();
            return Err(TableError::TooManyWays { roots, most: WAYS });
        }
        for (operations, number) in kinds.numbers {
            let mut entry = intf::policy::default();
            each(&operations).filter_map(index).for_each(|index| set(&mut entry.allowed, index));
            let id = intf::hash128 { lo: number.into(), hi: 0 };
            self.policies.insert(self.key(intf::POLICY_GENERATED, id, 0), entry);
        }
        self.space.add("roots and generated code", automaton, NameAccept::row)
    }

    /// (Root, slashes up to the end of the directory), and what matches the whole name.
    fn root_groups(&self) -> Vec<((u16, u16), String)> {
        let mut groups: BTreeMap<(u16, u16), Vec<String>> = BTreeMap::new();
        let roots = &self.policy.roots;
        for root in roots {
            let first = roots.iter().position(|other| other.name == root.name).unwrap_or_default();
            for pattern in &root.patterns {
                let slashes = pattern.split(|&byte| byte == b'/').count() as u16;
                groups
                    .entry((first as u16 + 1, slashes))
                    .or_default()
                    .push(automaton::in_directory(pattern, ANYTHING));
            }
        }
        groups.into_iter().map(|(way, patterns)| (way, automaton::any_of(&patterns))).collect()
    }

    /// Patterns of generated code by what it may do: of whole names, and of those without lines.
    fn generated_groups(&self) -> (Vec<GeneratedGroup>, Vec<GeneratedGroup>) {
        let mut groups = (Vec::new(), Vec::new());
        for generated in &self.policy.generated {
            let never = |op: &Op| never_granted(self.policy.view, *op).is_some();
            let operations: OpSet = generated.operations.iter().copied().filter(|op| !never(op)).collect();
            let of_kind: &mut Vec<GeneratedGroup> =
                if is_evaluated(&generated.pattern) { &mut groups.1 } else { &mut groups.0 };
            let patterns = self.whole_names(&generated.pattern);
            match of_kind.iter_mut().find(|(known, _)| *known == operations) {
                Some((_, known)) => known.extend(patterns),
                None => of_kind.push((operations, patterns)),
            }
        }
        groups
    }

    /// The names of which a stored name matches.
    fn whole_names(&self, pattern: &[u8]) -> Vec<String> {
        let mut names = vec![automaton::glob(pattern)];
        for root in &self.policy.roots {
            for rest in automaton::after(pattern, format!("{}:", root.name).as_bytes()) {
                let rest = automaton::glob(rest);
                names.extend(root.patterns.iter().map(|directory| automaton::in_directory(directory, &rest)));
            }
        }
        names
    }
}

/// Whether a pattern matches itself alone.
fn is_plain(pattern: &[u8]) -> bool {
    !pattern.iter().any(|byte| b"*\\".contains(byte))
}

/// What generated code may do, and the patterns of that code.
type GeneratedGroup = (OpSet, Vec<String>);

/// What generated code may do, numbered from 1.
#[derive(Default)]
struct Generated {
    numbers: HashMap<OpSet, u32>,
}

impl Generated {
    /// Of all of them together; 0 of none.
    fn number<'a>(&mut self, all: impl Iterator<Item = &'a OpSet>) -> u32 {
        let all = all.cloned().reduce(|mut all, more| {
            all.union(&more);
            all
        });
        let fresh = self.numbers.len() as u32 + 1;
        all.map_or(0, |all| *self.numbers.entry(all).or_insert(fresh))
    }
}

/// What a row says of a name, without the successors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct NameAccept {
    flags: u32,
    generated: u32,
    roots: [(u16, u16); WAYS],
}

impl NameAccept {
    fn flags(found: &NameFound) -> Self {
        let flag = |is: bool, flag| if is { flag } else { 0 };
        let flags = flag(found.trusted || found.wrapped, intf::ACCEPT_TRUSTED)
            | flag(found.evaluated, intf::ACCEPT_EVALUATED);
        Self { flags, ..Self::default() }
    }

    fn row(&self) -> intf::automaton_row {
        let mut row =
            intf::automaton_row { accept: self.flags, generated: self.generated, ..Default::default() };
        for (to, &(root, slashes)) in row.roots.iter_mut().zip(&self.roots) {
            (to.root, to.slashes) = (root, slashes);
        }
        row
    }
}
