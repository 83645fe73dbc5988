//! Patterns as deterministic automata, in the plain form that the kernel side walks.
//!
//! `regex-automata` builds the automata; here they are run in lockstep where two must agree, minimised, and
//! renumbered.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::hash::Hash;

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, MatchKind};

use super::{ONCE_READ, ONCE_READ_FILES};
use crate::profile::{EVALUATED, FILELESS};

/// States of one automaton before it is minimised: twice what can be used, since patterns that need more are refused
/// soon and not after minutes.
const EXPLORED_MOST: usize = if cfg!(test) { 1 << 14 } else { 1 << 17 }; // tests are not optimized
/// Bytes that building one may need besides.
const BUILDING_MOST: usize = 128 << 20;

/// Why there is no automaton.
#[derive(Debug)]
pub(super) enum Failure {
    /// It would be larger than any that is used.
    TooLarge,
    /// The patterns could not be compiled.
    Refused(String),
}

// ---- what is said in regular expressions ----

/// A component that is neither empty nor `.` nor `..`.
const COMPONENT: &str = r"(?:[^/.][^/]*|\.[^/.][^/]*|\.\.[^/]+)";
/// A component other than `..`.
const NOT_UP: &str = r"(?:[^/.][^/]*|\.(?:[^/.][^/]*)?|\.\.[^/]+)?";

fn literal(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(out, r"\x{byte:02x}");
    }
}

fn one_of<T: AsRef<[u8]>>(words: &[T]) -> String {
    let mut out = String::from("(?:");
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            out.push('|');
        }
        literal(&mut out, word.as_ref());
    }
    out.push(')');
    out
}

/// One piece of a pattern: `None` is `*`.
fn tokens(pattern: &[u8]) -> impl Iterator<Item = (usize, Option<u8>)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        let token = match (pattern.get(at)?, pattern.get(at + 1)) {
            (b'*', _) => None,
            (b'\\', Some(&byte)) => {
                at += 1;
                Some(byte)
            }
            (&byte, _) => Some(byte),
        };
        at += 1;
        Some((start, token))
    })
}

/// What [`crate::profile::matches`] matches, but for odd components.
pub(super) fn glob(pattern: &[u8]) -> String {
    let mut out = String::with_capacity(pattern.len() * 4);
    for (_, token) in tokens(pattern) {
        match token {
            None => out.push_str("[^/]*"),
            Some(byte) => literal(&mut out, &[byte]),
        }
    }
    out
}

/// What follows a directory that matches.
pub(super) fn in_directory(directory: &[u8], rest: &str) -> String {
    format!("{}/{rest}", glob(directory))
}

/// Any bytes.
pub(super) const ANYTHING: &str = ".*";

/// Any of them.
pub(super) fn any_of(patterns: &[String]) -> String {
    format!("(?:{})", patterns.join("|"))
}

/// What is left of a pattern for what follows `prefix`. Several where a `*` may end within it.
pub(super) fn after<'a>(pattern: &'a [u8], prefix: &[u8]) -> BTreeSet<&'a [u8]> {
    let tokens: Vec<(usize, Option<u8>)> = tokens(pattern).collect();
    let closed = |mut at: usize, places: &mut BTreeSet<usize>| {
        places.insert(at);
        while tokens.get(at).is_some_and(|(_, token)| token.is_none()) {
            at += 1;
            places.insert(at);
        }
    };
    let mut places = BTreeSet::new();
    closed(0, &mut places);
    for &byte in prefix {
        let mut next = BTreeSet::new();
        for place in places {
            match tokens.get(place) {
                Some((_, None)) if byte != b'/' => closed(place, &mut next),
                Some((_, Some(literal))) if *literal == byte => closed(place + 1, &mut next),
                _ => {}
            }
        }
        places = next;
    }
    let offset = |place: usize| tokens.get(place).map_or(pattern.len(), |(offset, _)| *offset);
    places.into_iter().map(|place| &pattern[offset(place)..]).collect()
}

/// [`crate::profile::is_trusted_file`].
fn trusted() -> String {
    format!("/{COMPONENT}(?:/{COMPONENT})*|{}", one_of(&FILELESS))
}

