//! Why a file is not an image.

use std::{io, path::PathBuf};

/// Why [`introspect`](crate::introspect) refused a file. Displays as one line that says what failed;
/// [`Error::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file does not exist.
    #[error("{}: no such file", .path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file is over [`MAX_FILE_SIZE`](crate::MAX_FILE_SIZE).
    #[error("{}: {size} bytes is too large for a PHP image", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// Not an ELF file: a script (see `interpreter`), a directory, anything else.
    #[error("{}: not an ELF file{}", .path.display(), .interpreter.as_ref().map_or(String::new(), |i| format!(" but a script for {i}")))]
    NotElf {
        /// The file.
        path: PathBuf,
        /// What its `#!` line names.
        interpreter: Option<String>,
    },
    /// An ELF file whose tables contradict its size, or are missing.
    #[error("{}: malformed ELF file: {what}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// An ELF file for another machine.
    #[error("{}: built for {machine}, not for x86-64", .path.display())]
    NotX86_64 {
        /// The file.
        path: PathBuf,
        /// The machine's name, e.g. `aarch64`.
        machine: String,
    },
    /// An x86-64 executable or library that does not define the PHP engine.
    #[error("{}: not a PHP executable or library", .path.display())]
    NotPhp {
        /// The file.
        path: PathBuf,
    },
    /// A PHP executable without dynamic symbols.
    #[error("{}: PHP linked statically, which hides its globals", .path.display())]
    Static {
        /// The file.
        path: PathBuf,
    },
    /// PHP built for musl.
    #[error("{}: PHP built for musl, which is not supported", .path.display())]
    Musl {
        /// The file.
        path: PathBuf,
    },
    /// PHP of a version whose structures are not known here, or without a readable version.
    #[error("{}: unknown PHP build {abi:?}", .path.display())]
    UnknownAbi {
        /// The file.
        path: PathBuf,
        /// The build string, e.g. `API20990101,NTS`; empty if there is none.
        abi: String,
    },
    /// PHP lacks a symbol that every build is known to export.
    #[error("{}: PHP without the dynamic symbol {name}", .path.display())]
    NoSymbol {
        /// The file.
        path: PathBuf,
        /// The symbol.
        name: &'static str,
    },
    /// Thread-safe PHP whose thread-local slot could not be told.
    #[error("{}: thread-safe PHP whose globals cannot be located: {why}", .path.display())]
    ZtsLayout {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        why: &'static str,
    },
}

impl Error {
    /// What to do about it, one sentence without a full stop.
    pub fn hint(&self) -> String {
        match self {
            Self::NotFound { .. } => {
                "name the PHP executable or libphp*.so by its full path, e.g. the one `command -v php` prints".into()
            }
            Self::Io { .. } => "run as root, and check that the file is readable".into(),
            Self::TooLarge { .. } => "name the PHP executable or libphp*.so itself".into(),
            Self::NotElf { interpreter: Some(i), .. } => {
                format!("name the PHP executable that runs the script, not the script (its first line names {i})")
            }
            Self::NotElf { interpreter: None, .. } => "name a PHP executable or a libphp*.so".into(),
            Self::Malformed { .. } => "reinstall PHP; the file looks damaged or packed".into(),
            Self::NotX86_64 { .. } => "use PHP for x86-64".into(),
            Self::NotPhp { .. } => {
                "name a PHP executable (php, php-fpm, php-cgi); for a server with PHP inside it its libphp*.so".into()
            }
            Self::Static { .. } => "use a dynamically linked PHP, e.g. the distribution's package".into(),
            Self::Musl { .. } => "use a PHP built for glibc, e.g. a Debian-based image instead of an Alpine one".into(),
            Self::UnknownAbi { .. } => {
                "use PHP 7.4 to 8.5 as released, or a newer tracer that knows this version".into()
            }
            Self::NoSymbol { .. } => "use a PHP built without a linker script that hides symbols".into(),
            Self::ZtsLayout { .. } => "use a non-thread-safe (NTS) PHP, or the distribution's thread-safe build".into(),
        }
    }
}
