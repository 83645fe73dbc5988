//! What is judged: operations, sets of them, and the arguments of a call as text.
//!
//! An operation is a system call and the class of its arguments; the classes of
//! each kind are one fixed table, numbered in `intf.h`.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

use crate::intf::{self, Call};
use crate::site::escape;

pub use args::{Args, ArgsSeen, describe_args, signal_name};
pub use rewriting::{ByteValue, Rewriting, describe as describe_rewriting, empty_path_bit, rewriting};

mod args;
pub mod lsm;
mod rewriting;

/// The names of the classes of each kind, in the order of their numbers.
pub fn class_names(kind: u8) -> &'static [&'static str] {
    match u32::from(kind) {
        intf::CLASS_OPEN | intf::CLASS_OPEN_HOW => &["read", "write", "create", "truncate", "path"],
        intf::CLASS_CLONE | intf::CLASS_CLONE3 => &["process", "thread", "namespace"],
        intf::CLASS_KILL => &["self", "subject", "stranger"],
        intf::CLASS_FAMILY | intf::CLASS_ADDRESS | intf::CLASS_SENDTO | intf::CLASS_SENDMSG => {
            &["other", "unix", "inet", "inet6", "netlink", "packet", "unspec", "none"]
        }
        intf::CLASS_MMAP | intf::CLASS_MPROTECT | intf::CLASS_SHMAT => &["plain", "exec"],
        intf::CLASS_FCNTL => &["plain", "own", "lease", "seal", "other"],
        intf::CLASS_IOCTL => &["plain", "tty", "change", "other"],
        intf::CLASS_PRCTL => &["plain", "privilege", "trace", "process", "other"],
        intf::CLASS_IPC => &["plain", "change"],
        intf::CLASS_LIMITS | intf::CLASS_WHOSE | intf::CLASS_WHICH => &["self", "other"],
        _ => &[],
    }
}

const UNREADABLE: &str = "unreadable";

/// The pseudo calls: (number, name).
const PSEUDO: [(u32, &str); 3] =
    [(intf::NR_EXEC, "exec"), (intf::NR_FOREIGN, "foreign"), (intf::NR_UNKNOWN, "unknown")];

/// Whoever may use one of these is outside every policy, or judged without a
/// grant: every selection contains them.
const ALWAYS: [u32; 6] = [
    intf::NR_FOREIGN,
    intf::NR_UNKNOWN,
    nr::BPF as u32,
    nr::IO_URING_SETUP as u32,
    nr::IO_URING_ENTER as u32,
    nr::IO_URING_REGISTER as u32,
];

/// Numbers that rules name. A test compares them with the table.
pub(crate) mod nr {
    pub const OPEN: u16 = 2;
    pub const MMAP: u16 = 9;
    pub const MPROTECT: u16 = 10;
    pub const SOCKET: u16 = 41;
    pub const EXECVE: u16 = 59;
    pub const TRUNCATE: u16 = 76;
    pub const RENAME: u16 = 82;
    pub const MKDIR: u16 = 83;
    pub const RMDIR: u16 = 84;
    pub const CREAT: u16 = 85;
    pub const LINK: u16 = 86;
    pub const UNLINK: u16 = 87;
    pub const SYMLINK: u16 = 88;
    pub const MKNOD: u16 = 133;
    pub const OPENAT: u16 = 257;
    pub const MKDIRAT: u16 = 258;
    pub const MKNODAT: u16 = 259;
    pub const UNLINKAT: u16 = 263;
    pub const RENAMEAT: u16 = 264;
    pub const LINKAT: u16 = 265;
    pub const SYMLINKAT: u16 = 266;
    pub const RENAMEAT2: u16 = 316;
    pub const BPF: u16 = 321;
    pub const EXECVEAT: u16 = 322;
    pub const IO_URING_SETUP: u16 = 425;
    pub const IO_URING_ENTER: u16 = 426;
    pub const IO_URING_REGISTER: u16 = 427;
    pub const OPENAT2: u16 = 437;
}

/// An operation: the number of a call times 16, plus its argument class.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Op(u16);

impl Op {
    /// A program was started; judged by (origin, program).
    pub const EXEC: Self = Self::new(intf::NR_EXEC as u16, 0);
    /// A 32-bit or x32 call.
    pub const FOREIGN: Self = Self::new(intf::NR_FOREIGN as u16, 0);
    /// A call that the table does not know.
    pub const UNKNOWN: Self = Self::new(intf::NR_UNKNOWN as u16, 0);

