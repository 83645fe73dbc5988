//! The binary format.
//!
//! A header of 52 bytes: `PHPPROF\0`, format version (u32), payload length (u64),
//! SHA-256 of the payload; little endian. The payload is a row of sections: a
//! tag of four letters, a length (u64), and that many bytes of bincode.
//!
//! Nothing is allocated by a length that the file claims: names are borrowed
//! from its bytes, and lists grow as their items are read.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::{
    Attribution, Constraint, Context, Generated, Grant, GrantMode, Learned, Php, Profile, ProfileError, Root,
    Script, View, Who, caps,
};
use crate::op::Op;
use crate::site::{Name, OriginEntry, Site, SiteKind};

const MAGIC: &[u8; 8] = b"PHPPROF\0";
const VERSION: u32 = 1;
const HEADER: usize = 8 + 4 + 8 + 32;

const META: [u8; 4] = *b"META";
const ROOTS: [u8; 4] = *b"ROOT";
const GENERATED: [u8; 4] = *b"GENR";
const SCRIPTS: [u8; 4] = *b"SCRP";
const SITES: [u8; 4] = *b"SITE";
const GRANTS: [u8; 4] = *b"GRNT";
const LEARNED: [u8; 4] = *b"LRND";
/// Only where there is something in them: programs that do not know them refuse them by name.
const WRAPPERS: [u8; 4] = *b"WRAP";
const CONTEXT: [u8; 4] = *b"CTXT";
const SECTIONS: [[u8; 4]; 9] = [META, ROOTS, GENERATED, SCRIPTS, SITES, GRANTS, LEARNED, WRAPPERS, CONTEXT];

/// How a profile is written in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// Header and sections.
    Binary,
    /// For people and `git diff`.
    Json,
}

impl Face {
    /// Told by the first byte that is no space.
    pub fn of(bytes: &[u8]) -> Self {
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => Self::Json,
            _ => Self::Binary,
        }
    }
}

impl Profile {
    /// Loads a file in either face; which one is told by its content.
    pub fn load(path: &Path) -> Result<Self, ProfileError> {
        Self::load_face(path).map(|(profile, _)| profile)
    }

    /// Loads a file, and says which face it had.
    pub fn load_face(path: &Path) -> Result<(Self, Face), ProfileError> {
        let file = File::open(path).map_err(|source| ProfileError::Read { path: path.into(), source })?;
        let bytes = read_bounded(&file, path)?;
        Ok((Self::from_bytes(&bytes)?, Face::of(&bytes)))
    }

    /// Reads either face from memory.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProfileError> {
        match Face::of(bytes) {
            Face::Json => Self::from_json(bytes),
            Face::Binary => decode(bytes),
        }
    }

    /// The binary face.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut sorted = self.clone();
        sorted.normalize();
        encode(&sorted)
    }

    /// SHA-256 of the content, in hexadecimal: which profile an event speaks of.
    pub fn checksum(&self) -> String {
        let bytes = self.to_bytes();
        crate::site::to_hex(&bytes[20..HEADER])
    }

    /// Writes the face that is asked for; see [`save`](Self::save).
    pub fn save_face(&self, path: &Path, face: Face, overwrite: bool) -> Result<(), ProfileError> {
        self.check()?;
        match face {
            Face::Binary => write_beside(path, &self.to_bytes(), overwrite),
            Face::Json => write_beside(path, self.to_json().as_bytes(), overwrite),
        }
    }

    /// Writes the binary face: beside, synced, renamed, the directory synced.
    /// Where that fails, the old file is still there and nothing is left over.
    /// Without `overwrite` a file that is there is an error.
    pub fn save(&self, path: &Path, overwrite: bool) -> Result<(), ProfileError> {
        self.save_face(path, Face::Binary, overwrite)
    }
}

impl Profile {
    /// Whether a profile could be written there now; nothing is left of the attempt.
    pub fn check_place(path: &Path) -> Result<(), ProfileError> {
        beside(path).map(drop)
    }
}

