//! `php-profile`, as people run it.

mod common;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{everything, grant, op};
use shared::event::{Event, EventSite, Kind};
use shared::policy::{ArgsView, Policy, Reason, Verdict};
use shared::profile::{Context, GrantMode, Profile, View, Who};
use shared::site::{Name, Phase, Site};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        everything().save(&place.path("p"), false).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn profile(&self) -> Profile {
        Profile::load(&self.path("p")).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        told(self.command(arguments).output().unwrap())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_php-profile"));
        command.args(arguments).current_dir(self.0.path());
        command
    }

    /// Standard output of a run that must succeed and say nothing else.
    fn succeed(&self, arguments: &[&str]) -> String {
        let (status, stdout, stderr) = self.run(arguments);
        assert_eq!((status, stderr.as_str()), (0, ""), "{arguments:?}");
        stdout
    }

    fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn show_is_for_people() {
    let shown = Place::new().succeed(&["show", "p"]);
    let head = "\
PHP         8.2.29 (API20220829,NTS)
View        syscall
Attribution stack
Operations  relevant
Learnt      2 runs, 100 events, 0 lost, 1 foreign
            2026-11-22T10:00:00Z to 2026-11-22T11:00:00Z on web1
Not granted 4 evaluated-code
Complete    yes
Content     6 sites, 7 grants, 1 scripts
Root        app = /srv/app/releases/*
Generated   app:cache/*.php: openat:read

Without a file
  {internal unlink}
    unlink                   1x only /tmp/*
  {engine:shutdown}
    openat:create            1x only /var/lib/php/sessions/*
  {master}
    setuid                   1x

/usr/share/php/a.php
  {closure}
    openat:read              1x

app:public/index.php
  {main}
    openat:create            1x log only

app:src/Uploader.php
  App\\Uploader::cleanup()
    unlink                   3x through unlink

Other programs
  /usr/bin/convert from App\\Uploader::cleanup() in app:src/Uploader.php via exec
    exec                     1x

{master}: built in
";
    assert!(shown.starts_with(head), "{shown}");
    assert!(shown.contains("    exec                     only the program itself\n"), "{shown}");
    assert!(shown.contains("    openat:create            only /var/log/* "), "{shown}");
}

#[test]
fn files_that_may_be_on_a_chain_are_shown() {
    let place = Place::new();
    let mut profile = everything();
    profile.context = Context::KnownFiles;
    profile.files = vec!["app:index.php".into(), "/usr/share/php/a.php".into()];
    profile.save(&place.path("p"), true).unwrap();
    let shown = place.succeed(&["show", "p"]);
    assert!(shown.contains("\nContext     known-files, 2 files listed\n"), "{shown}");
    let list =
        "\nFiles that may be on a chain, beside those of sites\n  /usr/share/php/a.php\n  app:index.php\n";
    assert!(shown.contains(list), "{shown}");
    assert!(!Place::new().succeed(&["show", "p"]).contains("chain"));
}

#[test]
fn what_was_called_otherwise_is_granted_as_it_was_called() {
    let place = Place::new();
    let mut profile = everything();
    profile.context = Context::Frames(2);
    profile.save(&place.path("p"), true).unwrap();
    assert!(place.succeed(&["show", "p"]).contains("\nContext     2 nearest user frames\n"));
    let mut event = violation(&site(), Reason::UnknownContext);
    let callers = [Site::main("/b.php")];
    event.grant = Policy::new(&profile).site_grant(&site(), &callers, op("unlink"), &ArgsView::default());
    place.write("events", &event.to_line());
    let shown = place.succeed(&["allow", "--from", "events", "p"]);
    assert!(shown.contains(" < {main} in /b.php"), "{shown}");
    let policy = Policy::new(&place.profile());
    let decided =
        |callers| policy.site_as_called(&site(), callers).decide(op("unlink"), &ArgsView::default());
    assert_eq!(decided(&callers), Verdict::Allowed);
    assert_ne!(decided(&[Site::main("/c.php")]), Verdict::Allowed);
    // A profile of the nearest frame alone cannot say that.
    let nearest = everything();
    nearest.save(&place.path("p"), true).unwrap();
    let (status, _, stderr) = place.run(&["allow", "--from", "events", "p"]);
    assert_eq!(status, 1);
    assert!(stderr.contains("a list of 2 sites") && stderr.contains("Hint: "), "{stderr}");
}

#[test]
fn unknown_files_are_listed() {
    let place = Place::new();
    let event = |file: &str| {
        let mut event = violation(&site(), Reason::UnknownContext);
        event.grant = None;
        event.unknown_file = Some(file.into());
        event.to_line()
    };
    let mut nothing_to_list = violation(&site(), Reason::UnknownContext);
    nothing_to_list.grant = None;
    let events = [event("app:index.php"), event("/b.php"), event("/b.php"), nothing_to_list.to_line()];
    place.write("events", &events.concat());
    let never = "php-profile: 1 violations cannot be allowed by a grant (unknown-context)\n";

    let (status, stdout, stderr) = place.run(&["allow", "--from", "events", "--dry-run", "p"]);
    assert_eq!((status, stderr.as_str()), (0, never));
    assert_eq!(stdout, "would list the file /b.php\nwould list the file app:index.php\n");
    assert!(place.profile().files.is_empty());
    let log = place.run(&["allow", "--from", "events", "--mode", "log", "p"]);
    assert_eq!((log.0, log.1.as_str()), (0, "nothing to add\n"));
    let (status, stdout, stderr) = place.run(&["allow", "--from", "events", "--site", "index", "p"]);
    assert_eq!((status, stdout.as_str()), (0, "listed the file app:index.php\n"));
    assert!(stderr.contains("2 violations are of other sites"), "{stderr}");
    assert_eq!(place.profile().files, [Name::from("app:index.php")]);
    assert_eq!(place.run(&["allow", "--from", "events", "p"]).1, "listed the file /b.php\n");
    assert_eq!(place.run(&["allow", "--from", "events", "p"]).1, "nothing to add\n");
    // What no profile can list is not listed.
    place.write("events", &event("../b.php"));
    let (status, _, stderr) = place.run(&["allow", "--from", "events", "p"]);
    assert_eq!(status, 1);
    assert!(stderr.contains("files[") && stderr.contains("Hint: "), "{stderr}");
}

#[test]
fn names_cannot_write_to_the_terminal() {
    let place = Place::new();
    let mut profile = everything();
    profile.grants =
        vec![grant(Who::site(Site::function("/a\x1b]0;x\x07.php", None, "f\n{master}\u{202e}")), "unlink")];
    profile.save(&place.path("p"), true).unwrap();
    let shown = place.succeed(&["show", "p"]);
    assert!(shown.contains("/a\\x1b]0;x\\x07.php\n  f\\n{master}\\u{202e}()\n"), "{shown}");
}

#[test]
fn import_warns_of_what_grants_nothing() {
    let place = Place::new();
    let mut profile = everything();
    profile.grants = vec![grant(Who::site(Site::engine(Phase::Shutdown)), "unlink")];
    place.write("p.json", &profile.to_json());
    let (status, stdout, stderr) = place.run(&["import", "p.json", "-o", "q"]);
    assert_eq!((status, stdout.as_str()), (0, ""));
    assert_eq!(
        stderr,
        "php-profile: warning: of no effect, since they do not say where: unlink by {engine:shutdown}\n\
         Hint: {engine}, {internal} and {master} need absolute paths there: \"constraints\": [{\"path\": [\"/srv/app/data/*\"]}]\n"
    );
}

#[test]
fn export_and_import_go_round() {
    let place = Place::new();
    let json = place.succeed(&["export", "p"]);
    assert_eq!(json, everything().to_json());
    place.succeed(&["export", "p", "-o", "p.json"]);
    assert_eq!(place.read("p.json"), json.as_bytes());
    // Every command takes either face.
    assert_eq!(place.succeed(&["export", "p.json"]), json);
    assert_eq!(place.succeed(&["import", "p.json", "-o", "q"]), "");
    assert_eq!(place.read("q"), place.read("p"));

    let (status, stdout, stderr) = place.run(&["import", "p.json", "-o", "q"]);
    assert_eq!((status, stdout.as_str()), (1, ""));
    assert_eq!(stderr, "php-profile: q exists already\nHint: --force replaces it\n");
    place.succeed(&["import", "p.json", "-o", "q", "--force"]);
    assert_eq!(place.files(), ["p", "p.json", "q"]);

    let mut child = place
        .command(&["import", "-", "-o", "r"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(json.as_bytes()).unwrap();
    assert_eq!(told(child.wait_with_output().unwrap()), (0, String::new(), String::new()));
    assert_eq!(place.read("r"), place.read("p"));
}

#[test]
fn what_fails_is_told_with_a_hint() {
    let place = Place::new();
    place.write("text", "hello\n");
    let json = String::from_utf8(place.succeed(&["export", "p"]).into_bytes()).unwrap();
    place.write("bad.json", &json.replace("\"operation\": \"setuid\"", "\"operation\": \"setuld\""));
    place.write("widened.json", &json.replace("\"constraints\"", "\"constraint\""));
    place.write("never.json", &json.replace("\"operation\": \"setuid\"", "\"operation\": \"bpf\""));
    for (arguments, status, stderr) in [
        (
            &["show", "none"][..],
            1,
            "php-profile: cannot read the profile none: No such file or directory (os error 2)\n\
             Hint: make one with `--profile`, or name it with --profile-file\n",
        ),
        (
            &["show", "text"],
            1,
            "php-profile: not a profile: it starts with neither the mark of one nor `{`\n\
             Hint: a profile is made with `--profile`, or with `php-profile import` from JSON\n",
        ),
        (
            &["import", "p", "-o", "q"],
            1,
            "php-profile: p is not JSON\nHint: `php-profile export` makes JSON of a profile\n",
        ),
        (
            &["import", "never.json", "-o", "q"],
            1,
            "php-profile: invalid profile: grants[5]: `bpf` is never granted (protected-object)\n\
             Hint: correct it: `php-profile export`, edit, `php-profile import`\n",
        ),
        (
            &["sow", "p"],
            2,
            "php-profile: unrecognized subcommand 'sow'\n\
             Hint: `php-profile --help` lists the commands and their options\n",
        ),
        (
            &[],
            2,
            "php-profile: no command was given\n\
             Hint: `php-profile --help` lists the commands and their options\n",
        ),
    ] {
        assert_eq!(place.run(arguments), (status, String::new(), stderr.to_owned()));
    }
    let (status, _, stderr) = place.run(&["import", "bad.json", "-o", "q"]);
    assert_eq!(status, 1);
    assert!(
        stderr.starts_with(
            "php-profile: invalid JSON profile: there is no system call `setuld` (did you mean `setuid`?)"
        ),
        "{stderr}"
    );
    let (status, _, stderr) = place.run(&["import", "widened.json", "-o", "q"]);
    assert!(status == 1 && stderr.contains("unknown field `constraint`"), "{stderr}");
    assert!(!place.path("q").exists());
    let (status, stdout, _) = place.run(&["--help"]);
    assert!(status == 0 && stdout.contains("Exit status: 0 done, 1 failed, 2 wrong usage"));
}

#[test]
fn a_corrupted_profile_is_neither_shown_nor_changed() {
    let place = Place::new();
    let mut bytes = place.read("p");
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(place.path("p"), &bytes).unwrap();
    place.write("events", &violation(&site(), Reason::OperationNotInProfile).to_line());
    for arguments in [&["show", "p"][..], &["export", "p"], &["allow", "p", "--from", "events"]] {
        let (status, stdout, stderr) = place.run(arguments);
        assert_eq!((status, stdout.as_str()), (1, ""));
        assert!(
            stderr.starts_with("php-profile: the profile is corrupted: the checksum of the "),
            "{stderr}"
        );
        assert!(stderr.contains("\nHint: "));
    }
    assert_eq!(place.read("p"), bytes);
}

fn site() -> Site {
    Site::function("/srv/app/releases/9/src/Mail.php", Some("Mail".into()), "send")
}

/// What a tracer would write about an unlink of `/tmp/x`.
fn violation(site: &Site, reason: Reason) -> Event {
    let mut event = Event::new(Kind::Violation, "2026-11-22T12:00:00Z".parse().unwrap());
    let args = ArgsView { path: Some(b"/tmp/phpA1b2C3"), ..ArgsView::default() };
    event.view = Some(View::Syscall);
    event.set_operation(op("unlink"), 87);
    event.args.0.insert("path".into(), "/tmp/phpA1b2C3".into());
    event.site = Some(EventSite::new(site, 3));
    event.sink = Some("unlink".into());
    event.reason = Some(reason);
    event.grant = Policy::new(&everything()).site_grant(site, &[], op("unlink"), &args);
    event
}

fn allowed(profile: &Profile, site: &Site) -> bool {
    let args = ArgsView { path: Some(b"/tmp/phpD4e5F6"), ..ArgsView::default() };
    Policy::new(profile).site(site).decide(op("unlink"), &args) == Verdict::Allowed
}

fn events(place: &Place) {
    let mail = violation(&site(), Reason::SiteNotInProfile);
    let engine = violation(&Site::engine(Phase::Shutdown), Reason::OperationNotInProfile);
    let lines = [
        mail.to_line(),
        "\n".into(),
        engine.to_line(),
        mail.to_line(),
        Event::new(Kind::Notice, mail.ts).to_line(),
        "{\"v\":1,\"kind\":\"weather\"}\n".into(),
    ];
    place.write("events", &lines.concat());
}

#[test]
fn reviewed_violations_are_added() {
    let place = Place::new();
    events(&place);
    assert!(!allowed(&place.profile(), &site()));

    let before = place.read("p");
    let dry = place.succeed(&["allow", "p", "--from", "events", "--dry-run"]);
    assert_eq!(
        dry,
        "would add unlink by Mail::send() in app:src/Mail.php\n\
         would add unlink by {engine:shutdown}, paths /tmp/php*\n"
    );
    assert_eq!(place.read("p"), before);

    assert_eq!(place.succeed(&["allow", "p", "--from", "events"]), dry.replace("would add", "added"));
    let profile = place.profile();
    assert!(allowed(&profile, &site()) && allowed(&profile, &Site::engine(Phase::Shutdown)));
    let added = profile.grants.iter().find(|grant| grant.who.to_string().starts_with("Mail")).unwrap();
    assert_eq!((added.seen, added.sinks.len(), added.samples.len()), (2, 1, 1));

    assert_eq!(place.succeed(&["allow", "p", "--from", "events"]), "nothing to add\n");
    assert_eq!(place.files(), ["events", "p"]);
}

#[test]
fn only_the_sites_that_are_asked_for_are_added() {
    let place = Place::new();
    events(&place);
    let (status, stdout, stderr) = place.run(&["allow", "--from", "events", "--site", "Mail::send()", "p"]);
    assert_eq!((status, stderr.as_str()), (0, "php-profile: 1 violations are of other sites\n"));
    assert_eq!(stdout, "added unlink by Mail::send() in app:src/Mail.php\n");
    assert!(!allowed(&place.profile(), &Site::engine(Phase::Shutdown)));
}

#[test]
fn a_text_that_means_several_files_adds_nothing() {
    let place = Place::new();
    let [evil, closer] = ["/tmp/Mail.php", "/tmp/in app:src/Mail.php"]
        .map(|file| Site::function(file, Some("Mail".into()), "send"));
    let honest = site();
    let of = |site: &Site| violation(site, Reason::OperationNotInProfile).to_line();
    place.write("events", &[of(&honest), of(&evil), of(&closer)].concat());
    let before = place.read("p");
    for text in ["Mail::send()", "Mail.php", "src/Mail.php"] {
        let (status, stdout, stderr) = place.run(&["allow", "--from", "events", "--site", text, "p"]);
        assert_eq!((status, stdout.as_str()), (1, ""), "{text}");
        assert!(stderr.contains("several files: /tmp/") && stderr.contains("Hint: "), "{stderr}");
    }
    assert_eq!(place.read("p"), before);
    for whole in ["app:src/Mail.php", "Mail::send() in app:src/Mail.php"] {
        let (_, added, _) = place.run(&["allow", "--from", "events", "--dry-run", "--site", whole, "p"]);
        assert_eq!(added, "would add unlink by Mail::send() in app:src/Mail.php\n");
    }
    let engines = [Phase::Request, Phase::Shutdown].map(|phase| of(&Site::engine(phase)));
    place.write("phases", &engines.concat());
    let both = place.succeed(&["allow", "--from", "phases", "--dry-run", "--site", "engine", "p"]);
    assert_eq!(both.lines().count(), 2, "{both}");
    place.run(&["allow", "--from", "events", "--site", "app:src/Mail.php", "p"]);
    assert!(allowed(&place.profile(), &honest) && !allowed(&place.profile(), &evil));
}

#[test]
fn log_mode_can_be_added_and_enforced_later() {
    let place = Place::new();
    events(&place);
    let log = place
        .succeed(&["allow", "p", "--from", "events", "--mode", "log", "--site", "Mail", "--site", "engine"]);
    assert!(log.starts_with("added unlink by Mail::send() in app:src/Mail.php (log only)\n"));
    assert!(!allowed(&place.profile(), &site()));
    assert!(
        place
            .profile()
            .grants
            .iter()
            .any(|grant| grant.operation == op("unlink") && grant.mode == GrantMode::Log)
    );
    assert_eq!(place.succeed(&["allow", "p", "--from", "events", "--mode", "log"]), "nothing to add\n");
    let enforced = place.succeed(&["allow", "p", "--from", "events"]);
    assert!(enforced.starts_with("now enforced unlink by Mail::send()"), "{enforced}");
    assert!(allowed(&place.profile(), &site()));
}

#[test]
fn what_no_grant_can_allow_is_not_added() {
    let place = Place::new();
    // A key is there, and the reason says that it must not be used.
    let tainted = violation(&site(), Reason::TaintedIdentity);
    let protected = violation(&site(), Reason::ProtectedObject);
    let unknown = violation(&Site::unknown(), Reason::UnknownSite);
    place.write(
        "events",
        &[tainted.to_line(), protected.to_line(), unknown.to_line(), "{\"v\":".into()].concat(),
    );
    let (status, stdout, stderr) = place.run(&["allow", "p", "--from", "events"]);
    assert_eq!((status, stdout.as_str()), (0, "nothing to add\n"));
    assert_eq!(
        stderr,
        "php-profile: 1 violations cannot be allowed by a grant (protected-object)\n\
         php-profile: 1 violations cannot be allowed by a grant (tainted-identity)\n\
         php-profile: 1 violations cannot be allowed by a grant (unknown-site)\n\
         php-profile: 1 lines are not events\n"
    );
    // Not even where a file says so.
    let mut forged = violation(&site(), Reason::OperationNotInProfile);
    forged.grant.as_mut().unwrap().operation = op("bpf");
    place.write("events", &forged.to_line());
    let before = place.read("p");
    let (status, stdout, stderr) = place.run(&["allow", "p", "--from", "events"]);
    assert_eq!((status, stdout.as_str()), (1, ""));
    assert!(stderr.contains("`bpf` is never granted"), "{stderr}");
    assert_eq!(place.read("p"), before);
}

#[test]
fn events_of_the_other_view_are_refused() {
    let place = Place::new();
    let mut event = violation(&site(), Reason::OperationNotInProfile);
    event.view = Some(View::Lsm);
    place.write("events", &event.to_line());
    let (status, _, stderr) = place.run(&["allow", "p", "--from", "events"]);
    assert_eq!(status, 1);
    assert!(stderr.contains("syscall view") && stderr.contains("Hint: "), "{stderr}");
}

#[test]
fn a_json_profile_stays_json() {
    let place = Place::new();
    events(&place);
    place.succeed(&["export", "p", "-o", "p.json"]);
    place.succeed(&["allow", "p.json", "--from", "events"]);
    assert!(place.read("p.json").starts_with(b"{"));
    assert!(allowed(&Profile::load(&place.path("p.json")).unwrap(), &site()));
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let place = Place::new();
    let mut child =
        place.command(&["export", "p"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let (status, _, stderr) = told(child.wait_with_output().unwrap());
    assert_eq!((status, stderr.as_str()), (0, ""));
}

#[test]
fn large_profiles_are_loaded_and_shown() {
    let place = Place::new();
    let mut profile = everything();
    profile.grants = (0..50_000)
        .flat_map(|number| {
            let site =
                Site::function(format!("app:src/{}/{number}.php", number % 97), Some("A\\B".into()), "run");
            ["openat:read", "unlink", "connect:inet"]
                .map(|operation| grant(Who::site(site.clone()), operation))
        })
        .collect();
    profile.save(Path::new(&place.path("p")), true).unwrap();
    assert_eq!(place.succeed(&["show", "p"]).matches("    unlink ").count(), 50_000 + 1);
}
