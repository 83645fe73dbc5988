//! The build helper of the phases: compiles `NAME.bpf.c` of this folder and generates its skeleton.
//!
//! The C side is here too: `include/intf.h` is the contract with Rust, `include/*.bpf.h` hold the
//! logic, one topic each, and `*.bpf.c` hold nothing but entry points.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use libbpf_cargo::SkeletonBuilder;

/// The folder of the C side.
#[must_use]
pub fn dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compiles `NAME.bpf.c` and writes the skeleton to `$OUT_DIR/skel.rs`. For build scripts.
pub fn skeleton(name: &str) -> Result<()> {
    build(name, "skel")
}

/// Several, each to `$OUT_DIR/NAME.rs`.
pub fn skeletons(names: &[&str]) -> Result<()> {
    names.iter().try_for_each(|name| build(name, name))
}

fn build(name: &str, to: &str) -> Result<()> {
    let source = dir().join(format!("{name}.bpf.c"));
    let out =
        PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set: call this from a build script")?);
    for file in fs::read_dir(dir().join("include"))?.flatten() {
        println!("cargo:rerun-if-changed={}", file.path().display());
    }
    println!("cargo:rerun-if-changed={}", source.display());
    println!("cargo:rerun-if-env-changed=CLANG");
    SkeletonBuilder::new()
        .source(&source)
        .clang(find_clang()?)
        .clang_args([
            "-I",
            &dir().join("include").display().to_string(),
            "-mcpu=v3",
            "-Wall",
            "-Werror",
            "-Wno-unused-function",
        ])
        .build_and_generate(out.join(format!("{to}.rs")))
        .with_context(|| format!("compile {}", source.display()))
}

/// `$CLANG`, or the first clang found that can produce BPF.
fn find_clang() -> Result<PathBuf> {
    if let Some(named) = env::var_os("CLANG") {
        return Ok(named.into());
    }
    for name in ["clang", "clang-19", "clang-16", "clang-15", "clang-14"] {
        let targets = Command::new(name).arg("--print-targets").output();
        if targets.is_ok_and(|t| String::from_utf8_lossy(&t.stdout).contains("bpf")) {
            return Ok(name.into());
        }
    }
    bail!("no clang that can produce BPF\nHint: `make deps` installs one, or name one in $CLANG")
}
