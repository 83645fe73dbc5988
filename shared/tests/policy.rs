//! What is allowed, and what never is.

mod common;

use common::{everything, grant, op};
use shared::op::Op;
use shared::policy::{
    Actor, ArgsView, Learner, LearnerConfig, Observation, Once, Policy, Reason, Verdict, decide_site,
};
use shared::profile::{
    Attribution, Constraint, Context, Generated, Grant, GrantMode, Php, Profile, Root, Script, View, Who,
    builtin_master, caps,
};
use shared::site::{Name, OriginEntry, Phase, Site};

fn empty() -> Profile {
    let mut profile = everything();
    profile.grants.clear();
    profile.scripts.clear();
    profile.generated.clear();
    profile
}

fn with(grants: Vec<Grant>) -> Policy {
    let mut profile = empty();
    profile.add(grants).unwrap();
    Policy::new(&profile)
}

fn paths(path: &str) -> ArgsView<'_> {
    ArgsView { path: Some(path.as_bytes()), ..ArgsView::default() }
}

fn decide(policy: &Policy, site: &Site, operation: &str, args: &ArgsView<'_>) -> Verdict {
    decide_site(&policy.site(site), op(operation), args)
}

fn reason(verdict: Verdict) -> Option<Reason> {
    match verdict {
        Verdict::Allowed => None,
        Verdict::Violation { reason, .. } => Some(reason),
    }
}

const NONE: ArgsView<'static> = ArgsView { path: None, path2: None, exe: None };

#[test]
fn a_site_may_do_what_is_granted_and_nothing_else() {
    let site = Site::function("/a.php", Some("A".into()), "f");
    let policy = with(vec![grant(Who::site(site.clone()), "openat:read")]);
    assert_eq!(decide(&policy, &site, "openat:read", &NONE), Verdict::Allowed);
    assert!(policy.site(&site).allowed().contains(op("openat:read")));
    assert_eq!(reason(decide(&policy, &site, "openat:create", &NONE)), Some(Reason::OperationNotInProfile));
    for other in [
        Site::function("/b.php", Some("A".into()), "f"),
        Site::function("/a.php", None, "f"),
        Site::function("/a.php", Some("A".into()), "F"),
        Site::main("/a.php"),
        Site::closure("/a.php"),
        Site::function("/a.php(1) : eval()'d code", Some("A".into()), "f"),
        Site::internal(Some("A".into()), "f"),
        Site::engine(Phase::Request),
    ] {
        assert_eq!(
            reason(decide(&policy, &other, "openat:read", &NONE)),
            Some(Reason::SiteNotInProfile),
            "{other}"
        );
        assert_eq!(policy.site(&other).missing(), Some(Reason::SiteNotInProfile));
    }
}

#[test]
fn what_is_never_granted_is_not_granted_by_hand_either() {
    // Past `check`, as if another writer had made the file.
    let mut profile = empty();
    let site = Site::main("/a.php");
    for never in [
        "bpf",
        "foreign",
        "unknown",
        "openat:unreadable",
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
    ] {
        profile.grants.push(grant(Who::site(site.clone()), never));
    }
    profile.grants.push(grant(Who::site(Site::unknown()), "unlink"));
    profile.grants.push(grant(Who::Sites(vec![Site::main("/b.php"), Site::main("/c.php")]), "unlink"));
    let policy = Policy::new(&profile);
    assert_eq!(reason(decide(&policy, &site, "bpf", &NONE)), Some(Reason::ProtectedObject));
    assert_eq!(reason(decide(&policy, &site, "foreign", &NONE)), Some(Reason::ForeignAbi));
    for never in ["unknown", "openat:unreadable", "io_uring_setup", "io_uring_enter", "io_uring_register"] {
        assert_eq!(
            reason(decide(&policy, &site, never, &NONE)),
            Some(Reason::OperationNotInProfile),
            "{never}"
        );
    }
    assert!(policy.site(&site).allowed().is_empty());
    assert_eq!(reason(decide(&policy, &Site::unknown(), "unlink", &NONE)), Some(Reason::UnknownSite));
    assert_eq!(reason(decide(&policy, &Site::unknown(), "foreign", &NONE)), Some(Reason::ForeignAbi));
    assert_eq!(
        reason(decide(&policy, &Site::main("/b.php"), "unlink", &NONE)),
        Some(Reason::SiteNotInProfile)
    );

    profile.view = View::Lsm;
    assert_eq!(decide(&Policy::new(&profile), &site, "io_uring_setup", &NONE), Verdict::Allowed);
}

#[test]
fn the_engine_has_learnt_paths() {
    let engine = Site::engine(Phase::Shutdown);
    let bare = with(vec![
        grant(Who::site(engine.clone()), "unlink"),
        grant(Who::site(engine.clone()), "openat:read"),
    ]);
    assert_eq!(
        reason(decide(&bare, &engine, "unlink", &paths("/tmp/a"))),
        Some(Reason::OperationNotInProfile)
    );
    assert_eq!(decide(&bare, &engine, "openat:read", &NONE), Verdict::Allowed);

    let sessions = vec![Constraint::Path(vec!["/var/lib/php/sessions/*".into()])];
    let policy = with(vec![Grant { constraints: sessions, ..grant(Who::site(engine.clone()), "unlink") }]);
    let unlink = |path: &str| decide(&policy, &engine, "unlink", &paths(path));
    assert_eq!(unlink("/var/lib/php/sessions/sess_1"), Verdict::Allowed);
    for path in ["/etc/passwd", "/var/lib/php/sessions/../x", "/var/lib/php/sessions/a/b", "sess_1", ""] {
        assert_eq!(reason(unlink(path)), Some(Reason::OperationNotInProfile), "{path}");
    }
    assert_eq!(reason(decide(&policy, &engine, "unlink", &NONE)), Some(Reason::OperationNotInProfile));
    let other_phase =
        decide(&policy, &Site::engine(Phase::Request), "unlink", &paths("/var/lib/php/sessions/a"));
    assert_eq!(reason(other_phase), Some(Reason::SiteNotInProfile));
    assert!(policy.site(&engine).conditional().contains(op("unlink")));
    assert!(!policy.site(&engine).allowed().contains(op("unlink")));
}