pub(super) fn read_bounded(file: &File, path: &Path) -> Result<Vec<u8>, ProfileError> {
    let read = |source| ProfileError::Read { path: path.into(), source };
    let size = file.metadata().map_err(read)?.len();
    if size > caps::FILE {
        return Err(ProfileError::TooLarge { size, cap: caps::FILE });
    }
    let mut bytes = Vec::with_capacity(size as usize);
    // It can have grown since, or be no regular file.
    file.take(caps::FILE + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > caps::FILE {
        return Err(ProfileError::TooLarge { size: bytes.len() as u64, cap: caps::FILE });
    }
    Ok(bytes)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removed when dropped, unless it is renamed.
fn beside(path: &Path) -> Result<tempfile::NamedTempFile, ProfileError> {
    let failed = |step| move |source| ProfileError::Write { path: path.into(), step, source };
    if path.is_dir() {
        return Err(failed("it is a directory")(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    tempfile::Builder::new()
        .prefix(".php-profile-")
        .tempfile_in(directory_of(path))
        .map_err(failed("creating a file beside it"))
}

fn write_beside(path: &Path, bytes: &[u8], overwrite: bool) -> Result<(), ProfileError> {
    use std::os::unix::fs::PermissionsExt as _;

    let failed = |step| move |source| ProfileError::Write { path: path.into(), step, source };
    if bytes.len() as u64 > caps::FILE {
        return Err(ProfileError::TooLarge { size: bytes.len() as u64, cap: caps::FILE });
    }
    if !overwrite && path.symlink_metadata().is_ok() && !path.is_dir() {
        return Err(ProfileError::Exists { path: path.into() });
    }
    let mut beside = beside(path)?;
    beside.write_all(bytes).map_err(failed("writing"))?;
    beside
        .as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o644))
        .map_err(failed("setting its mode"))?;
    beside.as_file().sync_all().map_err(failed("syncing"))?;
    if overwrite {
        beside.persist(path).map_err(|error| failed("renaming")(error.error))?;
    } else {
        beside.persist_noclobber(path).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => ProfileError::Exists { path: path.into() },
            _ => failed("renaming")(error.error),
        })?;
    }
    File::open(directory_of(path))
        .and_then(|directory| directory.sync_all())
        .map_err(failed("syncing the directory"))
}

/// A list that does not believe in its length before its items were read.
struct List<T>(Vec<T>);

impl<T> List<T> {
    fn of<S>(items: impl IntoIterator<Item = S>, convert: impl FnMut(S) -> T) -> Self {
        Self(items.into_iter().map(convert).collect())
    }
}

impl<T: Serialize> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(items)
            }
        }
        deserializer.deserialize_seq(Items(PhantomData)).map(List)
    }
}

// Version 1. Older programs and files rely on it: a change is a new version.

#[derive(Serialize, Deserialize)]
struct MetaV1<'a> {
    view: u8,
    attribution: u8,
    operations: &'a str,
    php_version: &'a str,
    php_abi: &'a str,
    complete: bool,
}

/// Borrowed from the file.
type Bytes<'a> = &'a [u8];

#[derive(Serialize, Deserialize)]
struct RootV1<'a> {
    name: &'a str,
    #[serde(borrow)]
    patterns: List<Bytes<'a>>,
}

#[derive(Serialize, Deserialize)]
struct GeneratedV1<'a> {
    #[serde(borrow)]
    pattern: Bytes<'a>,
    operations: List<u16>,
}

#[derive(Serialize, Deserialize)]
struct ScriptV1<'a> {
    #[serde(borrow)]
    file: Bytes<'a>,
    device: u64,
    inode: u64,
    size: u64,
    sha256: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct SiteV1<'a> {
    kind: u8,
    #[serde(borrow)]
    file: Option<Bytes<'a>>,
    #[serde(borrow)]
    class: Option<Bytes<'a>>,
    #[serde(borrow)]
    function: Option<Bytes<'a>>,
}

#[derive(Serialize, Deserialize)]
enum WhoV1<'a> {
    Sites(List<u32>),
    Program {
        #[serde(borrow)]
        origin: List<OriginV1<'a>>,
        program: Bytes<'a>,
    },
}

#[derive(Serialize, Deserialize)]
struct OriginV1<'a> {
    site: u32,
    #[serde(borrow)]
    sink: Option<Bytes<'a>>,
}

#[derive(Serialize, Deserialize)]
struct ConstraintV1<'a> {
    name: &'a str,
    #[serde(borrow)]
    body: Cow<'a, [u8]>,
}

