//! The tables, looked up as the kernel does it, give the decisions of [`Policy`].

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::op::{Selection, nr};
use crate::policy::{ArgsView, ONCE_READ, ONCE_READ_FILES, Reason, Verdict, is_read_once};
use crate::profile::{
    Attribution, Context, Generated, Grant, GrantKey, Php, Profile, Root, Script, Who, matches, stored_names,
    without_lines,
};
use crate::site::{OriginEntry, Phase};

const KEY: [u64; 2] = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
const GENERATION: u32 = 7;

// ---- the kernel ----

/// Looks up as the kernel does.
struct Kernel {
    head: intf::tables,
    ids: Ids,
    policies: HashMap<intf::policy_key, intf::policy>,
    rules: HashMap<intf::rule_key, intf::rules>,
    nodes: HashMap<intf::node_key, u32>,
    automaton: Vec<intf::automaton_row>,
    info: Box<[u16; intf::OPS_MAX as usize]>,
}

/// What one site or program may do.
struct Resolved {
    missing: Option<Reason>,
    allowed: Bits,
    asking: Bits,
    owners: Vec<u32>,
    master: bool,
}

impl Resolved {
    fn nothing(reason: Reason) -> Self {
        Self { missing: Some(reason), ..Self::of(&[]) }
    }

    fn of(entries: &[intf::policy]) -> Self {
        let mut all = Self {
            missing: None,
            allowed: Bits::default(),
            asking: Bits::default(),
            owners: Vec::new(),
            master: entries.iter().any(|entry| entry.flags & intf::POLICY_IS_MASTER != 0),
        };
        for entry in entries {
            all.allowed.iter_mut().zip(entry.allowed).for_each(|(all, more)| *all |= more);
            all.asking.iter_mut().zip(entry.asking).for_each(|(all, more)| *all |= more);
            all.owners.extend(entry.owners.iter().filter(|owner| **owner != 0));
        }
        all
    }
}

impl Kernel {
    fn new(policy: &Policy, own: &[Name]) -> Result<Self, TableError> {
        let tables = Tables::new(policy, KEY, GENERATION, own)?;
        let len = (tables.policies.len(), tables.rules.len(), tables.nodes.len());
        assert!(tables.policies.iter().all(|(key, _)| key.generation == GENERATION));
        assert!(tables.rules.iter().all(|(key, rules)| {
            key.generation == GENERATION && key.owner > 0 && (1..=intf::RULES_MAX).contains(&rules.n)
        }));
        assert!(tables.automaton[0] == intf::automaton_row::default(), "the dead state");
        let kernel = Self {
            head: tables.head,
            ids: Ids::new(KEY),
            policies: tables.policies.into_iter().collect(),
            rules: tables.rules.into_iter().collect(),
            nodes: tables.nodes.into_iter().collect(),
            automaton: tables.automaton,
            info: op_info(),
        };
        let distinct = (kernel.policies.len(), kernel.rules.len(), kernel.nodes.len());
        assert_eq!(len, distinct, "each key is there once");
        Ok(kernel)
    }

    fn run(&self, start: u16, bytes: &[u8]) -> intf::automaton_row {
        let mut state = start;
        for &byte in bytes {
            state = self.automaton[usize::from(state)].next[usize::from(byte)];
        }
        self.automaton[usize::from(state)]
    }

    fn get(&self, kind: u32, id: intf::hash128, node: u32) -> Option<intf::policy> {
        let key =
            intf::policy_key { id, generation: GENERATION, kind: kind as u16, node, ..Default::default() };
        self.policies.get(&key).copied()
    }

    /// Kinds and ids under which the roots may have stored what is named so.
    fn ways(&self, row: &intf::automaton_row, file: &[u8], site: Option<&Site>) -> Vec<(u16, intf::hash128)> {
        let mut ways = Vec::new();
        for way in row.roots.iter().filter(|way| way.root != 0) {
            let end =
                file.iter().enumerate().filter(|(_, byte)| **byte == b'/').nth(way.slashes as usize - 1);
            let rest = &file[end.expect("so many slashes").0 + 1..];
            ways.push(self.ids.rooted(way.root, rest, site));
        }
        ways.into_iter().map(|id| (intf::POLICY_ROOTED as u16, id)).collect()
    }

    fn row(&self, file: &[u8]) -> intf::automaton_row {
        if self.head.patterned == 0 {
            intf::automaton_row::default()
        } else {
            self.run(self.head.names, file)
        }
    }

    fn site(&self, site: &Site) -> Resolved {
        self.site_as_called(site, &[])
    }

    fn site_as_called(&self, site: &Site, callers: &[Site]) -> Resolved {
        if [site].into_iter().chain(callers).any(|site| site.kind == SiteKind::Unknown) {
            return Resolved::nothing(Reason::UnknownSite);
        }
        let nodes = self.nodes(callers.iter().map(|caller| (caller, None)));
        let at_nodes = |kind, id| nodes.iter().filter_map(move |&node| self.get(kind, id, node));
        let mut found: Vec<_> = at_nodes(intf::POLICY_EXACT, self.ids.site(site)).collect();
        if let Some(file) = &site.file {
            let row = self.row(file);
            if row.generated != 0 {
                let id = intf::hash128 { lo: row.generated.into(), hi: 0 };
                return Resolved::of(&[self.get(intf::POLICY_GENERATED, id, 0).expect("is there")]);
            }
            let rooted = self.ways(&row, file, Some(site));
            found.extend(rooted.into_iter().flat_map(|(kind, id)| at_nodes(kind.into(), id)));
        }
        let missing = if callers.is_empty() { Reason::SiteNotInProfile } else { Reason::UnknownContext };
        if found.is_empty() { Resolved::nothing(missing) } else { Resolved::of(&found) }
    }

