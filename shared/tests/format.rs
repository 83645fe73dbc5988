//! Both faces of a profile: what is written is read, and nothing else is.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use common::{any_profile, everything, grant, op};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use shared::profile::{Context, Face, Learned, PhpMatch, Profile, ProfileError, Script, View, Who};
use shared::site::{Name, Site};

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// Remembers the largest block that each thread asked for.
struct Watched;

// SAFETY: every request goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(layout.size())));
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(size)));
        // SAFETY: the caller's promise is handed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// Reads, and asserts that no block was larger than what the input explains.
fn read(bytes: &[u8]) -> Result<Profile, ProfileError> {
    // Warm: tables that are built once are not the input's.
    let _ = Profile::from_bytes(&everything().to_bytes());
    LARGEST.set(0);
    let result = Profile::from_bytes(bytes);
    let largest = LARGEST.get();
    assert!(
        largest <= 16 * 1024 + 300 * bytes.len(),
        "{largest} bytes at once for an input of {}",
        bytes.len()
    );
    result
}

const HEADER: usize = 52;

/// A file with that payload whose checksum is right.
fn sealed(payload: &[u8]) -> Vec<u8> {
    let mut bytes = everything().to_bytes()[..12].to_vec();
    bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&Sha256::digest(payload));
    bytes.extend_from_slice(payload);
    bytes
}

/// The sections of a payload: (tag, body).
fn sections(payload: &[u8]) -> Vec<([u8; 4], Vec<u8>)> {
    let mut rest = payload;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[4..12].try_into().unwrap()) as usize;
        found.push((rest[..4].try_into().unwrap(), rest[12..12 + length].to_vec()));
        rest = &rest[12 + length..];
    }
    found
}