#[derive(Serialize, Deserialize)]
struct GrantV1<'a> {
    #[serde(borrow)]
    who: WhoV1<'a>,
    operation: u16,
    constraints: List<ConstraintV1<'a>>,
    mode: u8,
    seen: u64,
    sinks: List<Bytes<'a>>,
    samples: List<Bytes<'a>>,
}

#[derive(Serialize, Deserialize)]
struct ContextV1<'a> {
    context: u8,
    #[serde(borrow)]
    files: List<Bytes<'a>>,
}

#[derive(Serialize, Deserialize)]
struct LearnedV1<'a> {
    runs: u64,
    events: u64,
    lost: u64,
    #[serde(borrow)]
    unknown: List<(&'a str, u64)>,
    foreign: u64,
    started: Option<(i64, i32)>,
    ended: Option<(i64, i32)>,
    host: &'a str,
}

/// Numbers in files: never changed, only added to.
const VIEWS: [View; 2] = [View::Syscall, View::Lsm];
const ATTRIBUTIONS: [Attribution; 2] = [Attribution::Stack, Attribution::Usdt];
const CONTEXTS: [Context; 9] = [
    Context::Nearest,
    Context::KnownFiles,
    Context::Frames(2),
    Context::Frames(3),
    Context::Frames(4),
    Context::Frames(5),
    Context::Frames(6),
    Context::Frames(7),
    Context::Frames(8),
];
const MODES: [GrantMode; 2] = [GrantMode::Enforce, GrantMode::Log];
const KINDS: [SiteKind; 7] = [
    SiteKind::Function,
    SiteKind::Main,
    SiteKind::Closure,
    SiteKind::Internal,
    SiteKind::Engine,
    SiteKind::Master,
    SiteKind::Unknown,
];

fn number<T: PartialEq>(table: &[T], value: &T) -> u8 {
    table.iter().position(|item| item == value).expect("tables name every value") as u8
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard()
}

fn pack(value: &impl Serialize) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, config()).expect("plain data is always encoded")
}

fn encode(profile: &Profile) -> Vec<u8> {
    let sites: Vec<&Site> = profile.sites().into_iter().collect();
    let numbers: HashMap<&Site, u32> = sites.iter().copied().zip(0..).collect();
    let index = |site: &Site| numbers[site];
    let mut payload = Vec::new();
    let mut section = |tag: [u8; 4], body: Vec<u8>| {
        payload.extend_from_slice(&tag);
        payload.extend_from_slice(&(body.len() as u64).to_le_bytes());
        payload.extend_from_slice(&body);
    };
    section(
        META,
        pack(&MetaV1 {
            view: number(&VIEWS, &profile.view),
            attribution: number(&ATTRIBUTIONS, &profile.attribution),
            operations: &profile.operations.to_string(),
            php_version: &profile.php.version,
            php_abi: &profile.php.abi,
            complete: profile.complete,
        }),
    );
    section(
        ROOTS,
        pack(&List::of(&profile.roots, |root| RootV1 {
            name: &root.name,
            patterns: List::of(&root.patterns, Name::as_bytes),
        })),
    );
    section(
        GENERATED,
        pack(&List::of(&profile.generated, |generated| GeneratedV1 {
            pattern: &generated.pattern,
            operations: List::of(&generated.operations, |op| op.raw()),
        })),
    );
    section(
        SCRIPTS,
        pack(&List::of(&profile.scripts, |script| ScriptV1 {
            file: &script.file,
            device: script.device,
            inode: script.inode,
            size: script.size,
            sha256: script.sha256,
        })),
    );
    section(
        SITES,
        pack(&List::of(&sites, |site| SiteV1 {
            kind: number(&KINDS, &site.kind),
            file: site.file.as_deref(),
            class: site.class.as_deref(),
            function: site.function.as_deref(),
        })),
    );
    section(GRANTS, pack(&List::of(&profile.grants, |grant| grant_v1(grant, &index))));
    section(LEARNED, pack(&learned_v1(&profile.learned)));
    if !profile.wrappers.is_empty() {
        section(WRAPPERS, pack(&List::of(&profile.wrappers, String::as_str)));
    }
    if profile.context != Context::Nearest || !profile.files.is_empty() {
        section(
            CONTEXT,
            pack(&ContextV1 {
                context: number(&CONTEXTS, &profile.context),
                files: List::of(&profile.files, Name::as_bytes),
            }),
        );
    }

    let mut out = Vec::with_capacity(HEADER + payload.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    out.extend_from_slice(&Sha256::digest(&payload));
    out.extend_from_slice(&payload);
    out
}

fn grant_v1<'a>(grant: &'a Grant, index: &impl Fn(&Site) -> u32) -> GrantV1<'a> {
    let who = match &grant.who {
        Who::Sites(sites) => WhoV1::Sites(List::of(sites, index)),
        Who::Program { origin, program } => WhoV1::Program {
            origin: List::of(origin, |entry| OriginV1 {
                site: index(&entry.site),
                sink: entry.sink.as_deref(),
            }),
            program,
        },
    };
    let constraint = |constraint: &Constraint| match constraint {
        Constraint::Path(patterns) => {
            ConstraintV1 { name: "path", body: pack(&List::of(patterns, Name::as_bytes)).into() }
        }
        Constraint::Itself => ConstraintV1 { name: "itself", body: Vec::new().into() },
    };
    GrantV1 {
        who,
        operation: grant.operation.raw(),
        constraints: List::of(&grant.constraints, constraint),
        mode: number(&MODES, &grant.mode),
        seen: grant.seen,
        sinks: List::of(&grant.sinks, Name::as_bytes),
        samples: List::of(&grant.samples, Name::as_bytes),
    }
}

