//! The PHP binaries that `tests/php/fetch` provides.

use std::{path::PathBuf, process::Command};

/// A line of the table that `tests/php/fetch --list` prints.
#[derive(Clone, Debug)]
pub struct Php {
    /// Minor version and SAPI, e.g. `8.4-cli`.
    pub name: String,
    /// The ELF file.
    pub path: PathBuf,
    /// The program that runs it.
    #[allow(dead_code)] // not every test program uses it
    pub run: Option<PathBuf>,
}

/// All of them; panics if any is missing.
pub fn all() -> Vec<Php> {
    let fetch = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/php/fetch");
    let output = Command::new(fetch).arg("--list").output().expect("tests/php/fetch can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "PHP to test with is missing, run tests/php/fetch first ({})",
        said.trim()
    );
    let table = String::from_utf8(output.stdout).expect("a table in UTF-8");
    table
        .lines()
        .map(|line| {
            let [name, path, run] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else {
                panic!("tests/php/fetch --list printed {line:?}")
            };
            Php { name: name.into(), path: path.into(), run: (run != "-").then(|| run.into()) }
        })
        .collect()
}

/// The one with this name.
#[allow(dead_code)] // not every test program uses it
pub fn named(name: &str) -> Php {
    all().into_iter().find(|php| php.name == name).unwrap_or_else(|| panic!("tests/php/fetch has no {name}"))
}