#[test]
fn a_relative_pattern_grants_nothing_to_the_engine() {
    let (engine, site) = (Site::engine(Phase::Request), Site::main("/a.php"));
    let only = |site: &Site, patterns: &[&str]| {
        let patterns = patterns.iter().copied().map(Name::from).collect();
        with(vec![Grant {
            constraints: vec![Constraint::Path(patterns)],
            ..grant(Who::site(site.clone()), "openat:create")
        }])
    };
    for (path, patterns) in
        [("x.php", &["*"][..]), ("logs/x.php", &["logs/*"]), ("x.php", &["/var/log/*", "*"])]
    {
        let create = |site: &Site| decide(&only(site, patterns), site, "openat:create", &paths(path));
        assert_eq!(create(&site), Verdict::Allowed, "{patterns:?}");
        assert_ne!(create(&engine), Verdict::Allowed, "{patterns:?}");
    }
}

#[test]
fn nobodys_grants_need_places() {
    for site in [Site::internal(None, "unlink"), Site::master()] {
        let create = |grants: Vec<Grant>| decide(&with(grants), &site, "unlink", &paths("/tmp/x"));
        let plain = grant(Who::site(site.clone()), "unlink");
        assert_ne!(create(vec![plain.clone()]), Verdict::Allowed, "{site}");
        let placed = Grant { constraints: vec![Constraint::Path(vec!["/tmp/*".into()])], ..plain };
        assert_eq!(create(vec![placed]), Verdict::Allowed, "{site}");
    }
}

#[test]
fn the_engine_starts_programs_only_at_startup() {
    for (phase, allowed) in
        [(Phase::Startup, true), (Phase::Request, false), (Phase::Shutdown, false), (Phase::Unknown, false)]
    {
        let mut profile = empty();
        for operation in ["exec", "execve", "execveat"] {
            profile.grants.push(Grant {
                constraints: vec![Constraint::Path(vec!["/bin/sh".into()])],
                ..grant(Who::site(Site::engine(phase)), operation)
            });
        }
        let policy = Policy::new(&profile);
        for operation in ["exec", "execve", "execveat"] {
            let verdict = decide(&policy, &Site::engine(phase), operation, &paths("/bin/sh"));
            assert_eq!(verdict == Verdict::Allowed, allowed, "{operation} {}", phase.name());
        }
    }
}

#[test]
fn both_paths_of_a_call_must_match() {
    let site = Site::main("/a.php");
    let policy = with(vec![Grant {
        constraints: vec![Constraint::Path(vec!["/tmp/*".into()])],
        ..grant(Who::site(site.clone()), "rename")
    }]);
    let rename = |path2: Option<&'static [u8]>| {
        decide(&policy, &site, "rename", &ArgsView { path: Some(b"/tmp/a"), path2, exe: None })
    };
    assert_eq!(rename(Some(b"/tmp/b")), Verdict::Allowed);
    assert_ne!(rename(Some(b"/etc/b")), Verdict::Allowed);
    assert_ne!(rename(None), Verdict::Allowed);
}

#[test]
fn log_mode_is_a_violation_that_is_only_told() {
    let site = Site::main("/a.php");
    let policy = with(vec![
        Grant { mode: GrantMode::Log, ..grant(Who::site(site.clone()), "unlink") },
        Grant {
            constraints: vec![Constraint::Path(vec!["/tmp/*".into()])],
            ..grant(Who::site(site.clone()), "unlink")
        },
    ]);
    assert_eq!(decide(&policy, &site, "unlink", &paths("/tmp/a")), Verdict::Allowed);
    assert_eq!(
        decide(&policy, &site, "unlink", &paths("/etc/a")),
        Verdict::Violation { reason: Reason::OperationNotInProfile, log_only: true, never_kill: false }
    );
    assert!(policy.site(&site).logged().contains(op("unlink")));
    assert!(!policy.site(&site).allowed().contains(op("unlink")));
}

#[test]
fn the_master_reloads_itself_and_is_never_killed() {
    let policy = Policy::new(&empty());
    let master = Site::master();
    let fpm = Some(&b"/usr/sbin/php-fpm8.2"[..]);
    let exec = |path| decide(&policy, &master, "exec", &ArgsView { path, path2: None, exe: fpm });
    assert_eq!(exec(fpm), Verdict::Allowed);
    assert_eq!(
        exec(Some(b"/bin/sh")),
        Verdict::Violation { reason: Reason::OperationNotInProfile, log_only: false, never_kill: true }
    );
    assert_ne!(decide(&policy, &master, "exec", &NONE), Verdict::Allowed);
    assert_eq!(decide(&policy, &master, "execve", &paths("php-fpm8.2")), Verdict::Allowed);
    assert_eq!(decide(&policy, &master, "clone:process", &NONE), Verdict::Allowed);
    assert_eq!(
        decide(&policy, &master, "openat:create", &paths("/var/log/php8.2-fpm.log")),
        Verdict::Allowed
    );
    assert_ne!(decide(&policy, &master, "openat:create", &paths("/etc/cron.d/x")), Verdict::Allowed);
    assert_ne!(decide(&policy, &master, "kill:stranger", &NONE), Verdict::Allowed);
    assert!(builtin_master(View::Syscall).len() > 20);
}