    /// Where sites with their sinks lead from the tree's root.
    fn nodes<'s>(&self, path: impl Iterator<Item = (&'s Site, Option<&'s [u8]>)>) -> Vec<u32> {
        let mut nodes = vec![0];
        for (site, sink) in path {
            let sink = self.ids.sink(sink);
            let mut ways = vec![(intf::POLICY_EXACT as u16, self.ids.site(site))];
            if let Some(file) = &site.file {
                ways.extend(self.ways(&self.row(file), file, Some(site)));
            }
            let next = |node: u32| {
                let nodes = &self.nodes;
                ways.iter().filter_map(move |&(kind, site)| {
                    let generation = GENERATION;
                    nodes.get(&intf::node_key { site, sink, generation, node, kind, ..Default::default() })
                })
            };
            nodes = nodes.into_iter().flat_map(next).copied().take(intf::NODES_MAX as usize).collect();
        }
        nodes
    }

    fn program(&self, origin: &[OriginEntry], program: &[u8]) -> Resolved {
        if origin.iter().any(|entry| entry.site.kind == SiteKind::Unknown) {
            return Resolved::nothing(Reason::UnknownSite);
        }
        let nodes = self.nodes(origin.iter().map(|entry| (&entry.site, entry.sink.as_deref())));
        let id = self.ids.path(program);
        let found: Vec<_> =
            nodes.into_iter().filter_map(|node| self.get(intf::POLICY_PROGRAM, id, node)).collect();
        if found.is_empty() { Resolved::nothing(Reason::ProgramNotInProfile) } else { Resolved::of(&found) }
    }

    fn decide(&self, may: &Resolved, op: Op, args: &ArgsView<'_>) -> Verdict {
        let violation = |reason, log_only| Verdict::Violation { reason, log_only, never_kill: may.master };
        if op == Op::FOREIGN {
            return violation(Reason::ForeignAbi, false);
        }
        if op.nr() == nr::BPF {
            return violation(Reason::ProtectedObject, false);
        }
        if let Some(reason) = may.missing {
            return violation(reason, false);
        }
        let index = u32::from(self.info[usize::from(op.raw())]) & intf::OP_INDEX;
        let has = |bits: &Bits| index > 0 && bits[(index as usize - 1) / 64] >> ((index - 1) % 64) & 1 == 1;
        if has(&may.allowed) {
            return Verdict::Allowed;
        }
        let mut logged = false;
        if has(&may.asking) {
            for owner in &may.owners {
                let op_number = op.raw().into();
                let key = intf::rule_key {
                    generation: GENERATION,
                    owner: *owner,
                    op: op_number,
                    ..Default::default()
                };
                let Some(rules) = self.rules.get(&key) else { continue };
                for rule in rules.rule[..rules.n as usize].iter().filter(|rule| self.holds(**rule, op, args))
                {
                    if rule.log == 0 {
                        return Verdict::Allowed;
                    }
                    logged = true;
                }
            }
        }
        violation(Reason::OperationNotInProfile, logged)
    }

    fn holds(&self, rule: intf::rule, op: Op, args: &ArgsView<'_>) -> bool {
        let accepts = |start: u16, path: Option<&[u8]>| {
            path.is_some_and(|path| self.run(start, path).accept & intf::ACCEPT != 0)
        };
        let two = crate::op::desc(op.nr().into()).path2_arg != 0;
        let all = |start: u16| accepts(start, args.path) && (!two || accepts(start, args.path2));
        rule.paths.iter().all(|&start| start == 0 || all(start))
            && (rule.itself == 0 || (args.path.is_some() && args.path == args.exe))
    }

    /// Whether it may be on a chain.
    fn knows(&self, file: &[u8]) -> bool {
        self.script(file) & intf::POLICY_IS_KNOWN != 0 || self.row(file).generated != 0
    }

    /// `enum policy_flags` of a path.
    fn script(&self, path: &[u8]) -> u32 {
        let exact = self.get(intf::POLICY_SCRIPT_EXACT, self.ids.path(path), 0);
        let row = self.row(path);
        let rooted = self.ways(&row, path, None);
        let rooted = rooted.into_iter().filter_map(|(_, id)| self.get(intf::POLICY_SCRIPT_ROOTED, id, 0));
        let above = if row.accept & intf::ACCEPT_ABOVE == 0 { 0 } else { intf::POLICY_IS_ABOVE };
        exact.into_iter().chain(rooted).fold(above, |flags, entry| flags | entry.flags)
    }
}

// ---- anything ----

fn joined(pieces: &'static [&'static str], most: usize) -> impl Strategy<Value = Name> {
    vec(select(pieces), 1..=most).prop_map(|pieces| pieces.concat().into())
}

/// Files as PHP names them, and what nobody should.
fn file() -> impl Strategy<Value = Name> {
    let pieces = &[
        "/s",
        "/s/",
        "/",
        "a",
        "b",
        "a/",
        "(3)",
        "(12",
        ")",
        "(",
        " : eval()'d code",
        " : eval(",
        " : assert code",
        " : regexp code",
        "/..",
        "/.",
        "*",
        "\\",
        "Command line code",
        ":",
    ];
    let plain =
        select(&["/s/a/b", "/s/a/b/a", "/s/b/a", "/s/a", "/s/a/b(3) : eval()'d code", "/t/a/b/a/a"][..]);
    prop_oneof![
        joined(&["vfs:", "s3:", "//", "/", "a", "b", "/..", "(3)", " : eval()'d code"], 5),
        joined(&["vfs://a", "s3://b", "/b", "a", "/"], 3),
        joined(pieces, 6),
        joined(&["/s", "/a", "/b", "/a(3)", " : eval()'d code", "(3)"], 6),
        plain.prop_map(Name::from)
    ]
}