fn learned_v1(learned: &Learned) -> LearnedV1<'_> {
    let stamp = |time: jiff::Timestamp| (time.as_second(), time.subsec_nanosecond());
    LearnedV1 {
        runs: learned.runs,
        events: learned.events,
        lost: learned.lost,
        unknown: List::of(&learned.unknown, |(cause, count)| (cause.as_str(), *count)),
        foreign: learned.foreign,
        started: learned.started.map(stamp),
        ended: learned.ended.map(stamp),
        host: &learned.host,
    }
}

/// A part of the file, and where it begins.
#[derive(Clone, Copy)]
struct Part<'a> {
    bytes: &'a [u8],
    offset: u64,
}

impl<'a> Part<'a> {
    fn take(&mut self, count: u64, what: &'static str) -> Result<Part<'a>, ProfileError> {
        let have = self.bytes.len() as u64;
        if count > have {
            return Err(ProfileError::Truncated { what, offset: self.offset, wanted: count, have });
        }
        let (taken, rest) = self.bytes.split_at(count as usize);
        let part = Part { bytes: taken, offset: self.offset };
        *self = Part { bytes: rest, offset: self.offset + count };
        Ok(part)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], ProfileError> {
        let part = self.take(N as u64, what)?;
        Ok(part.bytes.try_into().expect("exactly that many were taken"))
    }

    fn end(self, what: impl Into<String>) -> Result<(), ProfileError> {
        match self.bytes.len() as u64 {
            0 => Ok(()),
            extra => Err(ProfileError::Trailing { what: what.into(), offset: self.offset, extra }),
        }
    }
}

fn decode(bytes: &[u8]) -> Result<Profile, ProfileError> {
    let mut file = Part { bytes, offset: 0 };
    if !bytes.starts_with(MAGIC) {
        let whole = bytes.is_empty() || !MAGIC.starts_with(bytes);
        return Err(if whole {
            ProfileError::NotAProfile
        } else {
            ProfileError::Truncated { what: "the mark", offset: 0, wanted: 8, have: bytes.len() as u64 }
        });
    }
    file.take(8, "the mark")?;
    let version = u32::from_le_bytes(file.array("the format version")?);
    if version > VERSION {
        return Err(ProfileError::FutureVersion { found: version, newest: VERSION });
    }
    if version == 0 {
        return Err(ProfileError::Invalid {
            place: "header".into(),
            what: "there is no format version 0".into(),
        });
    }
    let length = u64::from_le_bytes(file.array("the length")?);
    let checksum: [u8; 32] = file.array("the checksum")?;
    let payload = file.take(length, "the payload")?;
    file.end("the payload")?;
    if <[u8; 32]>::from(Sha256::digest(payload.bytes)) != checksum {
        return Err(ProfileError::Corrupted { offset: payload.offset, length });
    }
    let mut profile = decode_v1(payload)?;
    profile.check()?;
    profile.normalize();
    Ok(profile)
}

fn section_name(tag: [u8; 4]) -> String {
    crate::site::escape(&tag)
}

/// The sections in the order of [`SECTIONS`]: all but the last two are there.
fn split(mut payload: Part<'_>) -> Result<[Option<Part<'_>>; 9], ProfileError> {
    let mut found: [Option<Part<'_>>; 9] = [None; 9];
    while !payload.bytes.is_empty() {
        let offset = payload.offset;
        let tag: [u8; 4] = payload.array("the name of a section")?;
        let length = u64::from_le_bytes(payload.array("the length of a section")?);
        let Some(index) = SECTIONS.iter().position(|known| *known == tag) else {
            return Err(ProfileError::UnknownSection { name: section_name(tag), offset });
        };
        let body = payload.take(length, "a section")?;
        if found[index].replace(body).is_some() {
            return Err(ProfileError::SectionCount { name: section_name(tag), times: "twice" });
        }
    }
    let is_missing =
        |index: &usize| found[*index].is_none() && ![WRAPPERS, CONTEXT].contains(&SECTIONS[*index]);
    if let Some(index) = (0..found.len()).find(is_missing) {
        return Err(ProfileError::SectionCount { name: section_name(SECTIONS[index]), times: "not at all" });
    }
    Ok(found)
}

fn unpack<'a, T: Deserialize<'a>>(part: Part<'a>, tag: [u8; 4]) -> Result<T, ProfileError> {
    let name = || section_name(tag);
    let (value, used) = bincode::serde::borrow_decode_from_slice(part.bytes, config()).map_err(|error| {
        ProfileError::Decode {
            name: name(),
            offset: part.offset,
            detail: crate::site::escape(error.to_string().as_bytes()),
        }
    })?;
    let rest = Part { bytes: &part.bytes[used..], offset: part.offset + used as u64 };
    rest.end(format!("the section `{}`", name()))?;
    Ok(value)
}

fn value<T: Copy>(table: &[T], number: u8, place: &str) -> Result<T, ProfileError> {
    table.get(usize::from(number)).copied().ok_or_else(|| ProfileError::Invalid {
        place: place.into(),
        what: format!("the number {number} means nothing to this version"),
    })
}

fn op(raw: u16) -> Result<Op, ProfileError> {
    Op::from_raw(raw).filter(|op| op.is_named()).ok_or_else(|| ProfileError::Invalid {
        place: "operation".into(),
        what: format!("the number {raw} means nothing to this version"),
    })
}

fn names(list: List<Bytes<'_>>) -> Vec<Name> {
    list.0.into_iter().map(Name::from).collect()
}

fn decode_v1(payload: Part<'_>) -> Result<Profile, ProfileError> {
    let [required @ .., wrappers, context] = split(payload)?;
    let [meta, roots, generated, scripts, sites, grants, learned] =
        required.map(|part| part.expect("none is missing"));
    let meta: MetaV1<'_> = unpack(meta, META)?;
    let operations = meta.operations.parse().map_err(|error: crate::op::OpError| ProfileError::Invalid {
        place: "operations".into(),
        what: error.to_string(),
    })?;
    let mut profile = Profile::new(
        value(&VIEWS, meta.view, "view")?,
        value(&ATTRIBUTIONS, meta.attribution, "attribution")?,
        operations,
        Php::new(meta.php_version, meta.php_abi),
    );
    profile.complete = meta.complete;
    profile.roots = unpack::<List<RootV1<'_>>>(roots, ROOTS)?
        .0
        .into_iter()
        .map(|root| Root { name: root.name.into(), patterns: names(root.patterns) })
        .collect();
    for entry in unpack::<List<GeneratedV1<'_>>>(generated, GENERATED)?.0 {
        let operations = entry.operations.0.into_iter().map(op).collect::<Result<_, _>>()?;
        profile.generated.push(Generated { pattern: entry.pattern.into(), operations });
    }
    profile.scripts = unpack::<List<ScriptV1<'_>>>(scripts, SCRIPTS)?
        .0
        .into_iter()
        .map(|script| Script {
            file: script.file.into(),
            device: script.device,
            inode: script.inode,
            size: script.size,
            sha256: script.sha256,
        })
        .collect();
    let sites = sites_from_v1(unpack(sites, SITES)?)?;
    for (index, grant) in unpack::<List<GrantV1<'_>>>(grants, GRANTS)?.0.into_iter().enumerate() {
        profile.grants.push(grant_from_v1(index, grant, &sites)?);
    }
    profile.learned = learned_from_v1(unpack(learned, LEARNED)?)?;
    if let Some(wrappers) = wrappers {
        let schemes = unpack::<List<&str>>(wrappers, WRAPPERS)?.0;
        profile.wrappers = schemes.into_iter().map(ToOwned::to_owned).collect();
    }
    if let Some(context) = context {
        let context: ContextV1<'_> = unpack(context, CONTEXT)?;
        profile.context = value(&CONTEXTS, context.context, "context")?;
        profile.files = names(context.files);
    }
    Ok(profile)
}