#[test]
fn programs_are_judged_by_where_they_come_from() {
    let origin = |function: &str, sink: &str| {
        vec![OriginEntry { site: Site::function("/a.php", None, function), sink: Some(sink.into()) }]
    };
    let who = Who::Program { origin: origin("f", "exec"), program: "/usr/bin/convert".into() };
    let policy = with(vec![grant(who.clone(), "exec"), grant(who, "openat:read")]);
    let decide = |origin: &[OriginEntry], program: &[u8], operation: &str| {
        reason(policy.program(origin, program).decide(op(operation), &NONE))
    };
    assert_eq!(decide(&origin("f", "exec"), b"/usr/bin/convert", "exec"), None);
    assert_eq!(decide(&origin("f", "exec"), b"/usr/bin/convert", "openat:read"), None);
    let missing = Some(Reason::ProgramNotInProfile);
    assert_eq!(
        decide(&origin("f", "exec"), b"/usr/bin/convert", "unlink"),
        Some(Reason::OperationNotInProfile)
    );
    assert_eq!(decide(&origin("f", "exec"), b"/bin/sh", "exec"), missing);
    assert_eq!(decide(&origin("g", "exec"), b"/usr/bin/convert", "exec"), missing);
    assert_eq!(decide(&origin("f", "system"), b"/usr/bin/convert", "exec"), missing);
    let longer = [origin("f", "exec"), origin("f", "exec")].concat();
    assert_eq!(decide(&longer, b"/usr/bin/convert", "exec"), missing);
    let unknown = [OriginEntry { site: Site::unknown(), sink: None }];
    assert_eq!(decide(&unknown, b"/usr/bin/convert", "exec"), Some(Reason::UnknownSite));
    // That of the started command is an origin of its own.
    assert_eq!(decide(&[], b"/usr/bin/convert", "exec"), missing);
    let started = with(vec![grant(Who::Program { origin: vec![], program: "/bin/sh".into() }, "exec")]);
    assert_eq!(started.program(&[], b"/bin/sh").decide(Op::EXEC, &NONE), Verdict::Allowed);
    assert_ne!(started.program(&origin("f", "exec"), b"/bin/sh").decide(Op::EXEC, &NONE), Verdict::Allowed);
    // What is in no file system may be anything: not granted, not even by name.
    let named = with(vec![grant(Who::Program { origin: vec![], program: "memfd:sh".into() }, "exec")]);
    assert_eq!(reason(named.program(&[], b"memfd:sh").decide(Op::EXEC, &NONE)), missing);
    assert_eq!(named.program_grant(&[], b"memfd:sh", Op::EXEC, &NONE), None);
    assert!(named.program_grant(&[], b"/bin/sh", Op::EXEC, &NONE).is_some());
}

#[test]
fn a_descendant_that_runs_php_needs_both() {
    let no = Verdict::violation(Reason::ProgramNotInProfile);
    let log = Verdict::Violation { reason: Reason::OperationNotInProfile, log_only: true, never_kill: false };
    assert_eq!(Verdict::Allowed.and(Verdict::Allowed), Verdict::Allowed);
    assert_eq!(Verdict::Allowed.and(no), no);
    assert_eq!(no.and(Verdict::Allowed), no);
    assert_eq!(log.and(no), Verdict::violation(Reason::OperationNotInProfile));
    assert_eq!(log.and(log), log);
}

#[test]
fn a_new_release_is_the_same_application() {
    let mut profile = empty();
    let stored = Site::main("app:public/index.php");
    let origin = |file: &str| vec![OriginEntry { site: Site::main(file), sink: None }];
    profile
        .add([
            grant(Who::site(stored), "unlink"),
            grant(Who::Program { origin: origin("app:a.php"), program: "/bin/ls".into() }, "exec"),
        ])
        .unwrap();
    let policy = Policy::new(&profile);
    for release in ["41", "42"] {
        let site = Site::main(format!("/srv/app/releases/{release}/public/index.php"));
        assert_eq!(decide(&policy, &site, "unlink", &NONE), Verdict::Allowed);
        let origin = origin(&format!("/srv/app/releases/{release}/a.php"));
        assert_eq!(policy.program(&origin, b"/bin/ls").decide(Op::EXEC, &NONE), Verdict::Allowed);
    }
    for forged in [
        "app:public/index.php",
        "/srv/app/releases/../public/index.php",
        "/srv/app/releases/a/b/public/index.php",
        "/srv/app/public/index.php",
        "phar:///srv/app/releases/42/public/index.php",
        "/tmp/srv/app/releases/42/public/index.php",
    ] {
        assert_eq!(
            reason(decide(&policy, &Site::main(forged), "unlink", &NONE)),
            Some(Reason::SiteNotInProfile),
            "{forged}"
        );
    }
}

