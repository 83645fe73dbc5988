//! Generates the Rust side of `intf.h`, and compiles its tables.

use std::path::PathBuf;

/// Plain C types instead of `<stdint.h>`: libclang alone has no system headers.
const PRELUDE: &str = "\
#define INTF_NO_STDINT
#define u8 unsigned char
#define u16 unsigned short
#define u32 unsigned int
#define u64 unsigned long long
#define s32 int
#define s64 long long
#include \"intf.h\"
";

fn main() {
    let manifest = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("set by cargo"));
    let include = manifest.join("../bpf/include");
    println!("cargo::rerun-if-changed={}", include.join("intf.h").display());
    println!("cargo::rerun-if-changed=src/tables.c");
    println!("cargo::rerun-if-env-changed=LIBCLANG_PATH");

    bindgen::Builder::default()
        .header_contents("wrapper.h", PRELUDE)
        .clang_arg(format!("-I{}", include.display()))
        .allowlist_file(".*intf\\.h")
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .derive_default(true)
        .derive_eq(true)
        .derive_hash(true)
        .layout_tests(true)
        .generate_comments(false)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .generate()
        .expect("bindings of intf.h: install libclang, or set LIBCLANG_PATH to its directory")
        .write_to_file(out.join("intf.rs"))
        .expect("writing into OUT_DIR");

    cc::Build::new().file("src/tables.c").include(&include).warnings_into_errors(true).compile("tables");
}