/// Patterns of files, of stored names and of evaluated code.
fn pattern() -> impl Strategy<Value = Name> {
    let pieces = &[
        "/s",
        "/s/",
        "/",
        "a",
        "b",
        "*",
        "**",
        "\\",
        "\\*",
        "/..",
        "/.",
        "(3)",
        " : eval()'d code",
        " : assert code",
        "app:",
        "lib:",
        "a*:",
        ":",
        "vfs://",
        "Command line code",
    ];
    let evaluated = joined(&["/s", "/a", "app:", "lib:a", "*", "/", "(3)", " : eval()'d code"], 5)
        .prop_map(|name| [name.as_bytes(), b" : eval()'d code"].concat().into());
    prop_oneof![
        joined(pieces, 6),
        evaluated,
        joined(&["/s", "/a", "/b", "/*", "app:", "lib:", "a", "*", "/"], 4)
    ]
}

fn roots() -> impl Strategy<Value = Vec<Root>> {
    let patterns = select(&["/s", "/s/a", "/s/*", "/*", "/s/*/b", "/s/a*", "/*/a", "/t/*", "/s/\\a"][..]);
    let root = |name: &'static str| {
        vec(patterns.clone(), 1..3).prop_map(move |all| Root {
            name: name.into(),
            patterns: all.into_iter().map(Name::from).collect(),
        })
    };
    prop_oneof![
        Just(Vec::new()),
        root("app").prop_map(|one| vec![one]),
        (root("app"), root("lib")).prop_map(|(one, other)| vec![one, other]),
    ]
}

fn wrappers() -> impl Strategy<Value = Vec<String>> {
    select(&["", "vfs", "s3 vfs", "app vfs"][..])
        .prop_map(|all| all.split_whitespace().map(ToOwned::to_owned).collect())
}

fn op() -> impl Strategy<Value = Op> {
    let names = &[
        "unlink",
        "openat:create",
        "openat:read",
        "rename",
        "exec",
        "execve",
        "mmap:exec",
        "io_uring_setup",
        "bpf",
        "openat:unreadable",
        "foreign",
        "unknown",
        "kill:self",
    ];
    select(&names[..]).prop_map(|name| Op::parse(name).unwrap())
}

/// A site in a file that is stored so.
fn site_in(file: impl Strategy<Value = Name> + 'static) -> BoxedStrategy<Site> {
    prop_oneof![
        4 => file.prop_flat_map(|file| prop_oneof![
            Just(Site::main(file.clone())),
            Just(Site::closure(file.clone())),
            Just(Site::function(file, Some("A".into()), "f")),
        ]),
        1 => Just(Site::internal(None, "unlink")),
        1 => Just(Site::internal(Some("A".into()), "unlink")),
        1 => select(&[Phase::Startup, Phase::Request][..]).prop_map(Site::engine),
        1 => Just(Site::master()),
        1 => Just(Site::unknown()),
    ]
    .boxed()
}

fn stored_file() -> impl Strategy<Value = Name> {
    prop_oneof![
        file(),
        joined(&["app:", "lib:", "a", "b", "/a", "/b", " : eval()'d code"], 4),
        select(&["app:b", "app:a", "app:a/b", "lib:b", "lib:a", "app:b/a", "/s/a/b"][..])
            .prop_map(Name::from),
    ]
}

fn constraints() -> impl Strategy<Value = Vec<Constraint>> {
    let paths = || vec(pattern(), 0..3).prop_map(Constraint::Path);
    prop_oneof![
        2 => Just(Vec::new()),
        2 => paths().prop_map(|one| vec![one]),
        1 => (paths(), paths()).prop_map(|(one, other)| vec![one, other]),
        1 => Just(vec![Constraint::Itself]),
        1 => paths().prop_map(|one| vec![one, Constraint::Itself]),
    ]
}

fn sink() -> impl Strategy<Value = Option<Name>> {
    select(&[None, Some("exec"), Some("A::b"), Some("A::b::c"), Some("::")][..])
        .prop_map(|sink| sink.map(Name::from))
}

fn origin(file: impl Strategy<Value = Name> + Clone + 'static) -> impl Strategy<Value = Vec<OriginEntry>> {
    vec((site_in(file), sink()).prop_map(|(site, sink)| OriginEntry { site, sink }), 0..3)
}

fn grant(who: Who, (operation, constraints, log): (Op, Vec<Constraint>, bool)) -> Grant {
    let mode = if log { GrantMode::Log } else { GrantMode::Enforce };
    GrantKey { who, operation, constraints }.into_grant(mode)
}

const PROGRAMS: &[&str] = &["/bin/sh", "/bin/a"];