/// [`crate::profile::is_wrapped`]; nothing where no wrapper is listed.
fn wrapped(wrappers: &[String]) -> Option<String> {
    let begins: Vec<String> = wrappers.iter().map(|scheme| format!("{scheme}://")).collect();
    (!begins.is_empty()).then(|| format!("{}{COMPONENT}(?:/{COMPONENT})*", one_of(&begins)))
}

/// [`crate::profile::is_evaluated`].
fn evaluated() -> String {
    format!("{ANYTHING}{}", one_of(&EVALUATED))
}

// ---- several patterns at once ----

/// Several patterns, told apart where they match.
struct Patterns {
    dfa: dense::DFA<Vec<u32>>,
    start: StateID,
}

impl Patterns {
    fn new(patterns: &[String]) -> Result<Self, Failure> {
        let refused = |error: &dyn std::error::Error| Failure::Refused(error.to_string());
        let nfa = thompson::Compiler::new()
            .configure(thompson::Config::new().utf8(false).which_captures(thompson::WhichCaptures::None))
            .syntax(syntax::Config::new().unicode(false).utf8(false).dot_matches_new_line(true))
            .build_many(patterns)
            .map_err(|error| refused(&error))?;
        let bytes_a_state = size_of::<u32>() << nfa.byte_classes().stride2();
        let config = dense::Config::new()
            .start_kind(StartKind::Anchored)
            .match_kind(MatchKind::All)
            .accelerate(false)
            .dfa_size_limit(Some(EXPLORED_MOST * bytes_a_state))
            .determinize_size_limit(Some(BUILDING_MOST));
        let dfa = dense::Builder::new().configure(config).build_from_nfa(&nfa).map_err(|error| {
            if error.is_size_limit_exceeded() { Failure::TooLarge } else { refused(&error) }
        })?;
        let start =
            dfa.start_state(&start::Config::new().anchored(Anchored::Yes)).map_err(|e| refused(&e))?;
        Ok(Self { dfa, start })
    }

    fn next(&self, state: StateID, byte: u8) -> StateID {
        self.dfa.next_state(state, byte)
    }

    fn is_dead(&self, state: StateID) -> bool {
        self.dfa.is_dead_state(state)
    }

    /// The numbers of the patterns that match what ends here.
    fn found(&self, state: StateID) -> impl Iterator<Item = usize> + '_ {
        let end = self.dfa.next_eoi_state(state);
        let matches = if self.dfa.is_match_state(end) { self.dfa.match_len(end) } else { 0 };
        (0..matches).map(move |index| self.dfa.match_pattern(end, index).as_usize())
    }

    fn class(&self, byte: u8) -> u8 {
        self.dfa.byte_classes().get(byte)
    }
}

// ---- automata as tables ----

/// A deterministic automaton: state 0 is dead. `A` is what is true of what ends in a state.
#[derive(Debug)]
pub(super) struct Automaton<A> {
    /// The column of each byte.
    columns: [u8; 256],
    width: usize,
    /// `width` successors a state.
    next: Vec<u32>,
    accept: Vec<A>,
    start: u32,
}

/// Bytes that nothing tells apart have one column.
struct Columns {
    of: [u8; 256],
    /// One byte of each.
    samples: Vec<u8>,
}

impl Columns {
    fn new<K: Eq + Hash>(key: impl Fn(u8) -> K) -> Self {
        let mut known = HashMap::new();
        let mut columns = Self { of: [0; 256], samples: Vec::new() };
        for byte in 0..=255 {
            columns.of[usize::from(byte)] = *known.entry(key(byte)).or_insert_with(|| {
                columns.samples.push(byte);
                (columns.samples.len() - 1) as u8
            });
        }
        columns
    }
}

