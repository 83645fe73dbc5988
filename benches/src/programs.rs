//! The programs that are measured, as cargo builds them.

use std::path::PathBuf;
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

/// Compiles a C program of `victims/` with the machine's own compiler.
pub fn compile(source: &str, to: &std::path::Path, libraries: &[&str]) -> Result<()> {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("victims").join(source);
    let mut command = Command::new("cc");
    command.args(["-O2", "-Wall", "-o"]).arg(to).arg(&source).args(libraries);
    ensure!(command.status().context("run cc")?.success(), "{} does not build", source.display());
    Ok(())
}
