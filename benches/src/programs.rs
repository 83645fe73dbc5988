//! The programs that are measured, as cargo builds them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Builds them: `cargo bench` by itself only builds what is in this package.
pub fn build() -> Result<()> {
    if is_guest() {
        return Ok(());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--release", "--workspace", "--bins"]);
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    ensure!(command.status().context("run cargo")?.success(), "the programs do not build");
    Ok(())
}

/// Set where nothing can be built or kept: in a guest, whose files are gone with it. Its value names the guest.
pub const IN_GUEST: &str = "BENCH_GUEST";

/// Whether this is one.
pub fn is_guest() -> bool {
    std::env::var_os(IN_GUEST).is_some()
}

/// One of them.
pub fn path(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    // Benchmarks are in `deps` below the folder that programs are in.
    let path = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.exists());
    match path {
        Some(path) => Ok(path),
        None => bail!("{name} is not built\nHint: cargo build --release --workspace --bins"),
    }
}

/// Compiles `victims/seccomp.c`, what one would use instead, with the machine's own compiler.
pub fn compile_seccomp(to: &Path) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("victims/seccomp.c");
    let mut command = Command::new("cc");
    command.args(["-O2", "-Wall", "-o"]).arg(to).arg(&source).arg("-lseccomp");
    ensure!(command.status().context("run cc")?.success(), "{} does not build", source.display());
    Ok(())
}

/// The names of the calls in what `strace -f -o` wrote: an allowlist of whole processes.
pub fn calls_in(log: &str) -> BTreeSet<String> {
    // `PID NAME(…`; of a call that another's line has interrupted the first part counts.
    let name =
        |line: &str| Some(line.split_once(char::is_whitespace)?.1.trim().split_once('(')?.0.to_owned());
    let is_name = |name: &String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    log.lines().filter_map(name).filter(is_name).collect()
}

/// A list of calls as `seccomp allow` reads it.
pub fn allowlist(calls: &BTreeSet<String>) -> String {
    calls.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_named_once_and_its_second_half_is_none() {
        let log = "7 openat(AT_FDCWD, \"x(\") = 3\n8 wait4(-1,  <unfinished ...>\n7 openat(3) = 4\n\
                   8 <... wait4 resumed>) = 7\n7 +++ exited with 0 +++\n";
        assert_eq!(allowlist(&calls_in(log)), "openat\nwait4");
    }
}
