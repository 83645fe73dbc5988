//! What is read from real binaries, and from damaged copies of them.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use introspect::{Error, Globals, Image, Minor, Sapi, discover, introspect};
use proptest::prelude::*;

fn image(name: &str) -> Image {
    introspect(&common::named(name).path).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn copy_of(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, PathBuf) {
    let mut bytes = fs::read(common::named(name).path).expect("the binary");
    change(&mut bytes);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("php");
    fs::write(&path, bytes).expect("a copy");
    (dir, path)
}

fn refusal(path: &Path) -> Error {
    introspect(path).expect_err("a refusal")
}

fn assert_one_line(error: &Error) {
    for text in [error.to_string(), error.hint()] {
        assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
    }
}

#[test]
fn every_version_and_sapi_is_told() {
    for php in common::all() {
        let image = introspect(&php.path).unwrap_or_else(|e| panic!("{}: {e}", php.name));
        let minor = format!("{}", image.minor);
        let (expected_minor, sapi) = php.name.split_once('-').expect("VERSION-SAPI");
        assert_eq!(minor, expected_minor, "{}", php.name);
        assert_eq!(format!("{}{}", if image.zts { "zts-" } else { "" }, image.sapi), sapi);
        let version = image.version.as_deref().expect("a version");
        assert!(version.starts_with(&format!("{minor}.")), "{}: {version}", php.name);
        assert_eq!(image.is_library, matches!(image.sapi, Sapi::Apache | Sapi::Embed), "{}", php.name);
        assert_eq!(image.abi, format!("API{},{}", image.api, if image.zts { "TS" } else { "NTS" }));
        assert!(!image.debug);
        assert!(image.symbols.request_startup.is_some() && image.symbols.request_shutdown.is_some());
        assert!(image.symbols.module_shutdown.is_some() && image.build_id.is_some(), "{}", php.name);
    }
}

/// What other tools print of the same file.
fn printed(program: &str, args: &[&str], path: &Path) -> String {
    let output = Command::new(program).args(args).arg(path).output();
    let output = output.unwrap_or_else(|e| panic!("{program} (apt-get install binutils): {e}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn symbols_are_those_of_readelf() {
    for php in common::all() {
        let image = introspect(&php.path).expect("an image");
        let table = printed("readelf", &["-W", "--dyn-syms"], &php.path);
        let value = |name: &str| {
            let line = table.lines().find(|line| line.split_whitespace().nth(7) == Some(name))?;
            u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok()
        };
        match image.executor_globals {
            Globals::Nts { vaddr } => assert_eq!(Some(vaddr), value("executor_globals"), "{}", php.name),
            Globals::Zts { offset_vaddr, .. } | Globals::ZtsLibrary { offset_vaddr, .. } => {
                assert_eq!(Some(offset_vaddr), value("executor_globals_offset"), "{}", php.name);
            }
        }
        let startup = image.symbols.request_startup.expect("php_request_startup");
        assert_eq!(Some(startup.vaddr), value("php_request_startup"), "{}", php.name);
    }
}

#[test]
fn probes_are_those_of_readelf() {
    for php in common::all() {
        let notes = printed("readelf", &["-W", "-n"], &php.path);
        let expected: Vec<(String, u64)> = notes
            .split("Provider: ")
            .skip(1)
            .map(|note| {
                let after = |key: &str| {
                    note.split(key).nth(1).and_then(|t| t.split([',', '\n']).next()).expect("a field")
                };
                let hex = |key: &str| {
                    u64::from_str_radix(after(key).trim_start_matches("0x"), 16).expect("a number")
                };
                (after("Name: ").to_owned(), hex("Location: "))
            })
            .collect();
        let image = introspect(&php.path).expect("an image");
        let found: Vec<_> = image.usdt.iter().map(|p| (p.name.clone(), p.location)).collect();
        assert_eq!(found, expected, "{}", php.name);
    }
}

#[test]
fn debian_8_2_has_probes_with_semaphores() {
    let image = image("8.2-cli");
    for name in ["function__entry", "function__return", "request__startup", "request__shutdown"] {
        let probe = image.usdt.iter().find(|p| p.name == name).unwrap_or_else(|| panic!("no probe {name}"));
        assert_eq!(probe.provider, "php");
        assert!(probe.semaphore != 0 && probe.semaphore_file_offset != 0 && !probe.args.is_empty());
    }
}

#[test]
fn names_of_code_are_seen_in_executables_of_one_thread() {
    for php in common::all() {
        let image = introspect(&php.path).expect("an image");
        assert!(image.naming.is_some(), "{}", php.name);
    }
}

#[test]
fn a_stripped_binary_keeps_what_is_needed() {
    let (_dir, path) = copy_of("8.2-cli", |_| ());
    let before = introspect(&path).expect("an image");
    let status = Command::new("strip").arg("--strip-all").arg(&path).status().expect("strip (binutils)");
    assert!(status.success());
    let after = introspect(&path).expect("an image");
    assert_eq!(Image { id: before.id, ..after }, before);
}

#[test]
fn section_headers_are_only_needed_for_probes() {
    let (_dir, path) = copy_of("8.4-cli", |bytes| {
        bytes[0x28..0x30].fill(0); // e_shoff
        bytes[0x3c..0x40].fill(0); // e_shnum, e_shstrndx
    });
    let expected = image("8.4-cli");
    let found = introspect(&path).expect("an image");
    assert_eq!(
        Image { path: expected.path.clone(), id: expected.id, usdt: expected.usdt.clone(), ..found },
        expected
    );
}

#[test]
fn thread_safe_builds() {
    assert!(
        matches!(image("8.2-zts-cli").executor_globals, Globals::Zts { tcb_offset, .. } if tcb_offset < 0)
    );
    assert!(matches!(image("8.2-zts-embed").executor_globals, Globals::ZtsLibrary { .. }));
}

/// Replaces every occurrence; both have the same length.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> =
        (0..=bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "the binary holds no {:?}", String::from_utf8_lossy(from));
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
}

#[test]
fn refusals_name_their_reason() {
    let (_d, musl) = copy_of("8.2-cli", |b| {
        replace(b, b"/lib64/ld-linux-x86-64.so.2\0", b"/lib/ld-musl-x86_64.so.1\0\0\0\0");
    });
    assert!(matches!(refusal(&musl), Error::Musl { .. }));
    let (_d, aarch64) = copy_of("8.2-cli", |b| b[18] = 183);
    assert!(matches!(refusal(&aarch64), Error::NotX86_64 { machine, .. } if machine == "aarch64"));
    let (_d, unknown) = copy_of("8.2-cli", |b| replace(b, b"API20220829,NTS\0", b"API20990101,NTS\0"));
    assert!(matches!(refusal(&unknown), Error::UnknownAbi { abi, .. } if abi == "API20990101,NTS"));
    let (_d, hidden) = copy_of("8.2-cli", |b| replace(b, b"\0sapi_globals\0", b"\0sapi_xlobals\0"));
    assert!(matches!(refusal(&hidden), Error::NoSymbol { name: "sapi_globals", .. }));
    let (_d, fixed) = copy_of("8.2-zts-cli", |b| {
        replace(b, b"\x48\xc7\xc0\xe8\xff\xff\xff\xc3", b"\x31\xc0\xc3\x90\x90\x90\x90\x90");
    });
    assert!(matches!(refusal(&fixed), Error::ZtsLayout { .. }));
    let (_d, statically) = copy_of("8.2-cli", |b| {
        let headers = u64::from_le_bytes(b[0x20..0x28].try_into().expect("8 bytes")) as usize;
        for at in (0..usize::from(b[0x38])).map(|i| headers + i * 56) {
            if matches!(b[at], 2 | 3) {
                b[at] = 0; // PT_DYNAMIC, PT_INTERP
            }
        }
    });
    assert!(matches!(refusal(&statically), Error::Static { .. }));
    for path in [musl, aarch64, unknown, hidden, fixed, statically] {
        assert_one_line(&refusal(&path));
    }
}

#[test]
fn what_is_not_php() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let script = dir.path().join("script");
    fs::write(&script, "#!/usr/bin/env php\n<?php echo 1;").expect("a script");
    assert!(
        matches!(refusal(&script), Error::NotElf { interpreter: Some(i), .. } if i == "/usr/bin/env php")
    );
    assert!(refusal(&script).hint().contains("/usr/bin/env php"));
    assert!(matches!(refusal(dir.path()), Error::NotElf { interpreter: None, .. }));
    assert!(matches!(refusal(&dir.path().join("none")), Error::NotFound { .. }));
    assert!(matches!(refusal(Path::new("/bin/sh")), Error::NotPhp { .. }));
    assert!(matches!(refusal(Path::new("/dev/zero")), Error::NotElf { .. }));
    let fifo = dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    assert!(matches!(refusal(&fifo), Error::NotElf { .. }));
    let large = dir.path().join("large");
    fs::File::create(&large).and_then(|f| f.set_len(introspect::MAX_FILE_SIZE + 1)).expect("a sparse file");
    assert!(matches!(refusal(&large), Error::TooLarge { .. }));
    // An extension carries the same build string.
    let extension = common::named("8.3-cli").path.with_file_name("modules").join("opcache.so");
    assert!(matches!(refusal(&extension), Error::NotPhp { .. }));
    for path in [script, fifo, large, extension] {
        assert_one_line(&refusal(&path));
    }
}

#[test]
fn installed_php_is_discovered_once() {
    let found = discover();
    assert!(found.contains(&common::named("8.2-cli").path), "{found:?}");
    assert!(found.contains(&common::named("8.2-fpm").path), "{found:?}");
    assert!(found.is_sorted() && found.iter().all(|p| p.canonicalize().is_ok_and(|c| c == *p)));
    assert!(found.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn minors_order() {
    assert!(Minor(7, 4) < Minor(8, 0) && Minor(8, 4) < Minor(8, 5));
}

/// Introspects bytes as a file; whatever comes out, it is not a panic.
fn survives(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), bytes).expect("bytes");
    if let Err(error) = introspect(file.path()) {
        assert_one_line(&error);
    }
}

/// The parts of a real binary that parsing depends on come first in the file: headers, hashes, symbols, strings.
const TABLES: usize = 0x4_0000;

fn real() -> &'static [u8] {
    static REAL: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    REAL.get_or_init(|| fs::read(common::named("8.2-zts-embed").path).expect("the binary"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        survives(&bytes);
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
        elf.extend(&bytes);
        survives(&elf);
    }

    #[test]
    fn a_truncated_binary(len in 0..real().len()) {
        survives(&real()[..len]);
    }

    #[test]
    fn flipped_bits(flips in prop::collection::vec((0..TABLES, 0u8..8), 1..200)) {
        let mut bytes = real().to_vec();
        for (at, bit) in flips {
            bytes[at] ^= 1 << bit;
        }
        survives(&bytes);
    }

    #[test]
    fn flipped_bits_in_headers(flips in prop::collection::vec((16usize..0x400, 0u8..8), 1..6)) {
        let mut bytes = real().to_vec();
        for (at, bit) in flips {
            bytes[at] ^= 1 << bit;
        }
        survives(&bytes);
    }

    #[test]
    fn flipped_bits_in_late_tables(flips in prop::collection::vec((0..0x4000usize, 0u8..8), 1..50)) {
        let real = real();
        let word = |at: usize| u64::from_le_bytes(real[at..at + 8].try_into().expect("8 bytes")) as usize;
        let sections = word(0x28);
        let dynamic = (0..usize::from(real[0x38])).map(|i| word(0x20) + i * 56).find(|at| real[*at] == 2);
        let dynamic = word(dynamic.expect("PT_DYNAMIC") + 8);
        let mut bytes = real.to_vec();
        for (at, bit) in flips {
            let start = if at.is_multiple_of(2) { sections } else { dynamic };
            if let Some(byte) = bytes.get_mut(start + at / 2 % 0x700) {
                *byte ^= 1 << bit;
            }
        }
        survives(&bytes);
    }
}