#[test]
fn generated_code_has_what_is_listed_only() {
    let mut profile = empty();
    profile.generated = vec![
        Generated { pattern: "app:cache/*.php".into(), operations: vec![op("openat:read")] },
        Generated { pattern: "app:lib/tpl.php : eval()'d code".into(), operations: vec![op("unlink")] },
    ];
    let cached = "/srv/app/releases/1/cache/x.php";
    // A grant by exact name does not count in generated code.
    profile.grants.push(grant(Who::site(Site::main(cached)), "unlink"));
    let policy = Policy::new(&profile);
    let of = |file: &str, operation: &str| reason(decide(&policy, &Site::main(file), operation, &NONE));
    assert_eq!(of(cached, "openat:read"), None);
    assert_eq!(of(cached, "unlink"), Some(Reason::OperationNotInProfile));
    assert_eq!(
        of("/srv/app/releases/1/cache/x.php(3) : eval()'d code", "openat:read"),
        Some(Reason::SiteNotInProfile)
    );
    assert_eq!(of("/srv/app/releases/1/lib/tpl.php(7) : eval()'d code", "unlink"), None);
    assert_eq!(of("/srv/app/releases/1/lib/tpl.php(8) : eval()'d code", "unlink"), None);
    assert_eq!(of("/srv/app/releases/1/lib/tpl.php", "unlink"), Some(Reason::SiteNotInProfile));
}

#[test]
fn scripts_are_protected_unless_generated() {
    let mut profile = empty();
    let script = |file: &str| Script { file: file.into(), device: 1, inode: 2, size: 3, sha256: [0; 32] };
    profile.scripts = vec![script("app:a.php"), script("app:cache/x.php"), script("/usr/share/php/l.php")];
    profile.generated = vec![Generated { pattern: "app:cache/*".into(), operations: vec![] }];
    let policy = Policy::new(&profile);
    let a = "/srv/app/releases/7/a.php";
    for operation in
        ["openat:write", "openat:create", "openat:truncate", "open:write", "creat", "truncate", "rename"]
    {
        assert!(policy.protects(op(operation), &paths(a)), "{operation}");
    }
    let over = ArgsView { path: Some(b"/tmp/evil"), path2: Some(a.as_bytes()), exe: None };
    for operation in ["rename", "renameat2", "linkat", "symlink"] {
        assert!(policy.protects(op(operation), &over), "{operation}");
    }
    for operation in ["openat:read", "openat:path", "unlink", "chmod"] {
        assert!(!policy.protects(op(operation), &paths(a)), "{operation}");
    }
    assert!(policy.is_protected(b"/usr/share/php/l.php"));
    assert!(!policy.is_protected(b"/srv/app/releases/7/cache/x.php"));
    assert!(!policy.is_protected(b"/srv/app/releases/7/b.php"));
}

#[test]
fn equal_rules_are_one() {
    let sites: Vec<Site> = (0..3).map(|n| Site::main(format!("/{n}.php"))).collect();
    let policy = with(vec![
        grant(Who::site(sites[0].clone()), "unlink"),
        grant(Who::site(sites[1].clone()), "unlink"),
        grant(Who::site(sites[2].clone()), "rmdir"),
    ]);
    assert!(policy.site(&sites[0]).same(&policy.site(&sites[1])));
    assert!(!policy.site(&sites[0]).same(&policy.site(&sites[2])));
}

// ---- learning ----

fn learner() -> Learner {
    Learner::new(learner_config())
}

fn learner_config() -> LearnerConfig {
    LearnerConfig {
        view: View::Syscall,
        attribution: Attribution::Stack,
        operations: "relevant".parse().unwrap(),
        php: Php::new("8.2.29", "API20220829,NTS"),
        roots: vec![Root::parse("app=/srv/app/releases/*").unwrap()],
        generated: vec![Generated { pattern: "app:cache/*".into(), operations: vec![op("openat:read")] }],
        wrappers: vec!["vfs".into()],
        context: Context::KnownFiles,
        host: "web1".into(),
        started: "2026-11-22T10:00:00Z".parse().unwrap(),
    }
}

fn seen<'a>(actor: Actor<'a>, operation: &str, args: ArgsView<'a>) -> Observation<'a> {
    Observation { actor, op: op(operation), sink: Some(b"sink"), args, count: 2, tainted: false }
}

fn learnt(learner: &Learner) -> Profile {
    let profile = learner.profile("2026-11-22T11:00:00Z".parse().unwrap());
    profile.check().unwrap();
    profile
}

#[test]
fn what_was_seen_is_allowed_afterwards() {
    let mut learner = learner();
    let site = Site::function("/srv/app/releases/1/a.php", Some("A".into()), "f");
    let engine = Site::engine(Phase::Shutdown);
    let startup = Site::engine(Phase::Startup);
    let origin = [OriginEntry { site: site.clone(), sink: Some("exec".into()) }];
    let program = Actor::Program { origin: &origin, program: b"/usr/bin/convert" };
    assert!(learner.observe(&seen(Actor::Site(&site, &[]), "unlink", paths("/tmp/a"))));
    assert!(learner.observe(&seen(Actor::Site(&site, &[]), "unlink", paths("/tmp/b"))));
    assert!(learner.observe(&seen(
        Actor::Site(&engine, &[]),
        "openat:create",
        paths("/var/lib/php/sessions/sess_1")
    )));
    assert!(learner.observe(&seen(Actor::Site(&engine, &[]), "openat:create", paths("/tmp/odd*dir/x"))));
    assert!(learner.observe(&seen(Actor::Site(&startup, &[]), "exec", paths("/bin/sh"))));
    assert!(learner.observe(&seen(program, "exec", NONE)));

    let profile = learnt(&learner);
    assert_eq!(profile.grants.len(), 4);
    let unlink = profile.grants.iter().find(|grant| grant.operation == op("unlink")).unwrap();
    assert_eq!(unlink.who, Who::site(Site::function("app:a.php", Some("A".into()), "f")));
    assert_eq!((unlink.seen, &unlink.sinks[..]), (4, &[Name::from("sink")][..]));
    assert_eq!(unlink.samples, [Name::from("/tmp/a"), Name::from("/tmp/b")]);
    assert!(unlink.constraints.is_empty());
    let create = profile.grants.iter().find(|grant| grant.operation == op("openat:create")).unwrap();
    assert_eq!(
        create.constraints,
        [Constraint::Path(vec![r"/tmp/odd\*dir/x".into(), "/var/lib/php/sessions/sess_*".into()])]
    );
    assert!(profile.complete);
    assert_eq!((profile.learned.events, profile.learned.runs), (12, 1));

    let policy = Policy::new(&profile);
    let release2 = Site::function("/srv/app/releases/2/a.php", Some("A".into()), "f");
    assert_eq!(decide(&policy, &release2, "unlink", &NONE), Verdict::Allowed);
    assert_eq!(
        decide(&policy, &engine, "openat:create", &paths("/var/lib/php/sessions/sess_2")),
        Verdict::Allowed
    );
    // `error_log`, by whoever's code.
    assert_ne!(
        decide(&policy, &engine, "openat:create", &paths("/var/lib/php/sessions/shell.php")),
        Verdict::Allowed
    );
    assert_eq!(decide(&policy, &startup, "exec", &paths("/bin/sh")), Verdict::Allowed);
    assert_ne!(decide(&policy, &startup, "exec", &paths("/bin/ls")), Verdict::Allowed);
    assert_eq!(policy.program(&origin, b"/usr/bin/convert").decide(Op::EXEC, &NONE), Verdict::Allowed);
}