/// Sites share the names that they have in common.
fn sites_from_v1(list: List<SiteV1<'_>>) -> Result<Vec<Site>, ProfileError> {
    if list.0.len() > caps::SITES {
        return Err(ProfileError::Invalid {
            place: "sites".into(),
            what: format!("{} of them, at most {} are allowed", list.0.len(), caps::SITES),
        });
    }
    let mut interned: std::collections::HashSet<Name> = std::collections::HashSet::new();
    let mut intern = |bytes: Option<Bytes<'_>>| {
        bytes.map(|bytes| {
            let known = interned.get(bytes).cloned();
            known.unwrap_or_else(|| {
                let name = Name::from(bytes);
                interned.insert(name.clone());
                name
            })
        })
    };
    list.0
        .into_iter()
        .map(|site| {
            Ok(Site {
                kind: value(&KINDS, site.kind, "site")?,
                file: intern(site.file),
                class: intern(site.class),
                function: intern(site.function),
            })
        })
        .collect()
}

fn grant_from_v1(number: usize, grant: GrantV1<'_>, sites: &[Site]) -> Result<Grant, ProfileError> {
    let site = |index: u32| {
        sites.get(index as usize).cloned().ok_or_else(|| ProfileError::Invalid {
            place: format!("grants[{number}]"),
            what: format!("there is no site {index}"),
        })
    };
    let who = match grant.who {
        WhoV1::Sites(list) => Who::Sites(list.0.into_iter().map(site).collect::<Result<_, _>>()?),
        WhoV1::Program { origin, program } => Who::Program {
            origin: origin
                .0
                .into_iter()
                .map(|entry| Ok(OriginEntry { site: site(entry.site)?, sink: entry.sink.map(Name::from) }))
                .collect::<Result<_, ProfileError>>()?,
            program: program.into(),
        },
    };
    let mut constraints = Vec::new();
    for constraint in &grant.constraints.0 {
        // The offset within a grant says nothing; its number does.
        let part = Part { bytes: &constraint.body, offset: 0 };
        constraints.push(match constraint.name {
            "path" => Constraint::Path(names(unpack(part, GRANTS)?)),
            "itself" => {
                part.end("the constraint `itself`")?;
                Constraint::Itself
            }
            name => {
                let name = crate::site::escape(name.as_bytes());
                return Err(ProfileError::UnknownConstraint { name, grant: number });
            }
        });
    }
    Ok(Grant {
        who,
        operation: op(grant.operation)?,
        constraints,
        mode: value(&MODES, grant.mode, "mode")?,
        seen: grant.seen,
        sinks: names(grant.sinks),
        samples: names(grant.samples),
    })
}

fn learned_from_v1(learned: LearnedV1<'_>) -> Result<Learned, ProfileError> {
    let stamp = |stamp: Option<(i64, i32)>| {
        stamp
            .map(|(second, nanosecond)| jiff::Timestamp::new(second, nanosecond))
            .transpose()
            .map_err(|error| ProfileError::Invalid { place: "learned".into(), what: error.to_string() })
    };
    Ok(Learned {
        runs: learned.runs,
        events: learned.events,
        lost: learned.lost,
        unknown: learned.unknown.0.into_iter().map(|(cause, count)| (cause.to_owned(), count)).collect(),
        foreign: learned.foreign,
        started: stamp(learned.started)?,
        ended: stamp(learned.ended)?,
        host: learned.host.into(),
    })
}