fn joined(sections: &[([u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (tag, body) in sections {
        payload.extend_from_slice(tag);
        payload.extend_from_slice(&(body.len() as u64).to_le_bytes());
        payload.extend_from_slice(body);
    }
    payload
}

fn message(bytes: &[u8]) -> String {
    let error = read(bytes).unwrap_err();
    assert!(!error.hint().is_empty());
    error.to_string()
}

#[test]
fn one_of_everything_round_trips() {
    let profile = everything();
    assert_eq!(read(&profile.to_bytes()).unwrap(), profile);
    assert_eq!(Profile::from_json(profile.to_json().as_bytes()).unwrap(), profile);
    assert_eq!(profile.checksum().len(), 64);
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[test]
fn version_1_stays_readable() {
    let profile = Profile::load(&fixture("v1.profile")).unwrap();
    assert_eq!(profile.to_json(), std::fs::read_to_string(fixture("v1.json")).unwrap());
}

/// Written once for each new format: `WRITE_FIXTURES=1 cargo test -p shared --test format`.
#[test]
fn this_version_has_its_fixture() {
    if std::env::var_os("WRITE_FIXTURES").is_some() {
        everything().save(&fixture("v1.profile"), true).unwrap();
        everything().save_face(&fixture("v1.json"), Face::Json, true).unwrap();
    }
    assert!(fixture("v1.profile").exists() && fixture("v1.json").exists());
}

#[test]
fn truncation_at_every_offset_is_refused() {
    let bytes = everything().to_bytes();
    for length in 0..bytes.len() {
        let error = read(&bytes[..length]).unwrap_err();
        match error {
            ProfileError::NotAProfile => assert_eq!(length, 0),
            ProfileError::Truncated { .. } => {}
            other => panic!("{length}: {other}"),
        }
    }
}

#[test]
fn truncation_inside_a_right_checksum_is_refused() {
    let payload = everything().to_bytes()[HEADER..].to_vec();
    for length in 0..payload.len() {
        assert!(read(&sealed(&payload[..length])).is_err(), "{length}");
    }
}

#[test]
fn a_changed_byte_is_refused() {
    let bytes = everything().to_bytes();
    for offset in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[offset] ^= 0x40;
        assert!(read(&changed).is_err(), "{offset}");
    }
}

#[test]
fn errors_say_what_and_where() {
    let bytes = everything().to_bytes();
    let payload = &bytes[HEADER..];

    let mut future = bytes.clone();
    future[8] = 9;
    assert_eq!(message(&future), "the profile has format version 9, and this program reads versions up to 1");

    let mut trailing = bytes.clone();
    trailing.extend_from_slice(b"xyz");
    assert_eq!(message(&trailing), format!("3 bytes too many after the payload, at offset {}", bytes.len()));

    let mut corrupted = bytes.clone();
    *corrupted.last_mut().unwrap() ^= 1;
    assert_eq!(
        message(&corrupted),
        format!(
            "the profile is corrupted: the checksum of the {} bytes at offset 52 does not match",
            payload.len()
        )
    );

    assert_eq!(message(b"\x7fELF"), "not a profile: it starts with neither the mark of one nor `{`");
    assert!(
        message(&bytes[..30])
            .starts_with("the profile is truncated: the checksum at offset 20 needs 32 bytes")
    );

    let mut more = sections(payload);
    more.push((*b"NEW\n", vec![1, 2]));
    assert_eq!(
        message(&sealed(&joined(&more))),
        format!("unknown section `NEW\\n` at offset {}", bytes.len())
    );

    let mut twice = sections(payload);
    twice.push(twice[0].clone());
    assert_eq!(message(&sealed(&joined(&twice))), "the section `META` is there twice");

    let mut fewer = sections(payload);
    fewer.remove(5);
    assert_eq!(message(&sealed(&joined(&fewer))), "the section `GRNT` is there not at all");

    let mut longer = sections(payload);
    longer[0].1.push(0);
    assert!(
        message(&sealed(&joined(&longer)))
            .starts_with("1 bytes too many after the section `META`, at offset ")
    );

    let mut garbled = sections(payload);
    garbled[4].1 = vec![0xfd; 9];
    assert!(message(&sealed(&joined(&garbled))).starts_with("the section `SITE` at offset "));
}

#[test]
fn errors_are_safe_on_a_terminal() {
    let payload = everything().to_bytes()[HEADER..].to_vec();
    let at = payload.windows(8).position(|window| window == b"relevant").unwrap();
    for text in [&b"\x1b[2Jopen"[..], b"open:\x1b[2J", b"openat:\n\n\n", b"fchdir:\0\0"] {
        let mut garbled = payload.clone();
        garbled.splice(at - 1..at + 8, [&[text.len() as u8][..], text].concat());
        let longer = text.len() as u64 - 8;
        let length = u64::from_le_bytes(garbled[4..12].try_into().unwrap()) + longer;
        garbled[4..12].copy_from_slice(&length.to_le_bytes());
        let message = message(&sealed(&garbled));
        assert!(message.starts_with("invalid profile: operations: "), "{message}");
        assert!(!message.chars().any(char::is_control), "{message:?}");
    }
    let json = everything().to_json().replace("\"relevant\"", "\"\\u001b[2Jopen\"");
    let of_json = message(json.as_bytes());
    assert!(of_json.contains("\\x1b[2Jopen") && !of_json.chars().any(char::is_control), "{of_json:?}");

    let mut other = everything();
    other.php = shared::profile::Php::new("\x1b[2J.1", "");
    let merged = everything().merge(other.clone()).unwrap_err().to_string();
    assert!(!merged.chars().any(char::is_control), "{merged:?}");
    let mismatch = other.check_php("8.2.1", false).unwrap_err().to_string();
    assert!(!mismatch.chars().any(char::is_control), "{mismatch:?}");
}

#[test]
fn unknown_constraints_are_refused_by_name() {
    let payload = everything().to_bytes()[HEADER..].to_vec();
    let at = payload.windows(5).position(|window| window == b"\x04path").unwrap();
    let mut newer = payload;
    newer[at + 1..at + 5].copy_from_slice(b"port");
    assert!(message(&sealed(&newer)).starts_with("unknown constraint `port` in grant "));

    let json = everything().to_json().replace("{\"path\": [", "{\"port\": [");
    assert!(message(json.as_bytes()).contains("unknown variant `port`"), "{}", message(json.as_bytes()));
    let json = everything().to_json().replace("\"constraints\": [{", "\"constraint\": [{");
    assert!(message(json.as_bytes()).contains("unknown field `constraint`"));
}

#[test]
fn what_no_profile_can_say_is_refused() {
    let refused = |who: Who, operation: &str| {
        let mut profile = everything();
        profile.grants.push(grant(who, operation));
        let message = message(&profile.to_bytes());
        assert!(profile.save(Path::new("/nowhere/at/all"), true).is_err());
        message
    };
    let main = || Who::site(Site::main("/a.php"));
    assert!(refused(Who::site(Site::unknown()), "unlink").contains("{unknown} is never granted"));
    assert!(refused(main(), "bpf").contains("`bpf` is never granted"));
    assert!(refused(main(), "foreign").contains("`foreign` is never granted"));
    assert!(refused(main(), "unknown").contains("`unknown` is never granted"));
    assert!(refused(main(), "openat:unreadable").contains("`openat:unreadable` is never granted"));
    assert!(refused(main(), "io_uring_setup").contains("`io_uring_setup` is never granted"));
    assert!(refused(Who::site(Site::engine(shared::site::Phase::Request)), "exec").contains("never granted"));
    assert!(refused(Who::site(Site::main("/a.php(3) : eval()'d code")), "unlink").contains("eval"));
    assert!(refused(Who::site(Site::main("phar:///a.phar/b.php")), "unlink").contains("absolute"));
    assert!(refused(Who::site(Site::main("/srv/../a.php")), "unlink").contains("absolute"));
    assert!(refused(Who::Sites(vec![]), "unlink").contains("list of 0 sites"));
    assert!(
        refused(Who::Sites(vec![Site::main("/a"), Site::main("/b")]), "unlink")
            .contains("a list of 2 sites; of a profile with the context `nearest` it has from 1 to 1")
    );
    assert!(refused(Who::site(Site::main(vec![b'/'; 300])), "unlink").contains("255"));
    let entry = shared::site::OriginEntry { site: Site::main("/a.php"), sink: None };
    let long = Who::Program { origin: vec![entry; 9], program: "/bin/sh".into() };
    assert!(refused(long, "exec").contains("an origin has at most 8 entries"));
    assert!(
        refused(Who::Program { origin: vec![], program: "".into() }, "exec").contains("a program has from 1")
    );
}

#[test]
fn wrappers_are_there_only_where_there_are_some() {
    let plain = everything();
    assert!(!plain.to_json().contains("wrappers"));
    assert!(sections(&plain.to_bytes()[HEADER..]).iter().all(|(tag, _)| tag != b"WRAP"));

    let mut with = everything();
    with.wrappers = vec!["vfs".into(), "s3".into(), "vfs".into()];
    with.normalize();
    assert_eq!(with.wrappers, ["s3", "vfs"]);
    assert_eq!(read(&with.to_bytes()).unwrap(), with);
    assert_eq!(Profile::from_json(with.to_json().as_bytes()).unwrap(), with);
    assert_ne!(with.checksum(), plain.checksum());

    let mut merged = plain;
    merged.merge(with).unwrap();
    assert_eq!(merged.wrappers, ["s3", "vfs"]);
}

#[test]
fn context_is_there_only_where_it_says_something() {
    let plain = everything();
    assert!(!plain.to_json().contains("context") && !plain.to_json().contains("files"));
    assert!(sections(&plain.to_bytes()[HEADER..]).iter().all(|(tag, _)| tag != b"CTXT"));
    plain.check_context(Context::Nearest).unwrap();
    let refused = plain.check_context(Context::KnownFiles).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the profile was learnt with --context nearest, and does not say what --context known-files asks for"
    );
    assert_eq!(refused.hint(), "learn again: --profile --context known-files, or leave --context out");

    let mut with = everything();
    with.context = Context::KnownFiles;
    assert_eq!(read(&with.to_bytes()).unwrap(), with, "no file is listed");
    with.files = ["app:index.php", "/a.php", "app:index.php"].map(Name::from).into();
    with.normalize();
    assert_eq!(with.files, ["/a.php", "app:index.php"].map(Name::from));
    assert_eq!(read(&with.to_bytes()).unwrap(), with);
    assert_eq!(Profile::from_json(with.to_json().as_bytes()).unwrap(), with);
    assert_ne!(with.checksum(), plain.checksum());
    with.check_context(Context::KnownFiles).unwrap();

    // What was learnt with less is in it, too.
    let mut merged = with.clone();
    merged.merge(plain).unwrap();
    assert_eq!((merged.context, &merged.files), (Context::Nearest, &with.files));
    assert_eq!(read(&merged.to_bytes()).unwrap(), merged);
    let mut both = with.clone();
    both.merge(with.clone()).unwrap();
    assert_eq!(both.context, Context::KnownFiles);
}

#[test]
fn callers_are_there_as_far_as_the_context_goes() {
    let called = |by: &[&str]| {
        let callers = by.iter().map(|file| Site::main(*file));
        grant(Who::Sites([Site::main("/a.php")].into_iter().chain(callers).collect()), "unlink")
    };
    let with = |frames, grants| {
        let mut profile = everything();
        profile.context = Context::Frames(frames);
        profile.grants = grants;
        profile.normalize();
        profile
    };
    let three = with(3, vec![called(&[]), called(&["/b.php"]), called(&["/b.php", "app:c.php"])]);
    assert_eq!(read(&three.to_bytes()).unwrap(), three);
    assert!(three.to_json().contains("\"context\": \"3\""));
    assert_eq!(Profile::from_json(three.to_json().as_bytes()).unwrap(), three);
    for asked in [Context::Nearest, Context::Frames(2), Context::Frames(3)] {
        three.check_context(asked).unwrap();
    }
    for asked in [Context::KnownFiles, Context::Frames(4)] {
        three.check_context(asked).unwrap_err();
    }

    let mut merged = three.clone();
    merged.merge(with(2, vec![called(&["/d.php"])])).unwrap();
    assert_eq!(merged, Profile { learned: merged.learned.clone(), ..with(2, merged.grants.clone()) });
    let lists: Vec<_> = merged.grants.iter().map(|grant| grant.who.to_string()).collect();
    assert_eq!(
        lists,
        ["{main} in /a.php", "{main} in /a.php < {main} in /b.php", "{main} in /a.php < {main} in /d.php"]
    );
    merged.merge(everything()).unwrap();
    assert_eq!(merged.context, Context::Nearest);
    assert!(merged.grants.iter().all(|grant| !matches!(&grant.who, Who::Sites(list) if list.len() > 1)));

    for (context, grants, why) in [
        (Context::Frames(2), vec![called(&["/b.php", "/c.php"])], "a list of 3 sites"),
        (Context::KnownFiles, vec![called(&["/b.php"])], "a list of 2 sites"),
        (
            Context::Frames(2),
            vec![grant(Who::Sites(vec![Site::main("/a.php"), Site::master()]), "unlink")],
            "{master} neither calls nor is called by code",
        ),
        (Context::Frames(2), vec![called(&["/b.php(1) : eval()'d code"])], "code from eval"),
    ] {
        let mut refused = everything();
        (refused.context, refused.grants) = (context, grants);
        assert!(message(&refused.to_bytes()).contains(why), "{}", message(&refused.to_bytes()));
    }
    assert_eq!("1".parse(), Ok(Context::Nearest));
    for text in ["0", "9", "300", "-1", "2.0", "known"] {
        let refused = text.parse::<Context>().unwrap_err();
        assert_eq!(
            refused,
            format!("`{text}` is neither nearest nor known-files, nor a number of frames from 1 to 8")
        );
    }
}

#[test]
fn files_that_no_chain_can_have_are_refused() {
    let long = format!("/{}", "x".repeat(255));
    for (file, why) in [
        ("", "from 1 to 255 bytes"),
        (long.as_str(), "from 1 to 255 bytes"),
        ("a.php", "must be an absolute path"),
        ("/srv/../a.php", "must be an absolute path"),
        ("vfs://root/a.php", "must be an absolute path"),
        ("/a.php(3) : eval()'d code", "only by a pattern in `generated`"),
    ] {
        let mut profile = everything();
        profile.files = vec!["/a.php".into(), file.into()];
        for bytes in [profile.to_bytes(), profile.to_json().into_bytes()] {
            let message = message(&bytes);
            assert!(message.contains(why) && message.contains("files["), "{message}");
        }
    }
    let mut many = everything();
    many.files = (0..65_537).map(|n| format!("/{n}.php").into()).collect();
    assert!(message(&many.to_bytes()).contains("65537 of them, at most 65536 are allowed"));
    let json = everything().to_json().replace("\"scripts\"", "\"context\": \"9\", \"scripts\"");
    assert!(message(json.as_bytes()).contains("`9` is neither nearest"), "{}", message(json.as_bytes()));
    let mut unknown = sections(&everything().to_bytes()[HEADER..]);
    unknown.push((*b"CTXT", vec![9, 0]));
    assert!(message(&sealed(&joined(&unknown))).contains("context: the number 9 means nothing"));
}

#[test]
fn contradictions_are_refused() {
    let lossy = Profile { learned: Learned { lost: 1, ..everything().learned }, ..everything() };
    let mut twice = everything();
    twice.scripts.push(Script { sha256: [9; 32], ..twice.scripts[0].clone() });
    for (profile, why) in [
        (lossy, "complete: records were lost (`learned.lost`), so it is not"),
        (twice, "scripts[1]: there is another script of that name"),
    ] {
        for bytes in [profile.to_bytes(), profile.to_json().into_bytes()] {
            let message = message(&bytes);
            assert!(message.contains(why), "{message}");
        }
    }
    let mut same = everything();
    same.scripts.push(same.scripts[0].clone());
    assert_eq!(Profile::from_json(same.to_json().as_bytes()).unwrap(), everything());
}

#[test]
fn hostile_wrappers_are_refused() {
    let file: &[&str] = &["file"];
    for (schemes, why) in [
        (file, "`file` is a wrapper of PHP itself"),
        (&["php"], "`php` is a wrapper of PHP itself"),
        (&["phar"], "`phar` is a wrapper of PHP itself"),
        (&["data"], "`data` is a wrapper of PHP itself"),
        (&["compress.zlib"], "`compress.zlib` is a wrapper of PHP itself"),
        (&["FILE"], "from 2 to 31 lower-case letters"),
        (&["vfs://"], "from 2 to 31 lower-case letters"),
        (&["*"], "from 2 to 31 lower-case letters"),
        (&["/srv/app"], "from 2 to 31 lower-case letters"),
        (&["v\u{1b}[2J"], "from 2 to 31 lower-case letters"),
        (&[""], "from 2 to 31 lower-case letters"),
        (&["php", "vfs"], "`php` is a wrapper of PHP itself"),
    ] {
        let mut profile = everything();
        profile.wrappers = schemes.iter().map(ToString::to_string).collect();
        for bytes in [profile.to_bytes(), profile.to_json().into_bytes()] {
            let message = message(&bytes);
            assert!(message.contains(why) && message.contains("wrappers[0]"), "{message}");
        }
    }
    let mut many = everything();
    many.wrappers = (0..17).map(|n| format!("vfs{n}")).collect();
    assert!(message(&many.to_bytes()).contains("17 of them, at most 16 are allowed"));
    let json = everything().to_json().replace("\"scripts\"", "\"wrapper\": [\"vfs\"], \"scripts\"");
    assert!(message(json.as_bytes()).contains("unknown field `wrapper`"));
    assert!(
        message(&sealed(&[&everything().to_bytes()[HEADER..], b"WRAP", &u64::MAX.to_le_bytes()].concat()))
            .contains("truncated")
    );
}

#[test]
fn saving_replaces_as_a_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("php.profile");
    let names = || std::fs::read_dir(directory.path()).unwrap().count();
    everything().save(&path, false).unwrap();
    assert!(matches!(everything().save(&path, false), Err(ProfileError::Exists { .. })));
    let mut other = everything();
    other.grants.clear();
    other.save(&path, true).unwrap();
    assert_eq!(Profile::load(&path).unwrap(), other);
    assert_eq!(names(), 1);

    // It cannot be renamed over a directory, nor written where none is.
    let taken = directory.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    assert!(matches!(other.save(&taken, true), Err(ProfileError::Write { .. })));
    assert!(matches!(other.save(&path.join("below"), true), Err(ProfileError::Write { .. })));
    assert_eq!(names(), 2);

    // An invalid one is not written at all.
    let mut invalid = everything();
    invalid.grants.push(grant(Who::site(Site::unknown()), "unlink"));
    assert!(matches!(invalid.save(&path, true), Err(ProfileError::Invalid { .. })));
    assert_eq!(Profile::load(&path).unwrap(), other);
}

#[test]
fn a_sandbox_believes_only_files_that_others_cannot_change() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("php.profile");
    let mode =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let why = |path: &Path| match Profile::load_for_sandbox(path, false) {
        Err(ProfileError::Untrusted { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    everything().save(&path, false).unwrap();
    assert_eq!(Profile::load_for_sandbox(&path, false).unwrap(), everything());

    for unsafe_mode in [0o664, 0o646] {
        mode(&path, unsafe_mode);
        assert!(why(&path).contains("others can write it"));
    }
    mode(&path, 0o644);
    mode(directory.path(), 0o777);
    assert!(why(&path).contains("others can write the directory"));
    mode(directory.path(), 0o1777);
    assert!(Profile::load_for_sandbox(&path, false).is_ok());
    mode(directory.path(), 0o700);

    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    assert_eq!(why(&link), "it is a symbolic link");
    assert_eq!(why(directory.path()), "it is not a regular file");
    let missing = Profile::load_for_sandbox(&directory.path().join("none"), false).unwrap_err();
    assert!(missing.hint().contains("--profile"));

    // Only root can give a file away.
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
        assert_eq!(why(&path), "user 12345 owns it");
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        std::os::unix::fs::chown(directory.path(), Some(12_345), None).unwrap();
        assert!(why(&path).starts_with("user 12345 owns the directory"));
        std::os::unix::fs::chown(directory.path(), Some(0), None).unwrap();
    }
}

#[test]
fn a_link_on_the_way_is_followed_and_checked() {
    let directory = tempfile::tempdir().unwrap();
    let real = directory.path().join("real");
    std::fs::create_dir(&real).unwrap();
    everything().save(&real.join("p"), false).unwrap();
    symlink(&real, directory.path().join("link")).unwrap();
    let through = directory.path().join("link/p");
    assert!(Profile::load_for_sandbox(&through, false).is_ok());
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(Profile::load_for_sandbox(&through, false), Err(ProfileError::Untrusted { .. })));
}

#[test]
fn what_does_not_fit_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("php.profile");
    let mut profile = everything();
    profile.complete = false;
    profile.learned.lost = 7;
    profile.save(&path, false).unwrap();
    let error = Profile::load_for_sandbox(&path, false).unwrap_err();
    assert_eq!(error.to_string(), "the profile is incomplete: 7 records were lost while it was learnt");
    assert!(error.hint().contains("--force"));
    assert!(Profile::load_for_sandbox(&path, true).is_ok());

    assert_eq!(profile.check_php("8.2.29", false).unwrap(), PhpMatch::Same);
    assert!(matches!(profile.check_php("8.2.30", false).unwrap(), PhpMatch::Notice(_)));
    assert!(profile.check_php("8.20.1", false).unwrap_err().hint().contains("--accept-php-version"));
    assert!(matches!(profile.check_php("8.3.1", true).unwrap(), PhpMatch::Notice(_)));

    assert!(profile.check_view(View::Syscall).is_ok());
    assert!(profile.check_view(View::Lsm).unwrap_err().hint().contains("without --lsm"));
}