#[test]
fn only_names_that_php_makes_up_are_learnt_as_patterns() {
    let pattern = |path: &'static str| {
        let mut learner = learner();
        let engine = Site::engine(Phase::Request);
        learner.observe(&seen(Actor::Site(&engine, &[]), "openat:create", paths(path)));
        let profile = learnt(&learner);
        match &profile.grants[0].constraints[..] {
            [Constraint::Path(patterns)] => patterns[0].to_string(),
            other => panic!("{other:?}"),
        }
    };
    for (path, learnt) in [
        ("/s/sess_0123456789abcdef", "/s/sess_*"),
        ("/tmp/phpA1b2C3", "/tmp/php*"),
        ("/tmp/.ZendSem.A1b2C3", "/tmp/.ZendSem.*"),
        ("/tmp/apc.A1b2C3", "/tmp/apc.*"),
        ("/tmp/php.log", "/tmp/php.log"),
        ("/tmp/php_log1", "/tmp/php_log1"),
        ("/tmp/phpA1b2C3d", "/tmp/phpA1b2C3d"),
        ("/var/log/php/errors", "/var/log/php/errors"),
        ("/s/sess_/x", "/s/sess_/x"),
    ] {
        assert_eq!(pattern(path), learnt, "{path}");
    }
}

#[test]
fn code_from_listed_wrappers_has_its_own_grants() {
    let mut learner = learner();
    let listed = Site::function("vfs://root/a.php", None, "purge");
    assert!(learner.observe(&seen(Actor::Site(&listed, &[]), "unlink", NONE)));
    let origin = [OriginEntry { site: listed.clone(), sink: Some("exec".into()) }];
    assert!(learner.observe(&seen(Actor::Program { origin: &origin, program: b"/bin/sh" }, "exec", NONE)));
    let mut profile = learnt(&learner);
    assert_eq!(profile.wrappers, ["vfs"]);
    let policy = Policy::new(&profile);
    assert_eq!(decide(&policy, &listed, "unlink", &NONE), Verdict::Allowed);
    assert_eq!(policy.program(&origin, b"/bin/sh").decide(Op::EXEC, &NONE), Verdict::Allowed);
    assert!(policy.site_grant(&listed, &[], op("rmdir"), &NONE).is_some());
    for other in
        ["vfs://root/b.php", "VFS://root/a.php", "s3://root/a.php", "vfs:///root/a.php", "/root/a.php"]
    {
        let other = Site::function(other, None, "purge");
        assert_ne!(decide(&policy, &other, "unlink", &NONE), Verdict::Allowed, "{other:?}");
    }
    let unlisted = Site::main("s3://root/a.php");
    assert!(policy.site_grant(&unlisted, &[], op("unlink"), &NONE).is_none());
    assert!(!policy.is_once_per_process(
        &listed,
        op("mmap:exec"),
        &NONE,
        Once { anonymous: true, ..Once::default() }
    ));

    // A grant without the wrapper: refused.
    profile.wrappers.clear();
    assert!(profile.check().unwrap_err().to_string().contains("of one of `wrappers`"));
}