impl<A: Clone + Default + Eq + Hash> Automaton<A> {
    /// Everything that can be reached from `start`; `step` gives `None` for the dead state.
    fn explore<S: Clone + Eq + Hash>(
        start: S,
        columns: &Columns,
        step: impl Fn(&S, u8) -> Option<S>,
        mut accept: impl FnMut(&S) -> A,
    ) -> Result<Self, Failure> {
        let width = columns.samples.len();
        let mut numbers = HashMap::from([(start.clone(), 1)]);
        let mut states = vec![start];
        let mut next = vec![0; width];
        let mut accepts = vec![A::default()];
        let mut at = 0;
        while let Some(state) = states.get(at).cloned() {
            at += 1;
            accepts.push(accept(&state));
            for &byte in &columns.samples {
                let number = step(&state, byte).map_or(0, |to| {
                    *numbers.entry(to).or_insert_with_key(|to| {
                        states.push(to.clone());
                        states.len() as u32
                    })
                });
                next.push(number);
            }
            if states.len() > EXPLORED_MOST {
                return Err(Failure::TooLarge);
            }
        }
        Ok(Self { columns: columns.of, width, next, accept: accepts, start: 1 }.minimised())
    }

    /// How many states there are, the dead one not counted.
    pub(super) fn len(&self) -> usize {
        self.accept.len() - 1
    }

    /// 0 where nothing is accepted.
    pub(super) fn start(&self) -> u32 {
        self.start
    }

    /// All states but the dead one, from 1: the successor for each byte, and what is accepted.
    pub(super) fn rows(&self) -> impl Iterator<Item = (impl Fn(u8) -> u32 + '_, &A)> + '_ {
        self.accept.iter().enumerate().skip(1).map(move |(state, accept)| {
            let row = &self.next[state * self.width..][..self.width];
            (move |byte: u8| row[usize::from(self.columns[usize::from(byte)])], accept)
        })
    }

    fn minimised(self) -> Self {
        let groups = self.groups();
        // Numbered in the order in which they are reached: equal automata are equal tables.
        let mut numbers = HashMap::from([(groups[0], 0)]);
        let mut members = vec![0];
        let mut number = |state: u32, members: &mut Vec<u32>| {
            *numbers.entry(groups[state as usize]).or_insert_with(|| {
                members.push(state);
                members.len() as u32 - 1
            })
        };
        let start = number(self.start, &mut members);
        let mut next = Vec::new();
        let mut at = 0;
        while let Some(&member) = members.get(at) {
            at += 1;
            let row = &self.next[member as usize * self.width..][..self.width];
            next.extend(row.iter().map(|&to| number(to, &mut members)));
        }
        let accept = members.iter().map(|&member| self.accept[member as usize].clone()).collect();
        Self { columns: self.columns, width: self.width, next, accept, start }
    }

    /// A number for each state, the same for those that nothing tells apart.
    ///
    /// Groups are split until the successors of all members are in the same groups. Only states of which a
    /// successor changed its group are looked at again, and the largest part of a group keeps its number, so that
    /// long chains cost little.
    fn groups(&self) -> Vec<u32> {
        let mut known = HashMap::new();
        let mut group: Vec<u32> = self
            .accept
            .iter()
            .map(|accept| {
                let fresh = known.len() as u32;
                *known.entry(accept).or_insert(fresh)
            })
            .collect();
        let mut sizes = vec![0_u32; known.len()];
        for &group in &group {
            sizes[group as usize] += 1;
        }
        let before = self.predecessors();
        let mut touched: Vec<u32> = (0..group.len() as u32).collect();
        while !touched.is_empty() {
            let mut parts: HashMap<u32, HashMap<Vec<u32>, Vec<u32>>> = HashMap::new();
            for &state in &touched {
                let row = &self.next[state as usize * self.width..][..self.width];
                let successors = row.iter().map(|&to| group[to as usize]).collect();
                let of_group = parts.entry(group[state as usize]).or_default();
                of_group.entry(successors).or_default().push(state);
            }
            let mut changed = Vec::new();
            for (old, parts) in parts {
                let mut parts: Vec<Vec<u32>> = parts.into_values().collect();
                let all: usize = parts.iter().map(Vec::len).sum();
                if all == sizes[old as usize] as usize {
                    // Nobody else is in it: the largest part stays.
                    let largest = (0..parts.len()).max_by_key(|&index| parts[index].len());
                    largest.map(|index| parts.swap_remove(index));
                }
                for part in parts {
                    sizes[old as usize] -= part.len() as u32;
                    sizes.push(part.len() as u32);
                    for &state in &part {
                        group[state as usize] = sizes.len() as u32 - 1;
                    }
                    changed.extend(part);
                }
            }
            let mut again: Vec<u32> = changed.iter().flat_map(|&state| before.of(state)).copied().collect();
            again.sort_unstable();
            again.dedup();
            touched = again;
        }
        group
    }

    fn predecessors(&self) -> Predecessors {
        let mut starts = vec![0_u32; self.accept.len() + 1];
        self.next.iter().for_each(|&to| starts[to as usize + 1] += 1);
        for state in 1..starts.len() {
            starts[state] += starts[state - 1];
        }
        let mut free = starts.clone();
        let mut states = vec![0; self.next.len()];
        for (edge, &to) in self.next.iter().enumerate() {
            let place = &mut free[to as usize];
            states[*place as usize] = (edge / self.width) as u32;
            *place += 1;
        }
        Predecessors { starts, states }
    }
}

struct Predecessors {
    starts: Vec<u32>,
    states: Vec<u32>,
}

impl Predecessors {
    fn of(&self, state: u32) -> &[u32] {
        let [from, to] = [state, state + 1].map(|index| self.starts[index as usize] as usize);
        &self.states[from..to]
    }
}

// ---- paths ----

/// Accepts the paths that match any of the patterns.
pub(super) fn paths<'a>(patterns: impl Iterator<Item = &'a [u8]>) -> Result<Automaton<bool>, Failure> {
    let globs: Vec<String> = patterns.map(glob).collect();
    all_of(&[any_of(&globs), format!("/?{COMPONENT}(?:/{COMPONENT})*")])
}