#[test]
fn merging_adds() {
    let mut merged = everything();
    let mut other = everything();
    other.learned.lost = 1;
    other.complete = false;
    other.operations = "unlink".parse().unwrap();
    other.php.version = "8.2.30".into();
    other.grants.push(grant(Who::site(Site::main("/b.php")), "unlink"));
    other.scripts[0].size = 99;
    merged.merge(other).unwrap();
    assert_eq!(merged.grants.len(), everything().grants.len() + 1);
    assert_eq!(merged.grants.iter().find(|grant| grant.operation == op("exec")).unwrap().seen, 2);
    assert_eq!((merged.learned.runs, merged.learned.events, merged.learned.lost), (4, 200, 1));
    assert_eq!((merged.learned.unknown["evaluated-code"], merged.learned.host.as_str()), (8, "web1"));
    assert!(!merged.complete);
    assert_eq!(merged.operations.to_string(), "relevant,unlink");
    assert_eq!((merged.scripts.len(), merged.scripts[0].size), (1, 99));

    let before = merged.clone();
    for (different, what) in [
        (Profile { view: View::Lsm, ..everything() }, "view"),
        (Profile { attribution: shared::profile::Attribution::Usdt, ..everything() }, "attribution"),
        (Profile { php: shared::profile::Php::new("8.4.1", ""), ..everything() }, "PHP release"),
    ] {
        assert!(merged.merge(different).unwrap_err().to_string().contains(what));
    }
    assert_eq!(merged, before);
}