fn profile() -> impl Strategy<Value = Profile> {
    let what = || (op(), constraints(), prop::bool::weighted(0.2));
    let few = stored_file().prop_filter("short", |file| file.len() < 12).boxed();
    let callers = vec(site_in(few.clone()).prop_filter("code", |site| site.file.is_some()), 0..3);
    let of_site = (site_in(stored_file()), callers, what()).prop_map(|(site, callers, what)| {
        let callers = callers.into_iter().filter(|_| site.file.is_some());
        grant(Who::Sites([site.clone()].into_iter().chain(callers).collect()), what)
    });
    let of_program = (origin(few), select(PROGRAMS), what())
        .prop_map(|(origin, program, what)| grant(Who::Program { origin, program: program.into() }, what));
    let generated =
        (pattern(), vec(op(), 0..3)).prop_map(|(pattern, operations)| Generated { pattern, operations });
    let script =
        stored_file().prop_map(|file| Script { file, device: 0, inode: 0, size: 0, sha256: [0; 32] });
    let grants = vec(prop_oneof![3 => of_site, 1 => of_program], 0..12);
    let view = select(&[View::Syscall, View::Lsm][..]);
    let contexts = [Context::Nearest, Context::KnownFiles, Context::Frames(2), Context::Frames(3)];
    let context = (select(contexts.to_vec()), vec(stored_file(), 0..4));
    (view, (roots(), wrappers()), vec(generated, 0..3), (vec(script, 0..4), context), grants).prop_map(
        |(view, (roots, wrappers), generated, (scripts, (context, files)), grants)| {
            let mut profile =
                Profile::new(view, Attribution::Stack, Selection::default(), Php::new("8.2.29", ""));
            (profile.roots, profile.generated, profile.wrappers) = (roots, generated, wrappers);
            (profile.scripts, profile.grants) = (scripts, grants);
            profile.files = files;
            profile.narrow(context);
            profile
        },
    )
}

/// Names as seen that a stored name may stand for.
fn unstored(stored: &[u8]) -> Vec<Name> {
    let Some(rest) = [&b"app:"[..], b"lib:"].into_iter().find_map(|root| stored.strip_prefix(root)) else {
        return vec![stored.into()];
    };
    ["/s/", "/s/a/", "/s/b/", "/x/", "/t/a/", "/s/a/b/"]
        .iter()
        .map(|directory| Name::from([directory.as_bytes(), rest].concat()))
        .collect()
}

/// The sites as seen that a profile may speak of.
fn seen(site: &Site) -> Vec<Site> {
    match &site.file {
        None => vec![site.clone()],
        Some(file) => {
            unstored(file).into_iter().map(|file| Site { file: Some(file), ..site.clone() }).collect()
        }
    }
}

fn small() -> Profile {
    Profile::new(View::Syscall, Attribution::Stack, Selection::default(), Php::new("8.2.29", ""))
}

type Seen = (Vec<Name>, Vec<Site>, Vec<Vec<OriginEntry>>, Vec<(Op, [Option<Name>; 3])>);

fn seen_of_all() -> impl Strategy<Value = Seen> {
    let path = || prop_oneof![1 => Just(None), 5 => file().prop_map(Some)];
    let call = (op(), [path(), path(), path()], any::<bool>()).prop_map(|(op, mut paths, itself)| {
        if itself {
            paths[2] = paths[0].clone();
        }
        (op, paths)
    });
    (vec(file(), 1..8), vec(site_in(file()), 1..8), vec(origin(file().boxed()), 1..4), vec(call, 1..8))
}

/// Paths that the patterns of all grants speak of.
fn meant(profile: &Profile) -> Vec<Name> {
    let of = |constraint: &Constraint| match constraint {
        Constraint::Path(patterns) => patterns.clone(),
        Constraint::Itself => Vec::new(),
    };
    let patterns = profile.grants.iter().flat_map(|grant| &grant.constraints).flat_map(of);
    patterns
        .filter(|pattern| !pattern.contains(&b'\\'))
        .map(|pattern| {
            pattern.iter().map(|&byte| if byte == b'*' { b'x' } else { byte }).collect::<Vec<_>>().into()
        })
        .take(8)
        .collect()
}

fn view_of(paths: &[Option<Name>; 3]) -> ArgsView<'_> {
    let [path, path2, exe] = [0, 1, 2].map(|index: usize| paths[index].as_deref());
    ArgsView { path, path2, exe }
}