/// Accepts the paths below one of [`ONCE_READ`], and [`ONCE_READ_FILES`].
pub(super) fn once() -> Result<Automaton<bool>, Failure> {
    let below = format!("{}{NOT_UP}(?:/{NOT_UP})*", one_of(&ONCE_READ));
    all_of(&[any_of(&[below, one_of(&ONCE_READ_FILES)])])
}

/// Accepts what every one of the patterns matches.
fn all_of(patterns: &[String]) -> Result<Automaton<bool>, Failure> {
    let run = Patterns::new(patterns)?;
    let columns = Columns::new(|byte| run.class(byte));
    let step = |state: &StateID, byte| Some(run.next(*state, byte)).filter(|to| !run.is_dead(*to));
    Automaton::explore(run.start, &columns, step, |state| run.found(*state).count() == patterns.len())
}

// ---- names of files ----

/// What is asked about the name of a file.
#[derive(Debug, Default)]
pub(super) struct Names<'a> {
    /// Schemes of wrappers that are listed.
    pub wrappers: &'a [String],
    /// About the name as it is.
    pub plain: Vec<String>,
    /// About the name without lines, of evaluated code.
    pub without_lines: Vec<String>,
}

/// What is true of a name.
#[derive(Debug)]
pub(super) struct NameFound {
    pub trusted: bool,
    /// Of one of [`Names::wrappers`].
    pub wrapped: bool,
    pub evaluated: bool,
    /// Numbers of those of [`Names::plain`].
    pub plain: Vec<usize>,
    /// Numbers of those of [`Names::without_lines`]; none where the name is not evaluated.
    pub without_lines: Vec<usize>,
}