#[test]
fn json_is_one_fact_a_line() {
    let json = everything().to_json();
    let grants = json.lines().filter(|line| line.contains("\"operation\": ")).count();
    assert_eq!(grants, everything().grants.len());
    assert!(json.contains(
        r#"{"sites": [{"kind": "engine", "function": "shutdown"}], "operation": "openat:create", "constraints": [{"path": ["/var/lib/php/sessions/*"]}], "mode": "enforce", "seen": 1, "sinks": [], "samples": []}"#
    ), "{json}");
    assert!(json.contains(r#"{"hex": "2f746d702fff"}"#));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_profile_round_trips(profile in any_profile()) {
        prop_assert_eq!(&read(&profile.to_bytes()).unwrap(), &profile);
        let json = profile.to_json();
        let back = Profile::from_json(json.as_bytes()).unwrap();
        prop_assert_eq!(&back, &profile);
        prop_assert_eq!(back.to_json(), json);
    }

    #[test]
    fn merging_with_itself_adds_no_grant(profile in any_profile()) {
        let mut merged = profile.clone();
        merged.merge(profile.clone()).unwrap();
        prop_assert_eq!(merged.grants.len(), profile.grants.len());
    }

    #[test]
    fn random_bytes_are_refused(bytes: Vec<u8>) {
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn random_payloads_are_refused(payload: Vec<u8>) {
        prop_assert!(read(&sealed(&payload)).is_err());
    }

    #[test]
    fn random_sections_never_allocate_wildly(which in 0..7usize, body: Vec<u8>) {
        let mut parts = sections(&everything().to_bytes()[HEADER..]);
        parts[which].1 = body;
        let _ = read(&sealed(&joined(&parts)));
    }

    #[test]
    fn changed_payloads_never_allocate_wildly(at: prop::sample::Index, bytes: [u8; 9]) {
        let mut payload = everything().to_bytes()[HEADER..].to_vec();
        let at = at.index(payload.len() - bytes.len());
        payload[at..at + bytes.len()].copy_from_slice(&bytes);
        let _ = read(&sealed(&payload));
    }

    #[test]
    fn claimed_lengths_are_not_believed(at: prop::sample::Index, length in 1_000_000..u64::MAX) {
        let mut payload = everything().to_bytes()[HEADER..].to_vec();
        let at = at.index(payload.len() - 9);
        payload[at] = 253;
        payload[at + 1..at + 9].copy_from_slice(&length.to_le_bytes());
        let _ = read(&sealed(&payload));
    }
}