/// Compiling a policy takes milliseconds, and ten times as many without `--release`.
fn cases() -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(if cfg!(debug_assertions) { 50 } else { 500 }),
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn decisions_are_those_of_the_policy(profile in profile(), seen_too in seen_of_all(), own in vec(file(), 0..2)) {
        let policy = Policy::new(&profile);
        let kernel = match Kernel::new(&policy, &own) {
            Ok(kernel) => kernel,
            // Overlapping directories of two roots can be more than there is room for.
            Err(TableError::TooManyWays { .. }) => return Ok(()),
            Err(error) => panic!("{error}"),
        };
        let (mut files, mut sites, mut origins, mut calls) = seen_too;
        let paths = meant(&profile);
        for (path, path2) in paths.iter().flat_map(|path| paths.iter().map(move |path2| (path, path2))) {
            let twice = [Some(path.clone()), Some(path2.clone()), Some(path.clone())];
            calls.extend(["rename", "unlink", "exec"].map(|op| (Op::parse(op).unwrap(), twice.clone())));
        }
        for site in profile.grants.iter().flat_map(|grant| grant.who.sites()) {
            sites.extend(seen(site));
        }
        for grant in &profile.grants {
            let Who::Program { origin, .. } = &grant.who else { continue };
            for number in 0..6 {
                let entry = |entry: &OriginEntry| {
                    let sites = seen(&entry.site);
                    OriginEntry { site: sites[number % sites.len()].clone(), sink: entry.sink.clone() }
                };
                origins.push(origin.iter().map(entry).collect());
            }
        }
        files.extend(profile.scripts.iter().flat_map(|script| unstored(&script.file)));
        files.extend(profile.files.iter().flat_map(|file| unstored(file)));
        files.extend(sites.iter().filter_map(|site| site.file.clone()));
        sites.extend(files.iter().map(|file| Site::main(file.clone())));
        let all = || calls.iter().map(|(op, paths)| (*op, view_of(paths)))
            .chain(profile.grants.iter().map(|grant| (grant.operation, view_of(&calls[0].1))));
        let mut called: Vec<(Site, Vec<Site>)> = sites.iter().map(|site| (site.clone(), Vec::new())).collect();
        for grant in &profile.grants {
            let Who::Sites(list) = &grant.who else { continue };
            for number in 0..6 {
                let mut list = list.iter().map(|site| seen(site)[number % seen(site).len()].clone());
                called.push((list.next().expect("a site"), list.collect()));
            }
            let code = |site: &&Site| site.file.is_some();
            called.extend(sites.iter().filter(code).zip(&sites[1..]).map(|(site, by)| (site.clone(), vec![by.clone()])));
        }
        for (site, callers) in &called {
            let (asked, resolved) = (policy.site_as_called(site, callers), kernel.site_as_called(site, callers));
            prop_assert_eq!(asked.missing(), resolved.missing, "{:?} by {:?}", site, callers);
            if resolved.owners.len() > intf::WAYS_MAX as usize {
                continue; // more than the kernel asks
            }
            for (op, args) in all() {
                prop_assert_eq!(asked.decide(op, &args), kernel.decide(&resolved, op, &args), "{:?} {} {:?}", site, op, args);
            }
        }
        for origin in &origins {
            for program in PROGRAMS {
                let program = program.as_bytes();
                let (asked, resolved) = (policy.program(origin, program), kernel.program(origin, program));
                prop_assert_eq!(asked.missing(), resolved.missing, "{:?}", origin);
                for (op, args) in all() {
                    prop_assert_eq!(asked.decide(op, &args), kernel.decide(&resolved, op, &args), "{:?} {}", origin, op);
                }
            }
        }
        for file in &files {
            let flags = kernel.script(file);
            prop_assert_eq!(policy.is_protected(file), flags & intf::POLICY_IS_SCRIPT != 0, "{}", file);
            prop_assert_eq!(own.contains(file), flags & intf::POLICY_IS_OWN != 0, "{}", file);
            prop_assert_eq!(policy.knows_file(file), kernel.knows(file), "{}", file);
            if is_trusted_file(file) {
                let above_own = own.iter().any(|own| own.as_bytes().starts_with(&[file, &b"/"[..]].concat()));
                let above = above_own || policy.is_above_protected(file) || policy.is_above_root(file);
                prop_assert_eq!(above, flags & intf::POLICY_IS_ABOVE != 0, "{}", file);
            }
        }
    }

    #[test]
    fn rows_tell_what_is_true_of_a_name(generated in vec(pattern(), 0..4), roots in roots(), wrappers in wrappers(), files in vec(file(), 1..30)) {
        let mut profile = small();
        profile.wrappers = wrappers;
        profile.roots = roots;
        profile.generated =
            generated.into_iter().map(|pattern| Generated { pattern, operations: Vec::new() }).collect();
        let policy = Policy::new(&profile);
        let Ok(kernel) = Kernel::new(&policy, &[]) else { return Ok(()) };
        for file in &files {
            let row = kernel.run(kernel.head.names, file);
            let plain = without_lines(file);
            let trusted = is_trusted_file(&plain) || is_wrapped(&profile.wrappers, &plain);
            prop_assert_eq!(row.accept & intf::ACCEPT_TRUSTED != 0, trusted, "{}", file);
            prop_assert_eq!(row.accept & intf::ACCEPT_EVALUATED != 0, is_evaluated(file), "{}", file);
            let generated = super::super::generated_operations(&profile.generated, &stored_names(&profile.roots, &plain));
            prop_assert_eq!(row.generated != 0, generated.is_some(), "{}", file);
            let ways = stored_names(&profile.roots, file).len();
            let found = row.roots.iter().filter(|way| way.root != 0).count();
            prop_assert_eq!(found, ways.saturating_sub(1), "{}", file);
        }
    }

    #[test]
    fn lists_accept_what_matches(patterns in vec(pattern(), 1..5), paths in vec(file(), 1..40), any_path: Vec<u8>) {
        let mut space = Space::default();
        let start = space.list("", patterns.clone()).unwrap();
        let again = space.list("", patterns.iter().rev().cloned().collect()).unwrap();
        prop_assert_eq!(start, again);
        let rows = space.rows;
        for path in paths.iter().map(Name::as_bytes).chain([&any_path[..], b""]) {
            let end = path.iter().fold(start, |state, &byte| rows[usize::from(state)].next[usize::from(byte)]);
            let accepted = rows[usize::from(end)].accept == intf::ACCEPT;
            prop_assert_eq!(accepted, patterns.iter().any(|pattern| matches(pattern, path)), "{:?}", path);
        }
    }

    #[test]
    fn once_accepts_what_is_below(place in select([&ONCE_READ[..], &ONCE_READ_FILES].concat()), rest in joined(&["a", "/", ".", "..", "b"], 6)) {
        static EMPTY: LazyLock<Kernel> = LazyLock::new(|| Kernel::new(&Policy::new(&small()), &[]).unwrap());
        let kernel = &*EMPTY;
        let accepted = |path: &[u8]| kernel.run(kernel.head.once, path).accept == intf::ACCEPT;
        let path = [place.as_bytes(), &rest].concat();
        prop_assert_eq!(accepted(&path), is_read_once(&path));
        prop_assert!(accepted(place.as_bytes()) && !accepted(&path[1..]) && !accepted(b"/etc/passwd"));
        prop_assert!(!accepted(b"/dev/urandom/") && !accepted(b"/dev/urando") && !accepted(b"/dev/random"));
    }
}

// ---- the rest ----