#[test]
fn a_site_may_do_what_it_did_as_it_was_called() {
    let mut config = learner_config();
    config.context = Context::Frames(3);
    let mut learner = Learner::new(config);
    let release = |number: u32, file: &str| Site::main(format!("/srv/app/releases/{number}/{file}"));
    let delete = |number| Site::function(format!("/srv/app/releases/{number}/storage.php"), None, "delete");
    let [honest, index] = ["honest.php", "index.php"].map(|file| release(1, file));
    let callers = [honest.clone(), index.clone()];
    assert!(learner.observe(&seen(Actor::Site(&delete(1), &callers), "unlink", NONE)));
    assert!(learner.observe(&seen(Actor::Site(&delete(1), &[]), "rmdir", NONE)));
    for caller in [release(1, "cache/x"), Site::main("/a.php(1) : eval()'d code"), Site::unknown()] {
        assert!(!learner.observe(&seen(Actor::Site(&delete(1), &[caller]), "unlink", NONE)));
    }

    let profile = learnt(&learner);
    let policy = Policy::new(&profile);
    let decide = |policy: &Policy, callers: &[Site], operation| {
        policy.site_as_called(&delete(2), callers).decide(op(operation), &NONE)
    };
    let callers = [release(2, "honest.php"), release(2, "index.php")];
    assert_eq!(decide(&policy, &callers, "unlink"), Verdict::Allowed);
    assert_eq!(decide(&policy, &[], "rmdir"), Verdict::Allowed);
    assert_eq!(decide(&policy, &callers, "rmdir"), Verdict::violation(Reason::OperationNotInProfile));
    assert_eq!(decide(&policy, &[], "unlink"), Verdict::violation(Reason::OperationNotInProfile));
    for other in [
        vec![release(2, "honest.php")],
        vec![release(2, "index.php"), release(2, "honest.php")],
        vec![release(2, "evil.php"), release(2, "index.php")],
        vec![release(2, "honest.php"), release(2, "evil.php")],
        [callers.to_vec(), vec![release(2, "index.php")]].concat(),
    ] {
        assert_eq!(
            decide(&policy, &other, "unlink"),
            Verdict::violation(Reason::UnknownContext),
            "{other:?}"
        );
    }
    let unknown = vec![release(2, "honest.php"), Site::unknown()];
    assert_eq!(decide(&policy, &unknown, "unlink"), Verdict::violation(Reason::UnknownSite));

    let key = policy.site_grant(&delete(2), &[release(2, "evil.php")], op("unlink"), &NONE).unwrap();
    assert_eq!(key.to_string(), "unlink by delete() in app:storage.php < {main} in app:evil.php");

    // By less context.
    let two = Policy::in_context(&profile, Context::Frames(2));
    assert_eq!(decide(&two, &callers[..1], "unlink"), Verdict::Allowed);
    let nearest = Policy::in_context(&profile, Context::Nearest);
    assert_eq!(decide(&nearest, &[], "unlink"), Verdict::Allowed);
    assert_eq!(decide(&nearest, &[], "rmdir"), Verdict::Allowed);
}

#[test]
fn files_on_chains_are_known_afterwards() {
    let mut learner = learner();
    let site = Site::function("/srv/app/releases/1/a.php", Some("A".into()), "f");
    assert!(learner.observe(&seen(Actor::Site(&site, &[]), "unlink", NONE)));
    for file in ["/srv/app/releases/1/index.php", "/usr/share/php/b.php", "vfs://root/c.php"] {
        learner.file(file.as_bytes());
    }
    for (file, times) in [("/a.php(3) : eval()'d code", 2), ("s3://root/a.php", 1), ("", 1)] {
        (0..times).for_each(|_| learner.file(file.as_bytes()));
    }
    // By its pattern it is known, and is not listed.
    learner.file(b"/srv/app/releases/1/cache/x");

    let profile = learnt(&learner);
    assert_eq!(profile.context, Context::KnownFiles);
    assert_eq!(profile.files, ["/usr/share/php/b.php", "app:index.php", "vfs://root/c.php"].map(Name::from));
    let unknown = |cause: &str| profile.learned.unknown.get(cause).copied();
    assert_eq!(unknown("on-a-chain: evaluated-code"), Some(2));
    assert_eq!(unknown("on-a-chain: untrusted-file"), Some(2));
    assert_eq!(profile.learned.unknown.len(), 2);

    let policy = Policy::new(&profile);
    let known = [
        "/srv/app/releases/2/index.php",
        "/srv/app/releases/2/a.php",
        "/srv/app/releases/2/cache/y",
        "/usr/share/php/b.php",
        "vfs://root/c.php",
    ];
    for file in known {
        assert!(policy.knows_file(file.as_bytes()), "{file}");
    }
    let foreign = [
        "/srv/app/uploads/evil.php",
        "/srv/app/releases/2/index.php(3) : eval()'d code",
        "/usr/share/php/b.php/",
        "app:index.php",
        "phar:///usr/share/php/b.php",
        "/srv/app/releases/2/../index.php",
        "",
    ];
    for file in foreign {
        assert!(!policy.knows_file(file.as_bytes()), "{file}");
    }
    assert_eq!(policy.file_to_list(b"/srv/app/releases/2/more.php"), Some("app:more.php".into()));
    assert_eq!(policy.file_to_list(b"/a.php(3) : eval()'d code"), None);
    assert_eq!(policy.file_to_list(b"data:,x"), None);
}