    /// Number and class; a number out of range is [`Op::UNKNOWN`], a class out of range unreadable.
    pub const fn new(nr: u16, class: u8) -> Self {
        let class = if class > 15 { 15 } else { class as u16 };
        if (nr as u32) < intf::NR_MAX {
            Self(nr << intf::CLASS_BITS | class)
        } else {
            Self((intf::NR_UNKNOWN << intf::CLASS_BITS) as u16)
        }
    }

    /// The number that records carry; `None` where it is out of range.
    pub const fn from_raw(raw: u16) -> Option<Self> {
        if (raw as u32) < intf::OPS_MAX { Some(Self(raw)) } else { None }
    }

    /// The number that records carry.
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// The number of the call.
    pub const fn nr(self) -> u16 {
        self.0 >> intf::CLASS_BITS
    }

    /// The argument class.
    pub const fn class(self) -> u8 {
        (self.0 & 15) as u8
    }

    /// The argument that decides the class could not be read.
    pub const fn is_unreadable(self) -> bool {
        self.class() == intf::CLASS_UNREADABLE as u8
    }

    /// Whether its system call is one of these.
    pub fn is_one_of(self, names: &[&str]) -> bool {
        self.call().is_some_and(|call| names.contains(&call.name))
    }

    /// The table's row of the call.
    pub fn call(self) -> Option<&'static Call> {
        intf::call(u32::from(self.nr()))
    }

    /// Whether the tables give this operation a name.
    pub fn is_named(self) -> bool {
        match self.call() {
            Some(call) => classes(call).any(|class| class == self.class()),
            None => self.class() == 0 && PSEUDO.iter().any(|&(nr, _)| nr == u32::from(self.nr())),
        }
    }

    /// `unlink`, `openat:create`, `exec`, …
    pub fn parse(text: &str) -> Result<Self, OpError> {
        let (name, class) = match text.split_once(':') {
            Some((name, class)) => (name, Some(class)),
            None => (text, None),
        };
        let (nr, classes) = match lookup(name)? {
            Named::Pseudo(nr) => (nr, &[][..]),
            Named::Call(call) => (call.nr, class_names(call.class_kind)),
        };
        match (class, classes) {
            (None, []) => Ok(Self::new(nr, 0)),
            (None, classes) => Err(OpError::ClassMissing { name: name.into(), classes: classes.join(", ") }),
            (Some(class), []) => {
                Err(OpError::NoClasses { name: name.into(), class: escape(class.as_bytes()) })
            }
            (Some(UNREADABLE), _) => Ok(Self::new(nr, intf::CLASS_UNREADABLE as u8)),
            (Some(class), classes) => match classes.iter().position(|known| *known == class) {
                Some(index) => Ok(Self::new(nr, index as u8)),
                None => Err(OpError::UnknownClass {
                    name: name.into(),
                    class: escape(class.as_bytes()),
                    hint: did_you_mean(class, classes.iter().copied())
                        .unwrap_or_else(|| format!("it has {}", classes.join(", "))),
                }),
            },
        }
    }
}

/// The classes that calls of this kind can have, the unreadable one included.
fn classes(call: &Call) -> impl Iterator<Item = u8> + use<> {
    let named = class_names(call.class_kind).len() as u8;
    let unreadable = (named > 0).then_some(intf::CLASS_UNREADABLE as u8);
    (0..named.max(1)).chain(unreadable)
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = usize::from(self.class());
        let text = match self.call() {
            Some(call) => match class_names(call.class_kind).get(class) {
                Some(name) => format!("{}:{name}", call.name),
                None if self.is_unreadable() => format!("{}:{UNREADABLE}", call.name),
                None if class == 0 => call.name.to_owned(),
                None => format!("{}:#{class}", call.name),
            },
            None => match PSEUDO.iter().find(|&&(nr, _)| nr == u32::from(self.nr())) {
                Some((_, name)) => (*name).to_owned(),
                None => format!("call#{}", self.nr()),
            },
        };
        f.pad(&text)
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Op {
    type Err = OpError;

    fn from_str(text: &str) -> Result<Self, OpError> {
        Self::parse(text)
    }
}

impl Serialize for Op {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Op {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(|error| de::Error::custom(format!("{error} ({})", error.hint())))
    }
}

/// A text that names no operation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpError {
    /// No such call.
    #[error("there is no system call `{name}`")]
    UnknownCall {
        /// What was asked for.
        name: String,
        /// What to do.
        hint: String,
    },
    /// The call has no such class.
    #[error("`{name}` has no argument class `{class}`")]
    UnknownClass {
        /// The call.
        name: String,
        /// What was asked for.
        class: String,
        /// What to do.
        hint: String,
    },
    /// The call has classes, and one must be named.
    #[error("`{name}` needs an argument class")]
    ClassMissing {
        /// The call.
        name: String,
        /// Its classes.
        classes: String,
    },
    /// The call has no classes.
    #[error("`{name}` has no argument classes, but `:{class}` follows it")]
    NoClasses {
        /// The call.
        name: String,
        /// What was asked for.
        class: String,
    },
    /// Nothing between two commas, or nothing at all.
    #[error("an empty name in the list of system calls")]
    Empty,
}