#[test]
fn every_operation_has_a_number_of_its_own() {
    let info = op_info();
    let policy = Policy::new(&small());
    let mut numbers = HashSet::new();
    for raw in 0..intf::OPS_MAX as u16 {
        let (op, entry) = (Op::from_raw(raw).unwrap(), u32::from(info[usize::from(raw)]));
        let number = entry & intf::OP_INDEX;
        let views = [View::Syscall, View::Lsm];
        assert_eq!(number != 0, views.iter().any(|view| never_granted(*view, op).is_none()), "{op}");
        assert_eq!(number != 0, op.is_named() && !is_judged_without_a_grant(op), "{op}");
        assert!(number == 0 || (numbers.insert(number) && number <= intf::OP_BITS), "{op}");
        assert_eq!(entry & intf::OP_PROTECTS != 0, policy.could_protect(op), "{op}");
        assert_eq!(entry & intf::OP_REMOVES != 0, policy.could_remove(op), "{op}");
    }
    assert!(numbers.len() > 400);
}

fn is_judged_without_a_grant(op: Op) -> bool {
    op == Op::FOREIGN
        || op == Op::UNKNOWN
        || [nr::BPF, nr::IO_URING_REGISTER].contains(&op.nr())
        || op.is_unreadable()
}

#[test]
fn sets_are_gone_through_in_order() {
    let ops: Vec<Op> = [0, 1, 63, 64, 700, 8191].into_iter().filter_map(Op::from_raw).collect();
    let set: OpSet = ops.iter().copied().collect();
    assert!(each(&set).eq(ops));
    assert_eq!(each(&OpSet::new()).count(), 0);
}

#[test]
fn ids_are_the_kernel_sides() {
    let ids = Ids::new(KEY);
    let is = |id: intf::hash128, lo, hi| assert_eq!((id.lo, id.hi), (lo, hi));
    // Published with SipHash: this key, and the eight bytes from 0 to 7.
    let mut message = Message::default();
    message.name(&[0, 1, 2, 3, 4, 5, 6, 7]);
    is(message.hash(KEY), 0x61f5_5862_baa9_623b, 0xb497_14f3_64e2_830f);
    // What siphash.h makes of the words that intf.h's readers hash.
    let method = Site::function("/srv/app.php", Some("A".into()), "method");
    is(ids.site(&method), 0x48e5_6c5a_5097_071a, 0x5c86_5559_5bef_9177);
    is(ids.path(b"/srv/app.php"), 0xaf6a_bb0e_b6d4_e987, 0x96f0_515b_2820_c4b2);
    is(ids.rooted(3, b"app.php", Some(&method)), 0xff6d_67e3_4d45_6533, 0xcfb1_007a_376d_2314);
    is(ids.rooted(3, b"app.php", None), 0xe336_6a22_66e7_c61a, 0xa3dc_8eeb_d785_c9b9);
    let site = Site::function("/a.php", Some("A".into()), "f");
    assert_ne!(ids.site(&site), ids.site(&Site::function("/a.php", Some("Af".into()), "x")));
    assert_ne!(ids.site(&site), ids.rooted(1, b"/a.php", Some(&site)));
    assert_ne!(ids.rooted(1, b"a", None), ids.rooted(2, b"a", None));
    assert_eq!(ids.sink(None), intf::hash128::default());
    assert_eq!(ids.sink(Some(b"unlink")), ids.site(&Site::internal(None, "unlink")));
    assert_eq!(ids.sink(Some(b"A::b::c")), ids.site(&Site::internal(Some("A".into()), "b::c")));
}

#[test]
fn a_line_may_begin_within_what_looked_like_code() {
    for (pattern, file) in [
        ("/a(3) : eval : eval()'d code", "/a(3) : eval(4) : eval()'d code"),
        ("/a(3) : eval(4) : eval()'d code", "/a(3) : eval(4)(5) : eval()'d code"),
        ("/a( : eval()'d code", "/a((5) : eval()'d code"),
        ("/a() : eval()'d code", "/a() : eval()'d code"),
        ("/a : eval()'d code : assert code", "/a(1) : eval()'d code(2) : assert code"),
        ("/a(3) : eval()'d code", "/a(3) : eval()'d code"),
    ] {
        let mut profile = small();
        // Something longer that begins like the name as it is keeps both runs going.
        let longer = format!("{file} : assert code");
        profile.generated = [pattern, &longer]
            .map(|pattern| Generated { pattern: pattern.into(), operations: Vec::new() })
            .into();
        let kernel = Kernel::new(&Policy::new(&profile), &[]).unwrap();
        let meant = *without_lines(file.as_bytes()) == *pattern.as_bytes();
        assert_eq!(kernel.run(kernel.head.names, file.as_bytes()).generated != 0, meant, "{file}");
    }
}

#[test]
fn both_paths_match_one_list() {
    let mut profile = small();
    profile.grants = ["/a", "/b"].map(|path| asking("rename", vec![paths(path.into())])).into();
    let kernel = Kernel::new(&Policy::new(&profile), &[]).unwrap();
    let allowed = |path: &str, path2: &str| {
        let args = ArgsView { path: Some(path.as_bytes()), path2: Some(path2.as_bytes()), exe: None };
        let rename = Op::parse("rename").unwrap();
        kernel.decide(&kernel.site(&Site::main("/a.php")), rename, &args) == Verdict::Allowed
    };
    assert!(allowed("/a", "/a") && allowed("/b", "/b") && !allowed("/a", "/b") && !allowed("/b", "/a"));
}

#[test]
fn stored_names_have_255_bytes() {
    let root = "r".repeat(32);
    for (len, found) in [(222, true), (223, false)] {
        let rest = "x".repeat(len);
        let (stored, file) = (format!("{root}:{rest}"), format!("/s/{rest}"));
        let mut profile = small();
        profile.roots = vec![Root { name: root.clone(), patterns: vec!["/s".into()] }];
        profile.scripts = vec![script(&stored)];
        let policy = Policy::new(&profile);
        let kernel = Kernel::new(&policy, &[]).unwrap();
        assert_eq!(
            (policy.is_protected(file.as_bytes()), kernel.script(file.as_bytes()) != 0),
            (found, found)
        );
    }
}

