//! A profile that has one of everything, and any profile.
#![allow(dead_code)] // each test file uses its part

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use shared::intf;
use shared::op::{Op, Selection};
use shared::profile::{
    Attribution, Constraint, Context, Generated, Grant, GrantMode, Learned, Php, Profile, Root, Script, View,
    Who,
};
use shared::site::{Name, OriginEntry, Phase, Site};

/// The operation of that name.
pub fn op(text: &str) -> Op {
    Op::parse(text).unwrap()
}

/// A grant without constraints.
pub fn grant(who: Who, operation: &str) -> Grant {
    Grant {
        who,
        operation: op(operation),
        constraints: Vec::new(),
        mode: GrantMode::Enforce,
        seen: 1,
        sinks: Vec::new(),
        samples: Vec::new(),
    }
}

/// One of everything.
pub fn everything() -> Profile {
    let mut profile = Profile::new(
        View::Syscall,
        Attribution::Stack,
        Selection::default(),
        Php::new("8.2.29", "API20220829,NTS"),
    );
    let cleanup = Site::function("app:src/Uploader.php", Some("App\\Uploader".into()), "cleanup");
    profile.roots = vec![Root::parse("app=/srv/app/releases/*").unwrap()];
    profile.generated =
        vec![Generated { pattern: "app:cache/*.php".into(), operations: vec![op("openat:read")] }];
    profile.scripts = vec![Script {
        file: "app:src/Uploader.php".into(),
        device: 66_305,
        inode: 4711,
        size: 1234,
        sha256: [0xab; 32],
    }];
    profile.grants = vec![
        Grant {
            seen: 3,
            sinks: vec!["unlink".into()],
            samples: vec!["/tmp/upload-1".into(), Name::from(&b"/tmp/\xff"[..])],
            ..grant(Who::site(cleanup.clone()), "unlink")
        },
        Grant {
            mode: GrantMode::Log,
            ..grant(Who::site(Site::main("app:public/index.php")), "openat:create")
        },
        grant(Who::site(Site::closure("/usr/share/php/a.php")), "openat:read"),
        Grant {
            constraints: vec![Constraint::Path(vec!["/tmp/*".into()])],
            ..grant(Who::site(Site::internal(None, "unlink")), "unlink")
        },
        Grant {
            constraints: vec![Constraint::Path(vec!["/var/lib/php/sessions/*".into()])],
            ..grant(Who::site(Site::engine(Phase::Shutdown)), "openat:create")
        },
        grant(Who::site(Site::master()), "setuid"),
        grant(
            Who::Program {
                origin: vec![OriginEntry { site: cleanup, sink: Some("exec".into()) }],
                program: "/usr/bin/convert".into(),
            },
            "exec",
        ),
    ];
    profile.learned = Learned {
        runs: 2,
        events: 100,
        lost: 0,
        unknown: BTreeMap::from([("evaluated-code".to_owned(), 4)]),
        foreign: 1,
        started: Some("2026-11-22T10:00:00Z".parse().unwrap()),
        ended: Some("2026-11-22T11:00:00.5Z".parse().unwrap()),
        host: "web1".into(),
    };
    profile.normalize();
    profile
}

fn name() -> impl Strategy<Value = Name> {
    prop_oneof![
        vec(any::<u8>(), 1..12).prop_map(Name::from),
        "[a-zA-Z\\\\_]{1,8}".prop_map(Name::from),
        "\\PC{1,8}".prop_map(Name::from),
    ]
}

fn file() -> impl Strategy<Value = Name> {
    let component = || vec(any::<u8>().prop_map(|byte| if byte == b'/' { b'x' } else { byte }), 1..6);
    let absolute = vec(component(), 1..4).prop_map(|parts| {
        let parts = parts.into_iter().map(|part| [b"/x", &part[..]].concat());
        Name::from(parts.collect::<Vec<_>>().concat())
    });
    prop_oneof![
        absolute,
        "app:[a-z]{1,8}\\.php".prop_map(Name::from),
        "vfs://[a-z]{1,8}/[a-z]{1,8}\\.php".prop_map(Name::from),
        Just(Name::from("Command line code"))
    ]
}

fn site() -> impl Strategy<Value = Site> {
    prop_oneof![
        (file(), option::of(name()), name())
            .prop_map(|(file, class, function)| Site::function(file, class, function)),
        file().prop_map(Site::main),
        file().prop_map(Site::closure),
        (option::of(name()), name()).prop_map(|(class, function)| Site::internal(class, function)),
        Just(Site::engine(Phase::Request)),
        Just(Site::engine(Phase::Startup)),
        Just(Site::master()),
    ]
}

