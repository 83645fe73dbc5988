//! Errors that say what to do.

use std::fmt;
use std::path::PathBuf;

/// What failed, and what to do about it.
#[derive(Debug)]
pub struct Hinted {
    what: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Hinted {}

/// An error with what to do about it.
pub fn hinted(what: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Hinted { what: what.into(), hint: hint.into() }.into()
}

/// Where a program is; a hint where it is not.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| hinted(format!("{name} is not installed"), "run `make deps`"))
}