impl OpError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::UnknownCall { hint, .. } | Self::UnknownClass { hint, .. } => hint.clone(),
            Self::ClassMissing { name, classes } => format!("write `{name}:CLASS`; it has {classes}"),
            Self::NoClasses { name, .. } => format!("write `{name}`"),
            Self::Empty => "write relevant, all, seed, or NAME[:CLASS] separated by commas".into(),
        }
    }
}

enum Named {
    Call(&'static Call),
    Pseudo(u16),
}

fn lookup(name: &str) -> Result<Named, OpError> {
    if name.is_empty() {
        return Err(OpError::Empty);
    }
    if let Some(call) = intf::calls().iter().find(|call| call.name == name) {
        return Ok(Named::Call(call));
    }
    if let Some((nr, _)) = PSEUDO.iter().find(|(_, pseudo)| *pseudo == name) {
        return Ok(Named::Pseudo(*nr as u16));
    }
    let names = intf::calls().iter().map(|call| call.name).chain(["exec", "relevant", "all", "seed"]);
    let hint = did_you_mean(name, names)
        .unwrap_or_else(|| "names are those of x86-64 Linux, in lower case: openat, unlink, connect".into());
    Err(OpError::UnknownCall { name: escape(name.as_bytes()), hint })
}

fn did_you_mean<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let longest = (text.chars().count() / 3).clamp(1, 3);
    known
        .map(|candidate| (distance(text, candidate), candidate))
        .filter(|(distance, _)| *distance <= longest)
        .min()
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

/// How many characters must be inserted, removed or replaced.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

const WORDS: usize = (intf::OPS_MAX / 64) as usize;

/// A set of operations: one bit each.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OpSet(Box<[u64; WORDS]>);

impl Default for OpSet {
    fn default() -> Self {
        Self(Box::new([0; WORDS]))
    }
}

impl OpSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the operation is in it.
    pub fn contains(&self, op: Op) -> bool {
        self.0[usize::from(op.0) / 64] >> (op.0 % 64) & 1 == 1
    }

    /// Adds an operation.
    pub fn insert(&mut self, op: Op) {
        self.0[usize::from(op.0) / 64] |= 1 << (op.0 % 64);
    }

    /// Removes an operation.
    pub fn remove(&mut self, op: Op) {
        self.0[usize::from(op.0) / 64] &= !(1 << (op.0 % 64));
    }

    /// Adds everything that is in the other.
    pub fn union(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0.iter()).for_each(|(mine, theirs)| *mine |= theirs);
    }

    /// Whether everything of it is in the other.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0.iter()).all(|(mine, theirs)| mine & !theirs == 0)
    }

    /// Whether any class of this call is in it.
    pub fn contains_call(&self, nr: u16) -> bool {
        (0..16).any(|class| self.contains(Op::new(nr, class)))
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// How many operations are in it.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Its operations, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Op> + '_ {
        (0..intf::OPS_MAX as u16).map(Op).filter(|op| self.contains(*op))
    }

    /// One bit an operation, as the BPF side has it: 128 words.
    pub fn words(&self) -> &[u64] {
        &self.0[..]
    }
}

impl FromIterator<Op> for OpSet {
    fn from_iter<T: IntoIterator<Item = Op>>(ops: T) -> Self {
        let mut set = Self::new();
        ops.into_iter().for_each(|op| set.insert(op));
        set
    }
}

impl fmt::Debug for OpSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Relevant,
    All,
    Seed,
    /// A call: all its classes, or one.
    Call(u16, Option<u8>),
}

/// Which operations are policed: `relevant`, `all`, `seed`, `NAME[:CLASS]`,
/// separated by commas.
///
/// Every selection has the 32-bit calls, the numbers that the table does not
/// know, `bpf` and `io_uring`: they are ways around any selection. It has `exec`
/// where it has `execve` or `execveat`, and the unreadable class of each of its
/// calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection(Vec<Item>);