#[test]
fn what_cannot_be_granted_is_counted() {
    let mut learner = learner();
    let site = Site::main("/a.php");
    let main = Actor::Site(&site, &[]);
    let engine = Site::engine(Phase::Request);
    let (internal, master) = (Site::internal(None, "unlink"), Site::master());
    let unknown = Site::unknown();
    let evaluated = Site::main("/a.php(3) : eval()'d code");
    let wrapped = Site::main("mine://a.php");
    let cached = Site::main("/srv/app/releases/1/cache/x.php");
    let unknown_origin = [OriginEntry { site: unknown.clone(), sink: None }];
    let deep = vec![OriginEntry { site: site.clone(), sink: None }; 9];
    for (observation, cause) in [
        (seen(Actor::Site(&unknown, &[]), "unlink", NONE), "unknown-site"),
        (Observation { tainted: true, ..seen(main, "unlink", NONE) }, "tainted-identity"),
        (seen(main, "bpf", NONE), "protected-object"),
        (seen(main, "io_uring_setup", NONE), "io-uring"),
        (seen(main, "openat:unreadable", NONE), "unreadable-argument"),
        (seen(main, "unknown", NONE), "unknown-call"),
        (seen(Actor::Site(&evaluated, &[]), "unlink", NONE), "evaluated-code"),
        (seen(Actor::Site(&wrapped, &[]), "unlink", NONE), "untrusted-file"),
        (seen(Actor::Site(&cached, &[]), "unlink", NONE), "generated-not-listed"),
        (seen(Actor::Site(&engine, &[]), "execve", paths("/bin/sh")), "engine-exec"),
        (seen(Actor::Site(&internal, &[]), "execve", paths("/bin/sh")), "engine-exec"),
        (seen(Actor::Site(&engine, &[]), "unlink", NONE), "unreadable-argument"),
        (seen(Actor::Site(&internal, &[]), "unlink", NONE), "unreadable-argument"),
        (seen(Actor::Site(&master, &[]), "openat:create", paths("php.log")), "odd-path"),
        (seen(Actor::Site(&engine, &[]), "unlink", paths("/tmp/../x")), "odd-path"),
        (seen(Actor::Site(&engine, &[]), "openat:create", paths("php.log")), "odd-path"),
        (seen(Actor::Site(&engine, &[]), "openat:create", paths("logs/php.log")), "odd-path"),
        (seen(Actor::Program { origin: &unknown_origin, program: b"/bin/sh" }, "exec", NONE), "unknown-site"),
        (seen(Actor::Program { origin: &deep, program: b"/bin/sh" }, "exec", NONE), "unknown-origin"),
        (seen(Actor::Program { origin: &[], program: b"" }, "exec", NONE), "unknown-program"),
        (seen(Actor::Program { origin: &[], program: b"memfd:sh" }, "exec", NONE), "unknown-program"),
    ] {
        let before = learnt(&learner).learned.unknown.get(cause).copied().unwrap_or(0);
        assert!(!learner.observe(&observation), "{cause}");
        assert_eq!(learnt(&learner).learned.unknown.get(cause), Some(&(before + 2)), "{cause}");
    }
    assert!(!learner.observe(&seen(main, "foreign", NONE)));
    assert!(learner.observe(&seen(Actor::Site(&cached, &[]), "openat:read", NONE)));
    learner.lost(3);
    let profile = learnt(&learner);
    assert!(profile.grants.is_empty() && !profile.complete);
    assert_eq!((profile.learned.foreign, profile.learned.lost), (2, 3));
}

#[test]
fn caps_hold_while_learning() {
    let mut learner = learner();
    for number in 0..caps::SITES + 5 {
        let site = Site::main(format!("/{number}.php"));
        learner.observe(&seen(Actor::Site(&site, &[]), "unlink", NONE));
    }
    let engine = Site::engine(Phase::Request);
    assert_eq!((learner.sites(), learner.grants()), (caps::SITES, caps::SITES));
    let profile = learnt(&learner);
    assert_eq!(profile.learned.unknown["too-many-sites"], 10);

    let mut learner = self::learner();
    for number in 0..=caps::PATTERNS {
        let path = format!("/tmp/{number}/x");
        learner.observe(&seen(Actor::Site(&engine, &[]), "unlink", paths(&path)));
    }
    assert_eq!(learnt(&learner).learned.unknown["too-many-paths"], 2);
    let long = Site::main(format!("/{}", "x".repeat(255)));
    assert!(!learner.observe(&seen(Actor::Site(&long, &[]), "unlink", NONE)));
    learnt(&learner);
}

#[test]
fn the_key_of_a_violation_allows_it() {
    let mut profile = empty();
    let policy = Policy::new(&profile);
    let site = Site::function("/srv/app/releases/1/a.php", None, "f");
    let engine = Site::engine(Phase::Shutdown);
    let create = paths("/var/lib/php/sessions/sess_1");
    let origin = [OriginEntry { site: site.clone(), sink: None }];
    let keys = [
        policy.site_grant(&site, &[], op("unlink"), &NONE).unwrap(),
        policy.site_grant(&engine, &[], op("openat:create"), &create).unwrap(),
        policy.program_grant(&origin, b"/bin/ls", Op::EXEC, &NONE).unwrap(),
    ];
    assert_eq!(keys[0].to_string(), "unlink by f() in app:a.php");
    assert_eq!(keys[1].to_string(), "openat:create by {engine:shutdown}, paths /var/lib/php/sessions/sess_*");
    assert_eq!(keys[2].to_string(), "exec by /bin/ls from f() in app:a.php");
    for key in keys {
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<shared::profile::GrantKey>(&json).unwrap(), key);
        profile.add([key.into_grant(GrantMode::Enforce)]).unwrap();
    }
    let policy = Policy::new(&profile);
    assert_eq!(decide(&policy, &site, "unlink", &NONE), Verdict::Allowed);
    assert_eq!(decide(&policy, &engine, "openat:create", &create), Verdict::Allowed);
    assert_eq!(policy.program(&origin, b"/bin/ls").decide(Op::EXEC, &NONE), Verdict::Allowed);

    assert_eq!(policy.site_grant(&Site::unknown(), &[], op("unlink"), &NONE), None);
    assert_eq!(policy.site_grant(&site, &[], op("bpf"), &NONE), None);
    assert_eq!(policy.site_grant(&site, &[], op("openat:unreadable"), &NONE), None);
    assert_eq!(policy.site_grant(&Site::main("/a.php(1) : eval()'d code"), &[], op("unlink"), &NONE), None);
    assert_eq!(policy.site_grant(&engine, &[], op("execve"), &paths("/bin/sh")), None);
}

fn script(file: &str) -> Script {
    Script { file: file.into(), device: 0, inode: 0, size: 0, sha256: [0; 32] }
}

fn with_scripts(files: &[&str]) -> Policy {
    let mut profile = empty();
    profile.roots = vec![Root::parse("app=/srv/app/releases/*").unwrap()];
    profile.scripts = files.iter().map(|file| script(file)).collect();
    Policy::new(&profile)
}