fn who() -> impl Strategy<Value = Who> {
    let entry = (site(), option::of(name())).prop_map(|(site, sink)| OriginEntry { site, sink });
    prop_oneof![
        3 => site().prop_map(Who::site),
        1 => (vec(entry, 1..3), name()).prop_map(|(origin, program)| Who::Program { origin, program }),
    ]
}

/// Those that can be granted to anyone.
fn operation() -> impl Strategy<Value = Op> {
    let all: Vec<Op> = "all".parse::<Selection>().unwrap().ops().iter().collect();
    let never =
        ["bpf", "io_uring_setup", "io_uring_enter", "io_uring_register", "foreign", "unknown", "exec"];
    let ops: Vec<Op> = all
        .into_iter()
        .filter(|op| !op.is_unreadable() && !op.to_string().starts_with("exec"))
        .filter(|op| !never.contains(&op.to_string().as_str()))
        .collect();
    proptest::sample::select(ops)
}

fn any_grant() -> impl Strategy<Value = Grant> {
    let pattern = "/[a-z*]{1,5}(/[a-z*]{1,5}){0,2}".prop_map(Name::from);
    let constraint = prop_oneof![vec(pattern, 1..4).prop_map(Constraint::Path), Just(Constraint::Itself)];
    (
        who(),
        operation(),
        vec(constraint, 0..2),
        any::<bool>(),
        any::<u64>(),
        vec(name(), 0..4),
        vec(name(), 0..4),
    )
        .prop_map(|(who, operation, constraints, log, seen, sinks, samples)| Grant {
            who,
            operation,
            constraints,
            mode: if log { GrantMode::Log } else { GrantMode::Enforce },
            seen,
            sinks,
            samples,
        })
}

fn learned() -> impl Strategy<Value = Learned> {
    let time = || option::of((-1_000_000_000_i64..4_000_000_000, 0..1_000_000_000_i32));
    let stamp = |time: Option<(i64, i32)>| {
        time.map(|(second, nanosecond)| jiff::Timestamp::new(second.max(0), nanosecond).unwrap())
    };
    let counts = btree_map("[a-z-]{1,9}", any::<u64>(), 0..3);
    (any::<[u64; 4]>(), counts, time(), time(), "\\PC{0,9}").prop_map(
        move |(n, unknown, started, ended, host)| Learned {
            runs: n[0],
            events: n[1],
            lost: n[2],
            unknown,
            foreign: n[3],
            started: stamp(started),
            ended: stamp(ended),
            host,
        },
    )
}

const CONTEXTS: &[Context] = &[Context::Nearest, Context::KnownFiles, Context::Frames(2), Context::Frames(8)];

/// Any profile that can be stored.
pub fn any_profile() -> impl Strategy<Value = Profile> {
    let script = (file(), any::<[u64; 3]>(), any::<[u8; 32]>()).prop_map(|(file, n, sha256)| Script {
        file,
        device: n[0],
        inode: n[1],
        size: n[2],
        sha256,
    });
    let generated =
        (name(), vec(operation(), 0..4)).prop_map(|(pattern, operations)| Generated { pattern, operations });
    let selection = prop_oneof![Just("relevant"), Just("all"), Just("seed,unlink,openat:create")];
    (
        (any::<bool>(), proptest::sample::select(CONTEXTS), vec(file(), 0..3)),
        selection,
        vec(script, 0..3),
        vec(generated, 0..3),
        vec(any_grant(), 0..12),
        learned(),
        any::<bool>(),
    )
        .prop_map(
            |((lsm, context, files), selection, scripts, generated, mut grants, learned, complete)| {
                for grant in grants.iter_mut().filter(|grant| grant.seen % 2 == 0) {
                    if let (Who::Sites(list), 2..) = (&mut grant.who, context.frames())
                        && list[0].file.is_some()
                    {
                        list.push(Site::main("app:index.php"));
                    }
                }
                let view = if lsm { View::Lsm } else { View::Syscall };
                let php = Php::new("8.4.1", "API20240924,TS");
                let mut profile = Profile::new(view, Attribution::Usdt, selection.parse().unwrap(), php);
                profile.roots = vec![Root::parse("app=/srv/*/app").unwrap()];
                profile.wrappers = vec!["s3".into(), "vfs".into()];
                profile.context = context;
                profile.files = files;
                profile.scripts = scripts;
                profile.generated = generated;
                profile.grants = grants;
                profile.learned = learned;
                profile.complete = complete;
                if complete {
                    profile.learned.lost = 0;
                }
                profile.normalize();
                profile.scripts.dedup_by(|one, other| one.file == other.file);
                profile
            },
        )
}

const _: () = assert!(intf::NAME_CAP == 255);