impl Default for Selection {
    fn default() -> Self {
        Self(vec![Item::Relevant])
    }
}

static RELEVANT: LazyLock<OpSet> = LazyLock::new(|| {
    let relevant = |op: &Op| {
        let Some(call) = op.call() else { return false };
        let plain = |kind| u32::from(call.class_kind) == kind && op.class() == 0;
        let nobody = |kind| u32::from(call.class_kind) == kind && u32::from(op.class()) == intf::FAMILY_NONE;
        u32::from(call.sets) & intf::SET_RELEVANT != 0
            && ![
                intf::CLASS_MMAP,
                intf::CLASS_MPROTECT,
                intf::CLASS_FCNTL,
                intf::CLASS_IOCTL,
                intf::CLASS_PRCTL,
                intf::CLASS_IPC,
                intf::CLASS_LIMITS,
                intf::CLASS_WHOSE,
                intf::CLASS_WHICH,
            ]
            .into_iter()
            .any(plain)
            && ![intf::CLASS_SENDTO, intf::CLASS_SENDMSG].into_iter().any(nobody)
    };
    every().filter(relevant).collect()
});

/// Every operation of every call of the table.
fn every() -> impl Iterator<Item = Op> {
    intf::calls().iter().flat_map(|call| classes(call).map(|class| Op::new(call.nr, class)))
}

impl Selection {
    /// The operations that are policed.
    pub fn ops(&self) -> OpSet {
        let mut set: OpSet = ALWAYS
            .iter()
            .flat_map(|&nr| match intf::call(nr) {
                Some(call) => classes(call).map(|class| Op::new(call.nr, class)).collect(),
                None => vec![Op::new(nr as u16, 0)],
            })
            .collect();
        for item in &self.0 {
            match item {
                Item::Relevant => set.union(&RELEVANT),
                Item::All => every().for_each(|op| set.insert(op)),
                Item::Seed => every()
                    .filter(|op| op.call().is_some_and(|call| u32::from(call.sets) & intf::SET_SEED != 0))
                    .for_each(|op| set.insert(op)),
                Item::Call(nr, None) => match intf::call(u32::from(*nr)) {
                    Some(call) => classes(call).for_each(|class| set.insert(Op::new(*nr, class))),
                    None => set.insert(Op::new(*nr, 0)),
                },
                Item::Call(nr, Some(class)) => {
                    set.insert(Op::new(*nr, *class));
                    set.insert(Op::new(*nr, intf::CLASS_UNREADABLE as u8));
                }
            }
        }
        if set.contains_call(nr::EXECVE) || set.contains_call(nr::EXECVEAT) {
            set.insert(Op::EXEC);
        }
        set
    }

    /// The calls that it names one by one.
    pub fn named(&self) -> impl Iterator<Item = Op> + '_ {
        self.0.iter().filter_map(|item| match item {
            Item::Call(nr, class) => Some(Op::new(*nr, class.unwrap_or(0))),
            _ => None,
        })
    }

    /// Both together.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut items: Vec<Item> = self.0.iter().chain(&other.0).copied().collect();
        items.sort_unstable();
        items.dedup();
        Self(items)
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match item {
                Item::Relevant => f.write_str("relevant")?,
                Item::All => f.write_str("all")?,
                Item::Seed => f.write_str("seed")?,
                Item::Call(nr, Some(class)) => write!(f, "{}", Op::new(*nr, *class))?,
                Item::Call(nr, None) => match intf::call(u32::from(*nr)) {
                    Some(call) => f.write_str(call.name)?,
                    None => write!(f, "{}", Op::new(*nr, 0))?,
                },
            }
        }
        Ok(())
    }
}

impl FromStr for Selection {
    type Err = OpError;

    fn from_str(text: &str) -> Result<Self, OpError> {
        let item = |text: &str| match text {
            "relevant" => Ok(Item::Relevant),
            "all" => Ok(Item::All),
            "seed" => Ok(Item::Seed),
            text if text.contains(':') => Op::parse(text).map(|op| Item::Call(op.nr(), Some(op.class()))),
            text => lookup(text).map(|named| match named {
                Named::Call(call) => Item::Call(call.nr, None),
                Named::Pseudo(nr) => Item::Call(nr, None),
            }),
        };
        let items = text.split(',').map(|part| item(part.trim())).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(items).union(&Self(Vec::new())))
    }
}

