//! C logic that needs no kernel, compiled natively and run under the sanitizers.

use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use siphasher::sip128::{Hasher128, SipHasher24};

/// Compiles `native/NAME.c`; a warning is an error.
fn compile(name: &str) -> PathBuf {
    let source = bpf::dir().join("tests/native").join(format!("{name}.c"));
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let output = Command::new(compiler)
        .args(["-g", "-O1", "-Wall", "-Werror", "-Wno-unused-function", "-Wno-address-of-packed-member"])
        .args(["-Wno-unused-variable", "-fno-strict-aliasing", "-fsanitize=address,undefined"])
        .args(["-fno-sanitize=alignment", "-fno-sanitize-recover=all"])
        .arg("-I")
        .arg(bpf::dir().join("include"))
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .output()
        .expect("run the C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

fn run(program: &Path, args: &[String]) -> Output {
    // The tests lay out structures and end: what they leave is no leak.
    Command::new(program)
        .args(args)
        .env("ASAN_OPTIONS", "detect_leaks=0")
        .output()
        .expect("run a native test")
}

fn passes(name: &str) {
    let output = run(&compile(name), &[]);
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn the_walker_tells_sites_and_never_takes_a_fault_for_absence() {
    passes("walk");
}

#[test]
fn what_is_known_of_the_opcode_cache_is_kept_until_it_is_restarted() {
    passes("recent");
}

#[test]
fn argument_classes_are_what_programs_mean() {
    passes("op_class");
}

#[test]
fn the_next_descriptor_is_the_lowest_that_is_free() {
    passes("descriptors");
}

#[test]
fn siphash_is_siphash() {
    let program = compile("sip");
    for len in [0usize, 1, 2, 7, 31, 97] {
        let words: Vec<u64> =
            (0..len as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234).collect();
        let (k0, k1) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let mut reference = SipHasher24::new_with_keys(k0, k1);
        for word in &words {
            reference.write(&word.to_le_bytes());
        }
        let expected = reference.finish128();
        let args: Vec<String> = [k0, k1].iter().chain(&words).map(|w| format!("{w:x}")).collect();
        let output = run(&program, &args);
        let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert_eq!(printed, format!("{:016x}{:016x}", expected.h1, expected.h2), "{len} words");
    }
}
