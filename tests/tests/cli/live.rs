//! The live line of counts: on a terminal of its own, below what is told, gone at the end.

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use e2e::session::{ends_with_test, tracer};
use e2e::suite::test;
use libtest_mimic::Trial;

use super::place::{Place, USER};

/// All of them.
pub fn tests() -> Vec<Trial> {
    vec![
        test("a_terminal_has_a_live_line_of_counts", counts),
        test("a_live_line_of_a_learning_session_counts_what_the_profile_does", learning),
        test("a_live_line_is_never_longer_than_the_terminal", narrow),
        test("a_live_line_has_no_colour_if_none_is_wanted", no_color),
        test("a_live_line_leaves_the_shells_row_alone", background),
        test("a_live_line_is_not_drawn_where_it_would_be_in_the_way", not_drawn),
        test("nothing_is_drawn_on_what_is_no_terminal", no_terminal),
    ]
}

const CLEAR: &str = "\x1b[2K";
/// Something allowed and something that is not, for longer than the line needs to be drawn twice.
const HONEST: &str = "<?php function ok($d) { touch(\"$d/ok\"); } ok($argv[1]);";
const EVIL: &str = "<?php function ok($d) { touch(\"$d/ok\"); }
for ($n = 0; $n < 30; $n++) { ok($argv[1]); @unlink(\"/none$n\"); usleep(40_000); }";

/// A PHP that nobody else on this machine runs, and a profile of what `ok` does.
fn learnt() -> Place {
    let place = prepared();
    let session = place.session("--profile").arg("--php").arg(place.arg("php")).start();
    run_php(&place);
    assert_eq!(session.stop().status, 0);
    place.file("app.php", EVIL);
    place
}

fn prepared() -> Place {
    let place = Place::new();
    place.own_php();
    place.file("app.php", HONEST);
    place
}

fn run_php(place: &Place) {
    let mut php = Command::new("setpriv");
    php.args(["--reuid", USER, "--regid", "nogroup", "--clear-groups"]);
    php.arg(place.path("php")).arg(place.path("app.php")).arg(place.path("data"));
    assert!(php.status().expect("run PHP").success());
}

/// What a terminal gets from this shell command while PHP runs. `$TRACER` is a session that outlives it.
fn on_terminal(place: &Place, mode: &str, shell: &str) -> String {
    let tracer = format!(
        "{} {mode} --duration 3 --profile-file p.profile --php {}",
        tracer().display(),
        place.arg("php")
    );
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", shell, "/dev/null"]).env("TRACER", tracer);
    script.env("TERM", "xterm").env_remove("NO_COLOR").current_dir(place.root());
    script.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut terminal = ends_with_test(&mut script).spawn().expect("run script");
    let got = watch(terminal.stdout.take().expect("stdout is piped"), place);
    let status = terminal.wait().expect("wait for script");
    assert!(status.success(), "{status}\n{got}");
    got
}

/// Runs PHP once the session is ready, and has had the time to draw its line.
fn watch(mut output: impl Read, place: &Place) -> String {
    let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
    let mut was_ready = false;
    loop {
        let len = output.read(&mut buffer).expect("read what a terminal gets");
        got.extend_from_slice(&buffer[..len]);
        if len == 0 {
            assert!(was_ready, "{}", String::from_utf8_lossy(&got));
            return String::from_utf8(got).expect("UTF-8");
        }
        if !was_ready && got.windows(6).any(|w| w == b"ready:") {
            was_ready = true;
            thread::sleep(Duration::from_millis(600));
            run_php(place);
        }
    }
}

/// Everything between two movements of the cursor, as far as it can be seen.
fn pieces(got: &str) -> Vec<String> {
    got.split(['\r', '\n']).map(|piece| without_color(piece).replace(CLEAR, "")).collect()
}

/// The rows that such a terminal shows in the end.
fn rows(got: &str) -> Vec<String> {
    let mut rows: Vec<Vec<char>> = vec![Vec::new()];
    let mut column = 0;
    let got = without_color(got).replace(CLEAR, "\0");
    for c in got.chars() {
        let row = rows.last_mut().expect("a row");
        match c {
            '\r' => column = 0,
            '\n' => rows.push(Vec::new()),
            '\0' => row.fill(' '),
            _ => {
                row.resize(row.len().max(column + 1), ' ');
                row[column] = c;
                column += 1;
            }
        }
    }
    rows.into_iter().map(|row| row.into_iter().collect::<String>().trim_end().to_owned()).collect()
}

fn without_color(text: &str) -> String {
    ["\x1b[2m", "\x1b[33m", "\x1b[0m"].iter().fold(text.to_owned(), |text, code| text.replace(code, ""))
}

/// What the live line was, one after the other.
fn drawn(got: &str, mode: &str) -> Vec<String> {
    let summary = rows(got).into_iter().rev().find(|row| row.starts_with(mode));
    let mut drawn: Vec<String> = pieces(got).into_iter().filter(|p| p.starts_with(mode)).collect();
    // The same words once more, as the last ones for good.
    assert_eq!(drawn.pop(), summary, "{got:?}");
    drawn
}

fn counts() {
    let place = learnt();
    let got = on_terminal(&place, "--monitor", "exec $TRACER");
    let rows = rows(&got);
    let drawn = drawn(&got, "monitor: ");
    assert_eq!(
        drawn.first().map(String::as_str),
        Some("monitor: 0 violations, 0 let through; 0 calls allowed")
    );
    let told = "monitor: 30 violations, 0 let through; ";
    assert!(drawn.last().is_some_and(|last| last.starts_with(told)), "{drawn:#?}");
    let between = drawn.iter().filter(|d| !d.contains(": 0 viol") && !d.contains(": 30 viol")).count();
    assert!(between >= 2, "it does not count along: {drawn:#?}");

    // What stays is clean: every line whole and by itself, the counts once, and nothing below them but counters.
    let starts = |start: &str| rows.iter().filter(|row| row.starts_with(start)).count();
    assert_eq!(
        (
            starts("watching "),
            starts("ready: "),
            starts("logged unlink("),
            starts("… and more"),
            starts(told)
        ),
        (1, 1, 10, 1, 1),
        "{rows:#?}"
    );
    assert_eq!(rows.iter().filter(|row| row.contains("monitor: ")).count(), 1, "{rows:#?}");
    assert!(rows.iter().all(|row| !row.contains('\x1b')), "{rows:#?}");
}

fn learning() {
    let place = prepared();
    let got = on_terminal(&place, "--profile", "exec $TRACER");
    let rows = rows(&got);
    let summary = rows.iter().find_map(|row| row.strip_prefix("profile p.profile: ")).expect("a summary");
    let mut figures = summary.split([';', ',']).map(str::trim);
    let (sites, calls) = (figures.next().expect("sites"), figures.nth(1).expect("calls"));
    let last = format!("profile: {sites}, {calls}");
    assert!(calls.ends_with(" calls seen") && pieces(&got).contains(&last), "no `{last}`: {got:?}");
    assert!(rows.iter().all(|row| !row.contains("profile: ") || row.starts_with("profile p.")), "{rows:#?}");
}

fn narrow() {
    let place = learnt();
    let got = on_terminal(&place, "--monitor", "stty cols 32 rows 24; exec $TRACER");
    let drawn: Vec<String> = pieces(&got).into_iter().filter(|p| p.ends_with('…')).collect();
    assert!(drawn.len() >= 2, "{got:?}");
    assert!(drawn.iter().all(|d| d.chars().count() < 32), "{drawn:#?}");
    assert_eq!(drawn[0], "monitor: 0 violations, 0 let…");
}

fn no_color() {
    let place = learnt();
    let got = on_terminal(&place, "--monitor", "NO_COLOR=1 exec $TRACER");
    assert!(drawn(&got, "monitor: ").len() >= 2, "{got:?}");
    assert_eq!(got.matches('\x1b').count(), got.matches(CLEAR).count(), "{got:?}");
}

fn background() {
    let place = learnt();
    let got = on_terminal(&place, "--monitor", "set -m; printf '$ '; $TRACER & wait $!");
    assert!(!got.contains(CLEAR) && got.starts_with("$ "), "{got:?}");
    assert_eq!(drawn(&got, "monitor: "), Vec::<String>::new(), "{got:?}");
}

fn not_drawn() {
    let place = learnt();
    let command = "exec $TRACER --user nobody -- ./php -r 'echo \"mi\"; usleep(800_000); echo \"ne\";'";
    for (why, shell) in [
        ("COMMAND writes there, too", command),
        ("events are written there, too", "exec $TRACER --events -"),
        ("a terminal that knows no escapes", "TERM=dumb exec $TRACER"),
    ] {
        let got = on_terminal(&place, "--monitor", shell);
        assert!(!got.contains(CLEAR), "{why}: {got:?}");
        assert_eq!(drawn(&got, "monitor: "), Vec::<String>::new(), "{why}: {got:?}");
        assert!(shell != command || got.contains("mine"), "{got:?}");
        assert!(!shell.contains("dumb") || !got.contains('\x1b'), "{got:?}");
    }
}

fn no_terminal() {
    let place = learnt();
    let session = place.session("--monitor").arg("--php").arg(place.arg("php")).start();
    run_php(&place);
    let ran = session.stop();
    assert!(ran.stderr.contains("monitor: 30 violations"), "{}", ran.stderr);
    assert!(!ran.stderr.contains(['\r', '\x1b']), "{:?}", ran.stderr);
    assert_eq!(ran.stderr.matches("monitor: ").count(), 1, "{}", ran.stderr);
}