/// Tells what `Names` asks about whole names, as PHP has them.
pub(super) fn names<A: Clone + Default + Eq + Hash>(
    asked: &Names<'_>,
    mut accept: impl FnMut(&NameFound) -> A,
) -> Result<Automaton<A>, Failure> {
    let last = 2 + asked.plain.len();
    let plain = [trusted(), evaluated()].into_iter().chain(asked.plain.iter().cloned());
    let plain: Vec<String> = plain.chain(wrapped(asked.wrappers)).collect();
    let plain = Patterns::new(&plain)?;
    let stripped =
        if asked.without_lines.is_empty() { None } else { Some(Patterns::new(&asked.without_lines)?) };
    let columns =
        Columns::new(|byte| (plain.class(byte), stripped.as_ref().map(|run| (run.class(byte), mark(byte)))));
    let start = (plain.start, stripped.as_ref().map(|run| Stripped::new(run.start)));
    let step = |(one, other): &(StateID, Option<Stripped>), byte| {
        let one = plain.next(*one, byte);
        let other = stripped.as_ref().zip(other.as_ref()).and_then(|(run, state)| state.next(run, byte));
        // What is not trusted in the end says nothing but whether it is evaluated: `plain` never dies.
        Some((one, other))
    };
    Automaton::explore(start, &columns, step, |(one, other)| {
        let found: Vec<usize> = plain.found(*one).collect();
        let evaluated = found.contains(&1);
        let without_lines = match (&stripped, other) {
            (Some(run), Some(state)) if evaluated => run.found(state.keep).collect(),
            _ => Vec::new(),
        };
        accept(&NameFound {
            trusted: found.contains(&0),
            wrapped: found.contains(&last),
            evaluated,
            plain: found
                .into_iter()
                .filter(|number| (2..last).contains(number))
                .map(|number| number - 2)
                .collect(),
            without_lines,
        })
    })
}

/// What [`Stripped`] tells apart.
fn mark(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => b'0',
        b'(' | b')' => byte,
        _ if EVALUATED.iter().any(|made| made.contains(&byte)) => byte,
        _ => 0,
    }
}

/// A run over [`crate::profile::without_lines`] of what was read: whether a `(12)` is cut off shows only once what
/// made the code stands behind it whole, so until then both runs go on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Stripped {
    /// Nothing that is still open is cut off.
    keep: StateID,
    cuts: Vec<Cut>,
}

/// What may turn out to be a line that is cut off. Two at most: `(1) : eval(2) : eval()'d code`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Cut {
    seen: Seen,
    /// As if it were not there.
    state: StateID,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Seen {
    /// `(`
    Open,
    /// `(1`
    Digits,
    /// `(1)`, and so many bytes of those of [`EVALUATED`] that have a bit.
    Made { len: u8, which: u8 },
}

const ALL_MADE: u8 = (1 << EVALUATED.len()) - 1;

impl Stripped {
    fn new(start: StateID) -> Self {
        Self { keep: start, cuts: Vec::new() }
    }

    /// `None` where nothing can match any more.
    fn next(&self, run: &Patterns, byte: u8) -> Option<Self> {
        let mut keep = run.next(self.keep, byte);
        let mut cuts = Vec::new();
        let mut is_cut = false;
        for cut in &self.cuts {
            let Some(seen) = cut.seen.next(byte) else { continue };
            let moves = matches!(seen, Seen::Made { len: 1.., .. });
            let state = if moves { run.next(cut.state, byte) } else { cut.state };
            if seen.is_whole() {
                (keep, is_cut) = (state, true);
                break;
            }
            // Both runs are one from here on.
            if !(moves && state == keep) {
                cuts.push(Cut { seen, state });
            }
        }
        if is_cut {
            cuts.clear();
        }
        if byte == b'(' {
            cuts.push(Cut { seen: Seen::Open, state: self.keep });
        }
        let dead = |state| run.is_dead(state);
        let alive = !(dead(keep) && cuts.iter().all(|cut| dead(cut.state)));
        alive.then_some(Self { keep, cuts })
    }
}

impl Seen {
    /// `None` where it is no line that is cut off.
    fn next(self, byte: u8) -> Option<Self> {
        match self {
            Self::Open | Self::Digits if byte.is_ascii_digit() => Some(Self::Digits),
            Self::Digits if byte == b')' => Some(Self::Made { len: 0, which: ALL_MADE }),
            Self::Open | Self::Digits => None,
            Self::Made { len, which } => {
                let goes_on = |made: &[u8]| made.get(usize::from(len)) == Some(&byte);
                let which = (0..EVALUATED.len())
                    .filter(|&index| which >> index & 1 == 1 && goes_on(EVALUATED[index]))
                    .fold(0, |which, index| which | 1 << index);
                (which != 0).then_some(Self::Made { len: len + 1, which })
            }
        }
    }

    fn is_whole(self) -> bool {
        let Self::Made { len, which } = self else { return false };
        (0..EVALUATED.len())
            .any(|index| which >> index & 1 == 1 && EVALUATED[index].len() == usize::from(len))
    }
}