impl Serialize for Selection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Selection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|error: OpError| de::Error::custom(format!("{error} ({})", error.hint())))
    }
}

/// The row of the call as the BPF side wants it; all zero where the table does not know it.
pub fn desc(nr: u32) -> intf::call_desc {
    let Some(call) = intf::call(nr) else { return intf::call_desc::default() };
    let place = |wanted: &[u8]| {
        call.args.bytes().position(|letter| wanted.contains(&letter)).map_or(0, |index| index as u8 + 1)
    };
    let addr_arg = place(b"a");
    let mut desc = intf::call_desc {
        class_kind: call.class_kind,
        class_arg: call.class_arg,
        path_arg: place(b"pP"),
        path2_arg: place(b"q"),
        addr_arg,
        // A length elsewhere is not that of an address.
        addrlen_arg: if addr_arg == 0 { 0 } else { addr_arg + 1 },
        msghdr_arg: place(b"M"),
        known: 1,
        pid_args: call
            .args
            .bytes()
            .enumerate()
            .filter(|(_, letter)| *letter == b'i')
            .map(|(n, _)| 1 << n)
            .sum(),
        ..Default::default()
    };
    rewriting::fill(&mut desc, call);
    desc
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_stable() {
        for (text, raw) in [
            ("read", 0),
            ("unlink", 87 * 16),
            ("openat:read", 257 * 16),
            ("openat:create", 257 * 16 + 2),
            ("openat:unreadable", 257 * 16 + 15),
            ("clone:thread", 56 * 16 + 1),
            ("socket:inet", 41 * 16 + 2),
            ("connect:unix", 42 * 16 + 1),
            ("mmap:exec", 9 * 16 + 1),
            ("mmap:plain", 9 * 16),
            ("kill:stranger", 62 * 16 + 2),
            ("fcntl:own", 72 * 16 + 1),
            ("ioctl:tty", 16 * 16 + 1),
            ("prctl:privilege", 157 * 16 + 1),
            ("exec", 508 * 16),
            ("foreign", 509 * 16),
            ("unknown", 510 * 16),
        ] {
            assert_eq!(Op::parse(text).unwrap().raw(), raw, "{text}");
            assert_eq!(Op::from_raw(raw).unwrap().to_string(), text);
        }
    }

    #[test]
    fn every_operation_round_trips() {
        for op in every().chain([Op::EXEC, Op::FOREIGN, Op::UNKNOWN]) {
            assert!(op.is_named());
            assert_eq!(Op::parse(&op.to_string()).unwrap(), op);
        }
    }

    #[test]
    fn the_rules_numbers_are_the_tables() {
        for (nr, name) in [
            (nr::OPEN, "open"),
            (nr::MMAP, "mmap"),
            (nr::MPROTECT, "mprotect"),
            (nr::EXECVE, "execve"),
            (nr::TRUNCATE, "truncate"),
            (nr::RENAME, "rename"),
            (nr::MKDIR, "mkdir"),
            (nr::RMDIR, "rmdir"),
            (nr::CREAT, "creat"),
            (nr::LINK, "link"),
            (nr::UNLINK, "unlink"),
            (nr::SYMLINK, "symlink"),
            (nr::MKNOD, "mknod"),
            (nr::OPENAT, "openat"),
            (nr::MKDIRAT, "mkdirat"),
            (nr::MKNODAT, "mknodat"),
            (nr::UNLINKAT, "unlinkat"),
            (nr::RENAMEAT, "renameat"),
            (nr::LINKAT, "linkat"),
            (nr::SYMLINKAT, "symlinkat"),
            (nr::RENAMEAT2, "renameat2"),
            (nr::BPF, "bpf"),
            (nr::EXECVEAT, "execveat"),
            (nr::IO_URING_SETUP, "io_uring_setup"),
            (nr::IO_URING_ENTER, "io_uring_enter"),
            (nr::IO_URING_REGISTER, "io_uring_register"),
            (nr::OPENAT2, "openat2"),
        ] {
            assert_eq!(intf::call(u32::from(nr)).map(|call| call.name), Some(name));
        }
    }

    #[test]
    fn wrong_names_have_hints() {
        for (text, message, hint) in [
            ("unlnk", "there is no system call `unlnk`", "did you mean `unlink`?"),
            ("openat:creat", "`openat` has no argument class `creat`", "did you mean `create`?"),
            (
                "openat",
                "`openat` needs an argument class",
                "write `openat:CLASS`; it has read, write, create, truncate, path",
            ),
            ("unlink:x", "`unlink` has no argument classes, but `:x` follows it", "write `unlink`"),
        ] {
            let error = Op::parse(text).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.hint().as_str()), (message, hint));
        }
        assert_eq!("relevnt".parse::<Selection>().unwrap_err().hint(), "did you mean `relevant`?");
        assert_eq!("unlink,,open".parse::<Selection>().unwrap_err(), OpError::Empty);
        assert_eq!("".parse::<Selection>().unwrap_err(), OpError::Empty);
    }

    fn ops(selection: &str) -> OpSet {
        selection.parse::<Selection>().unwrap().ops()
    }

    fn has(selection: &str, op: &str) -> bool {
        ops(selection).contains(Op::parse(op).unwrap())
    }

    #[test]
    fn relevant_leaves_out_what_is_not() {
        for op in [
            "mmap:plain",
            "mprotect:plain",
            "pkey_mprotect:plain",
            "fcntl:plain",
            "ioctl:plain",
            "prctl:plain",
            "sendto:none",
            "sendmsg:none",
            "sendmmsg:none",
            "semctl:plain",
            "setpriority:self",
            "sched_setaffinity:self",
            "read",
            "accept",
        ] {
            assert!(!has("relevant", op), "{op}");
            assert!(has("all", op), "{op}");
        }
        for op in [
            "mmap:exec",
            "mmap:unreadable",
            "setpriority:other",
            "ioprio_set:other",
            "quotactl_fd",
            "sched_setattr:other",
            "shmget",
            "shmat:plain",
            "semtimedop",
            "msgsnd",
            "msgrcv",
            "openat:read",
            "openat:unreadable",
            "sendto:inet",
            "connect:none",
            "exec",
            "foreign",
            "unknown",
        ] {
            assert!(has("relevant", op), "{op}");
        }
        assert!(ops("relevant").is_subset(&ops("all")) && !ops("all").is_subset(&ops("relevant")));
    }

    #[test]
    fn lists_select_calls_and_classes() {
        assert!(has("unlink,openat:create", "openat:create"));
        assert!(has("unlink,openat:create", "openat:unreadable"));
        assert!(!has("unlink,openat:create", "openat:read"));
        assert!(has("openat", "openat:read"));
        for always in ["foreign", "unknown", "bpf", "io_uring_setup", "io_uring_enter", "io_uring_register"] {
            assert!(has("unlink", always), "{always}");
        }
        assert!(!has("unlink", "exec") && has("execve", "exec") && has("exec", "exec"));
        let seed: std::collections::BTreeSet<u16> = ops("seed").iter().map(Op::nr).collect();
        assert_eq!(seed.len(), 20 + 1 + ALWAYS.len());
    }

    #[test]
    fn selections_are_written_in_one_way() {
        let text = |text: &str| text.parse::<Selection>().unwrap().to_string();
        assert_eq!(text("unlink, seed,openat:create,unlink"), "seed,unlink,openat:create");
        assert_eq!(Selection::default().to_string(), "relevant");
    }

    #[test]
    fn descriptions_have_argument_numbers_from_one() {
        let openat = desc(257);
        assert_eq!((openat.path_arg, openat.path2_arg, openat.class_arg, openat.known), (2, 0, 2, 1));
        let renameat2 = desc(316);
        assert_eq!((renameat2.path_arg, renameat2.path2_arg), (2, 4));
        let sendto = desc(44);
        assert_eq!((sendto.addr_arg, sendto.addrlen_arg), (5, 6));
        assert_eq!(desc(9).addrlen_arg, 0);
        assert_eq!(desc(46).msghdr_arg, 2);
        assert_eq!(desc(59).path_arg, 1);
        assert_eq!(desc(400), intf::call_desc::default());
        for call in intf::calls().iter().filter(|call| call.args.contains('a')) {
            assert!(call.args.contains("al"), "{}", call.name);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text: String) {
            let _ = text.parse::<Selection>();
            let _ = Op::parse(&text);
        }

        #[test]
        fn sets_contain_what_was_put_in(raws in proptest::collection::btree_set(0..intf::OPS_MAX as u16, 0..40)) {
            let set: OpSet = raws.iter().map(|&raw| Op(raw)).collect();
            prop_assert_eq!(set.len(), raws.len());
            prop_assert!(set.iter().map(Op::raw).eq(raws.iter().copied()));
        }
    }
}