#[test]
fn a_path_that_no_script_can_have_is_above_none() {
    let mut profile = small();
    profile.scripts = ["/b/", "/s/a/../b"].map(script).into();
    let policy = Policy::new(&profile);
    let kernel = Kernel::new(&policy, &[]).unwrap();
    for file in ["/b/", "/b", "/s", "/s/a", "/s/a/../b"].map(str::as_bytes) {
        assert_eq!(kernel.script(file), 0);
        assert!(!policy.is_protected(file) && !policy.is_above_protected(file));
    }
}

fn script(file: &str) -> Script {
    Script { file: file.into(), device: 0, inode: 0, size: 0, sha256: [0; 32] }
}

#[test]
fn the_engine_starts_programs_only_at_startup() {
    for phase in [Phase::Startup, Phase::Request, Phase::Shutdown, Phase::Unknown] {
        let site = Site::engine(phase);
        for constraints in [vec![paths("/bin/sh".into())], vec![paths("/bin/*".into()), Constraint::Itself]] {
            let mut profile = small();
            for op in ["exec", "execve", "unlink"] {
                let what = (Op::parse(op).unwrap(), constraints.clone(), false);
                profile.grants.push(grant(Who::site(site.clone()), what));
            }
            let kernel = Kernel::new(&Policy::new(&profile), &[]).unwrap();
            let sh = Some(&b"/bin/sh"[..]);
            for op in ["exec", "execve", "unlink"] {
                let args = ArgsView { path: sh, path2: None, exe: sh };
                let verdict = kernel.decide(&kernel.site(&site), Op::parse(op).unwrap(), &args);
                let allowed = op == "unlink" || phase == Phase::Startup;
                assert_eq!(verdict == Verdict::Allowed, allowed, "{op} {}", phase.name());
            }
        }
    }
}

#[test]
fn the_master_is_never_killed() {
    let kernel = Kernel::new(&Policy::new(&small()), &[]).unwrap();
    let verdict =
        kernel.decide(&kernel.site(&Site::master()), Op::parse("mount").unwrap(), &ArgsView::default());
    let reason = Reason::OperationNotInProfile;
    assert_eq!(verdict, Verdict::Violation { reason, log_only: false, never_kill: true });
}

#[test]
fn own_files_may_be_scripts_too() {
    let mut profile = small();
    profile.scripts = vec![script("/a.php"), script("/b.php")];
    let kernel = Kernel::new(&Policy::new(&profile), &["/a.php".into(), "/php.profile".into()]).unwrap();
    assert_eq!(kernel.script(b"/a.php"), intf::POLICY_IS_SCRIPT | intf::POLICY_IS_OWN);
    assert_eq!(kernel.script(b"/b.php"), intf::POLICY_IS_SCRIPT);
    assert_eq!(kernel.script(b"/php.profile"), intf::POLICY_IS_OWN);
    assert_eq!(kernel.head.patterned, 0);
}

#[test]
fn known_files_are_those_of_sites_and_those_that_are_listed() {
    let mut profile = small();
    profile.roots = vec![Root::parse("app=/srv/*").unwrap()];
    profile.generated = vec![Generated { pattern: "app:cache/*".into(), operations: Vec::new() }];
    profile.grants = vec![grant(Who::site(Site::main("app:a.php")), (Op::EXEC, Vec::new(), false))];
    profile.files = vec!["/index.php".into(), "app:b.php".into()];
    profile.scripts = vec![script("/script.php")];
    let known = ["/srv/1/a.php", "/srv/2/b.php", "/index.php", "/srv/1/cache/x"];
    let foreign = ["/srv/1/c.php", "/script.php", "/index.php(1) : eval()'d code", "app:b.php", ""];
    for (context, knows) in [(Context::Nearest, false), (Context::KnownFiles, true)] {
        profile.context = context;
        let policy = Policy::new(&profile);
        let kernel = Kernel::new(&policy, &[]).unwrap();
        for file in &known[..3] {
            assert_eq!(
                (policy.knows_file(file.as_bytes()), kernel.knows(file.as_bytes())),
                (knows, knows),
                "{file}"
            );
        }
        assert!(policy.knows_file(known[3].as_bytes()) && kernel.knows(known[3].as_bytes()));
        for file in foreign {
            assert!(!policy.knows_file(file.as_bytes()) && !kernel.knows(file.as_bytes()), "{file}");
        }
        // Known is not protected.
        assert!(kernel.script(b"/index.php") & !intf::POLICY_IS_KNOWN == 0);
    }
}

fn with_grants(grants: Vec<Grant>) -> Result<Tables, TableError> {
    let mut profile = small();
    profile.grants = grants;
    Tables::new(&Policy::new(&profile), KEY, GENERATION, &[])
}

fn asking(op: &str, constraints: Vec<Constraint>) -> Grant {
    grant(Who::site(Site::main("/a.php")), (Op::parse(op).unwrap(), constraints, false))
}

fn paths(pattern: String) -> Constraint {
    Constraint::Path(vec![pattern.into()])
}

