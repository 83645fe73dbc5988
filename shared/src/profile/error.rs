//! What can be wrong with a profile, and what to do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::{Context, View};

/// A profile that cannot be read, written, believed or used. Each has a [`hint`](Self::hint).
#[derive(Debug, Error)]
#[allow(missing_docs)] // the fields are what the messages say
pub enum ProfileError {
    /// It could not be opened or read.
    #[error("cannot read the profile {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// It could not be written; what was there before is still there.
    #[error("cannot write the profile {}: {step}: {source}", path.display())]
    Write { path: PathBuf, step: &'static str, source: io::Error },
    /// A file is there already.
    #[error("{} exists already", path.display())]
    Exists { path: PathBuf },
    /// Neither the binary format nor JSON.
    #[error("not a profile: it starts with neither the mark of one nor `{{`")]
    NotAProfile,
    /// Written by a newer version.
    #[error("the profile has format version {found}, and this program reads versions up to {newest}")]
    FutureVersion { found: u32, newest: u32 },
    /// It ends too early.
    #[error("the profile is truncated: {what} at offset {offset} needs {wanted} bytes, and {have} are there")]
    Truncated { what: &'static str, offset: u64, wanted: u64, have: u64 },
    /// It goes on after its end.
    #[error("{extra} bytes too many after {what}, at offset {offset}")]
    Trailing { what: String, offset: u64, extra: u64 },
    /// The content is not what was written.
    #[error("the profile is corrupted: the checksum of the {length} bytes at offset {offset} does not match")]
    Corrupted { offset: u64, length: u64 },
    /// A part that this version does not know.
    #[error("unknown section `{name}` at offset {offset}")]
    UnknownSection { name: String, offset: u64 },
    /// A part that is there twice or not at all.
    #[error("the section `{name}` is there {times}")]
    SectionCount { name: String, times: &'static str },
    /// A constraint that this version does not know.
    #[error("unknown constraint `{name}` in grant {grant}")]
    UnknownConstraint { name: String, grant: usize },
    /// The content of a section does not decode.
    #[error("the section `{name}` at offset {offset} cannot be decoded: {detail}")]
    Decode { name: String, offset: u64, detail: String },
    /// It decodes, and says something that a profile cannot say.
    #[error("invalid profile: {place}: {what}")]
    Invalid { place: String, what: String },
    /// The JSON is wrong.
    #[error("invalid JSON profile: {detail}")]
    Json { detail: String },
    /// It is larger than any profile.
    #[error("the profile has {size} bytes, and at most {cap} are read")]
    TooLarge { size: u64, cap: u64 },
    /// Others could have written it.
    #[error("the profile {} is not safe for --sandbox: {why}", path.display())]
    Untrusted { path: PathBuf, why: String },
    /// Something was lost while learning.
    #[error("the profile is incomplete: {lost} records were lost while it was learnt")]
    Incomplete { lost: u64 },
    /// It speaks of other operations than this strategy sees.
    #[error(
        "the profile was learnt through the {profile} view, and this strategy decides by the {asked} view"
    )]
    ViewMismatch { profile: View, asked: View },
    /// Less of the stack was looked at while it was learnt.
    #[error(
        "the profile was learnt with --context {profile}, and does not say what --context {asked} asks for"
    )]
    LessContext { profile: Context, asked: Context },
    /// It speaks of another PHP.
    #[error("the profile was learnt from PHP {profile}, and this is PHP {running}")]
    PhpMinor { profile: String, running: String },
    /// Two profiles that do not speak of the same.
    #[error("the profiles cannot be merged: one has the {what} `{mine}`, the other `{theirs}`")]
    Merge { what: &'static str, mine: String, theirs: String },
}

impl ProfileError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "make one with `--profile`, or name it with --profile-file".into()
            }
            Self::Read { .. } => "check the path and its permissions".into(),
            Self::Write { .. } => "check that the directory is there, can be written and is not full".into(),
            Self::Exists { .. } => "--merge adds to it, --force replaces it".into(),
            Self::NotAProfile => "a profile is made with `--profile`, or with `php-profile import` from JSON".into(),
            Self::FutureVersion { .. } => {
                "use the version that wrote it, or let that version `php-profile export` it as JSON".into()
            }
            Self::Truncated { .. } | Self::Trailing { .. } | Self::Corrupted { .. } | Self::Decode { .. } => {
                "copy it again from where it came from, or learn it anew with `--profile`".into()
            }
            Self::UnknownSection { .. } | Self::UnknownConstraint { .. } => {
                "a newer version wrote it; use that version, since what is not understood is not enforced".into()
            }
            Self::SectionCount { .. } => "the file was not written by this project; learn it anew with `--profile`".into(),
            Self::Invalid { .. } => "correct it: `php-profile export`, edit, `php-profile import`".into(),
            Self::Json { .. } => "`php-profile export` shows what the format looks like".into(),
            Self::TooLarge { .. } => "learn fewer calls (--syscalls), or name roots (--root) so that releases are one".into(),
            Self::Untrusted { path, .. } => format!(
                "let root or yourself own it and every directory above it, and run `chmod go-w {}`",
                crate::site::escape(path.as_os_str().as_encoded_bytes())
            ),
            Self::Incomplete { .. } => "learn again, or --force to take it as it is: what was lost is a violation".into(),
            Self::ViewMismatch { profile: View::Syscall, .. } => {
                "use it without --lsm (phase1-user-kill, phase2-kernel-kill, phase3-lsm), or learn another with \
                 `phase3-lsm --lsm --profile`"
                    .into()
            }
            Self::ViewMismatch { profile: View::Lsm, .. } => {
                "use it with `phase3-lsm --lsm`, or learn another with --profile and without --lsm".into()
            }
            Self::LessContext { asked, .. } => {
                format!("learn again: --profile --context {asked}, or leave --context out")
            }
            Self::PhpMinor { .. } => "learn again with this PHP, or --accept-php-version".into(),
            Self::Merge { .. } => "keep them in two files, one for each".into(),
        }
    }
}