#[test]
fn what_php_does_once_is_nobodys_violation_in_files_of_the_profile() {
    let policy = with_scripts(&["/srv/x/a.php", "/srv/x/b.php"]);
    let known = Site::function("/srv/x/a.php", None, "f");
    let anonymous = Once { anonymous: true, has_sink: true, ..Once::default() };
    let included = Once::default();
    let read = Once { has_sink: true, ..Once::default() };
    let becomes = |protection: i32| Once { protection: protection as u64, ..Once::default() };
    let once = |site: &Site, operation: &str, args: &ArgsView<'_>, how| {
        policy.is_once_per_process(site, op(operation), args, how)
    };
    assert!(once(&known, "mmap:exec", &NONE, anonymous));
    assert!(!once(&known, "mmap:exec", &NONE, included));
    assert!(once(&known, "mprotect:exec", &NONE, becomes(libc::PROT_READ | libc::PROT_EXEC)));
    for other in [libc::PROT_EXEC, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC, -1] {
        assert!(!once(&known, "mprotect:exec", &NONE, becomes(other)), "{other}");
    }
    let read_exec = becomes(libc::PROT_READ | libc::PROT_EXEC);
    assert!(!once(&known, "pkey_mprotect:exec", &NONE, read_exec));
    assert!(!once(&Site::main("/srv/x/upload.php"), "mprotect:exec", &NONE, read_exec));
    let socket = |kind: i32, protocol| Once { socket: [kind as u64, protocol], ..read };
    let udp = [libc::SOCK_DGRAM, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK];
    for probe in udp {
        assert!(once(&known, "socket:inet6", &NONE, socket(probe, 0)), "{probe:#x}");
        assert!(!once(&known, "socket:inet6", &NONE, socket(probe, 17)), "{probe:#x}");
        assert!(!once(&Site::main("/srv/x/upload.php"), "socket:inet6", &NONE, socket(probe, 0)));
        for other in ["socket:inet", "socket:unix", "socket:other", "connect:inet6", "bind:inet6"] {
            assert!(!once(&known, other, &NONE, socket(probe, 0)), "{other}");
        }
    }
    for other in [libc::SOCK_STREAM, libc::SOCK_RAW, libc::SOCK_DGRAM | 0x100, -1] {
        assert!(!once(&known, "socket:inet6", &NONE, socket(other, 0)), "{other:#x}");
    }
    assert!(once(&known, "openat:read", &paths("/dev/urandom"), read));
    assert!(!once(&known, "openat:write", &paths("/dev/urandom"), read));
    for other in ["/dev/random", "/dev/urandom/", "/dev/urandom2", "dev/urandom", "/dev/../dev/urandom"] {
        assert!(!once(&known, "openat:read", &paths(other), read), "{other}");
    }
    assert!(once(&known, "openat:read", &paths("/usr/share/zoneinfo/UTC"), read));
    assert!(!once(&known, "openat:read", &paths("/usr/share/zoneinfo/../../../etc/passwd"), read));
    assert!(once(&known, "openat:read", &paths("/srv/x/b.php"), included));
    // An internal function reads the source, `include` compiles it.
    assert!(!once(&known, "openat:read", &paths("/srv/x/b.php"), read));
    assert!(!once(&known, "openat:read", &paths("/srv/x/upload.php"), included));
    assert!(!once(&known, "openat:write", &paths("/usr/share/zoneinfo/UTC"), read));
    assert!(!once(&known, "openat:read", &NONE, included));
    for stranger in [Site::main("/srv/x/upload.php"), Site::internal(None, "f"), Site::unknown()] {
        assert!(!once(&stranger, "mmap:exec", &NONE, anonymous), "{stranger}");
    }
}

#[test]
fn a_folder_of_scripts_is_protected_with_them() {
    let policy = with_scripts(&["/srv/x/lib/a.php", "app:src/b.php"]);
    for folder in ["/srv", "/srv/app", "/srv/app/releases"] {
        assert!(policy.is_above_root(folder.as_bytes()), "{folder}");
    }
    for other in ["/srv/app/releases/7", "/srv/ap", "/var"] {
        assert!(!policy.is_above_root(other.as_bytes()), "{other}");
    }
    for folder in ["/srv", "/srv/x", "/srv/x/lib", "/srv/app/releases/7", "/srv/app/releases/7/src"] {
        assert!(policy.is_above_protected(folder.as_bytes()), "{folder}");
    }
    for other in ["/srv/x/li", "/srv/x/lib/a.php", "/srv/app/releases/7/sr", "/var"] {
        assert!(!policy.is_above_protected(other.as_bytes()), "{other}");
    }
    let mut profile = empty();
    profile.roots = vec![Root::parse("web=/srv/*/releases/*/public").unwrap()];
    let policy = Policy::new(&profile);
    for folder in ["/srv", "/srv/shop", "/srv/shop/releases", "/srv/shop/releases/7"] {
        assert!(policy.is_above_root(folder.as_bytes()), "{folder}");
    }
    for other in
        ["/srv/shop/releases/7/public", "/srv/shop/release", "/srv/shop/data", "/srv/shop/releases/../x"]
    {
        assert!(!policy.is_above_root(other.as_bytes()), "{other}");
    }
    // Where a folder was, a link may be put: also a second name of one that is a link to another folder.
    for moving in ["mount", "rename", "symlink", "symlinkat", "link", "linkat"] {
        assert!(policy.could_move(op(moving)), "{moving}");
    }
    assert!(!policy.could_move(op("mkdir")) && !policy.could_move(op("unlink")));
    assert!(policy.could_remove(op("unlink")) && !policy.could_remove(op("openat:read")));
}