#[test]
fn what_does_not_fit_is_refused_with_a_hint() {
    let many = |op: &str| with_grants((0..17).map(|n| asking(op, vec![paths(format!("/{n}"))])).collect());
    assert!(many("unlink").is_ok(), "lists of one path are united");
    let too_many = many("rename").unwrap_err();
    assert_eq!(
        too_many.to_string(),
        "{main} in /a.php has 17 grants of `rename` with constraints that cannot be united, at most 16 fit"
    );
    let lists = (0..3).map(|n| paths(format!("/{n}*"))).collect();
    let too_long = with_grants(vec![asking("unlink", lists)]).unwrap_err();
    assert_eq!(
        too_long.to_string(),
        "{main} in /a.php has a grant of `unlink` with 3 path constraints, at most 2 fit"
    );
    let mut profile = small();
    for (name, pattern) in [("a", "/s"), ("b", "/s/*"), ("c", "/s/*/*"), ("d", "/*")] {
        profile.roots.push(Root { name: name.into(), patterns: vec![pattern.into()] });
    }
    let ways = Tables::new(&Policy::new(&profile), KEY, GENERATION, &[]).unwrap_err();
    assert_eq!(
        ways,
        TableError::TooManyWays { roots: ["a", "b", "c", "d"].map(String::from).into(), most: 3 }
    );
    let exploding = with_grants(vec![asking("unlink", vec![paths(format!("/*a{}", "b*c".repeat(60)))])]);
    assert!(exploding.is_ok(), "many stars alone are no harm");
    let mut full =
        Space { rows: vec![intf::automaton_row::default(); STATES as usize - 2], ..Space::default() };
    assert!(
        full.list("", vec!["/".into()]).is_ok_and(|start| start == 0),
        "nothing matches, nothing is used"
    );
    let states = full.list("`unlink` of {main}", vec!["/tmp/a".into()]).unwrap_err();
    assert_eq!(
        states.to_string(),
        "the patterns of `unlink` of {main} need more than the 65535 states that there is room for"
    );
    for error in [too_many, too_long, ways, states] {
        assert!(!error.hint().is_empty());
    }
}

#[test]
fn patterns_that_explode_are_refused_soon() {
    let list = |n: usize| vec![paths(format!("/*{}*{}*", "a".repeat(n + 1), "b".repeat(40 - n)))];
    let start = Instant::now();
    let error = with_grants((0..40).map(|n| asking("unlink", list(n))).collect()).unwrap_err();
    println!("refused after {:?}", start.elapsed());
    assert!(matches!(error, TableError::TooManyStates { .. }), "{error}");
}

#[test]
fn a_list_that_nothing_matches_is_no_list_that_asks_for_nothing() {
    // As if another writer had made the file: `check` refuses such patterns.
    for never in ["/tmp/..", "", "/tmp/"] {
        let mut profile = small();
        profile.grants = vec![asking("unlink", vec![paths(never.into())])];
        let kernel = Kernel::new(&Policy::new(&profile), &[]).unwrap();
        let args = ArgsView { path: Some(b"/tmp/.."), ..ArgsView::default() };
        let verdict = kernel.decide(&kernel.site(&Site::main("/a.php")), Op::parse("unlink").unwrap(), &args);
        assert_ne!(verdict, Verdict::Allowed, "{never}");
    }
}

#[test]
fn equal_profiles_give_equal_tables() {
    let mut profile = small();
    profile.roots = vec![Root::parse("app=/srv/*").unwrap()];
    for n in 0..50 {
        let site = Site::main(format!("app:{n}.php"));
        profile.grants.push(grant(
            Who::site(site),
            (Op::parse("unlink").unwrap(), vec![paths(format!("/{n}/*"))], false),
        ));
    }
    let tables = || {
        let mut tables = Tables::new(&Policy::new(&profile), KEY, GENERATION, &[]).unwrap();
        tables.policies.sort_by_key(|(key, _)| (key.kind, key.id.lo, key.id.hi));
        (tables.policies, tables.rules, tables.automaton)
    };
    assert!(tables() == tables());
}

/// 50,000 sites, each with rules of its own, take well below a second (with `--release`).
#[test]
fn how_long_a_large_profile_takes() {
    let mut profile = small();
    profile.roots =
        vec![Root::parse("app=/srv/app/releases/*").unwrap(), Root::parse("lib=/usr/share/php").unwrap()];
    let operations: Vec<Op> =
        ["openat:read", "openat:create", "unlink", "rename", "connect:inet", "socket:inet"]
            .into_iter()
            .map(|op| Op::parse(op).unwrap())
            .collect();
    for file in ["app:cache/*.php", "app:cache/* : eval()'d code", "/tmp/compiled/*/*.php"] {
        profile.generated.push(Generated { pattern: file.into(), operations: operations[..2].to_vec() });
    }
    for n in 0..50_000_usize {
        let file = format!("app:src/Module{}/Component{}.php", n / 500, n / 10);
        let site =
            Site::function(file.clone(), Some(format!("App\\Module\\C{n}").into()), format!("method{n}"));
        for (bit, op) in operations.iter().enumerate() {
            if (n >> bit) & 1 == 1 {
                profile.grants.push(grant(Who::site(site.clone()), (*op, Vec::new(), false)));
            }
        }
        let cache = vec![paths(format!("/var/cache/{}/*", n % 500))];
        profile.grants.push(grant(Who::site(site), (operations[0], cache, false)));
        if n % 10 == 0 {
            profile.scripts.push(script(&file));
        }
    }
    let start = Instant::now();
    let policy = Policy::new(&profile);
    let compiled = start.elapsed();
    let start = Instant::now();
    let tables = Tables::new(&policy, KEY, GENERATION, &[]).unwrap();
    println!(
        "50,000 sites: policy {compiled:?}, tables {:?}: {} policies, {} rules, {} states",
        start.elapsed(),
        tables.policies.len(),
        tables.rules.len(),
        tables.automaton.len()
    );
    assert_eq!(tables.policies.len(), 50_000 + 5_000 + 1 + 1 + 106, "106 folders lie above the scripts");
}
