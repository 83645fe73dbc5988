//! The demonstration: the bundled application learnt, attacked under monitor, attacked under sandbox.
//!
//! Each of the three is a run of this very program with the application as COMMAND, as a user would run
//! it. What an attack achieved is counted by what is there afterwards; what only the kernel can tell (a
//! file opened, a program started, just before its process was killed) by the tracer's own events. The
//! larger of both is the number in the table.

mod bundle;
mod mail;
mod plan;
mod server;
mod stage;
mod table;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::User;

use self::mail::Sink;
use self::plan::{Attack, Places, Plan, Request, contains};
use self::server::Answer;
use self::stage::{Scene, Stage};
use self::table::Row;
use crate::Phase;
use crate::cli::{Mode, hinted};
use crate::probe::{self, Verdict};

/// The signal that asked for the end; 0 for none.
static INTERRUPTED: AtomicI32 = AtomicI32::new(0);

/// Whether the user wants the end.
fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed) != 0
}

/// The user wanted the end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

extern "C" fn interrupt(signal: libc::c_int) {
    INTERRUPTED.store(signal, Ordering::Relaxed);
}

fn catch_signals() -> Result<()> {
    let action = SigAction::new(SigHandler::Handler(interrupt), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler does nothing but store into an atomic.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

/// A line of the demonstration.
fn tell(text: &str) {
    // Nobody reads any more: then nobody misses it.
    let _ = writeln!(std::io::stdout().lock(), "{}", table::wrap(text));
}

/// How often the honest requests are played for the profile.
const ROUNDS: usize = 3;
/// A kill may land after the answer is there, and what a killed process started may go on for a moment.
const SETTLE: Duration = Duration::from_millis(20);
const SETTLE_ATTACK: Duration = Duration::from_millis(150);

/// Runs it to its end; the exit status.
pub fn run(phase: &dyn Phase) -> Result<u8> {
    catch_signals()?;
    match play(phase) {
        Err(_) if interrupted() => {
            tell("interrupted: what was started is ended, what was written is removed");
            Ok(128 + INTERRUPTED.load(Ordering::Relaxed) as u8)
        }
        other => other.map(|()| 0),
    }
}

fn play(phase: &dyn Phase) -> Result<()> {
    crate::session::check_environment()?;
    check_strategy(phase)?;
    let plan: Plan = serde_json::from_str(bundle::REQUESTS).context("read the bundled requests")?;
    let php = server::find_php()?;
    let user = ordinary_user()?;
    let sink = Sink::start().context("listen for mail on 127.0.0.1")?;
    let work = Work::new()?;
    let places = Places { data: work.0.join("data"), secret: work.0.join("secret.txt"), port: sink.port };
    let scene = Scene {
        strategy: phase.title().split_whitespace().skip(1).map(str::to_owned).collect(),
        php,
        user,
        app: work.0.join("app"),
        run: work.0.join("run"),
        private: work.0.join("private"),
        places,
    };
    work.make(&scene.app, 0o755)?;
    work.make(&scene.run, 0o755)?;
    work.make(&scene.private, 0o700)?;
    std::os::unix::fs::chown(&scene.run, Some(scene.user.uid.as_raw()), Some(scene.user.gid.as_raw()))?;
    bundle::unpack(&scene.app).context("unpack the application")?;
    plan::prepare(&plan, &scene.places, &scene.user).context("make the application's data")?;
    let actors = Actors { plan: &plan, scene: &scene, sink: &sink };
    let kind = if scene.php.fpm { "php-fpm" } else { "PHP's own server" };

    tell(&format!(
        "{}: the demonstration\n\nA small photo gallery with holes in it (upload, thumbnails through a shell, mail), on {kind} {}, as {}.",
        phase.title(),
        scene.php.version,
        scene.user.name
    ));

    tell("\n1 learn");
    stage::adopt_orphans()?;
    let stage = Stage::start(&scene, Mode::Profile)?;
    let mut answered = 0;
    for _ in 0..ROUNDS {
        answered += actors.honest(&stage)?;
    }
    let learnt = stage.finish()?;
    let profile = learnt
        .said
        .lines()
        .rev()
        .find_map(|l| l.strip_prefix("profile ")?.split_once(": "))
        .map_or("", |p| p.1);
    let asked = ROUNDS * plan.honest.len();
    tell(&format!("  honest requests: {answered} of {asked} answered"));
    tell(&format!("  profile: {profile}"));

    tell("2 monitor");
    let stage = Stage::start(&scene, Mode::Monitor)?;
    let monitored = actors.attacks(&stage)?;
    let under_monitor = stage.finish()?;
    tell(&format!(
        "  {} attacks: {} violations logged, nothing stopped",
        plan.attacks.len(),
        under_monitor.violations.len()
    ));

    tell("3 sandbox");
    let stage = Stage::start(&scene, Mode::Sandbox)?;
    let from = Timestamp::now();
    let honest = actors.honest(&stage)?;
    std::thread::sleep(SETTLE_ATTACK);
    let to = Timestamp::now();
    let sandboxed = actors.attacks(&stage)?;
    let after = actors.honest(&stage)?;
    let under_sandbox = stage.finish()?;
    let all = plan.honest.len();
    let wrong = under_sandbox.between(from, to).count();
    tell(&format!("  honest requests: {honest} of {all} answered, {wrong} violations"));
    let (answers, sent) =
        sandboxed.iter().fold((0, 0), |(a, s), attack| (a + attack.answered, s + attack.sent));
    tell(&format!("  the same attacks: {answers} of {sent} requests answered"));
    tell(&format!("  honest requests after them: {after} of {all} answered"));
    if let Some(example) = under_sandbox.example() {
        tell(&format!("\nFor example:\n  {}", example.replace(&*work.0.to_string_lossy(), "…")));
    }

    let rows: Vec<Row> = plan
        .attacks
        .iter()
        .zip(monitored.iter().zip(&sandboxed))
        .map(|(attack, (m, s))| Row {
            attack,
            monitor: m.done.max(under_monitor.through(m.from, m.to)).min(attack.attempts),
            sandbox: s.done.max(under_sandbox.through(s.from, s.to)).min(attack.attempts),
            harm: s.done,
            prepared: m.prepared && s.prepared,
        })
        .collect();
    tell(&format!("\n{}", table::attacks(&rows)));
    tell(&table::explain(phase.title(), phase.default_actions(), &rows));
    Ok(())
}

/// Whether what is to be shown works here. Errors: why not, before anything is begun.
fn check_strategy(phase: &dyn Phase) -> Result<()> {
    let own = probe::strategies().into_iter().find(|report| report.strategy == phase.strategy());
    match own.map(|report| report.verdict) {
        Some(Verdict::Fails(reason)) => Err(hinted(
            format!("this strategy does not work here: {}", reason.why),
            format!("{}; where the sources are, make demo shows it under another kernel", reason.hint),
        )),
        _ => Ok(()),
    }
}

/// The temporary folder; removed with all that is in it.
struct Work(PathBuf);

impl Work {
    fn new() -> Result<Self> {
        let path =
            nix::unistd::mkdtemp(&temp_folder().join("gallery-XXXXXX")).context("make a temporary folder")?;
        let work = Self(path);
        // Others must get through to the application; what they may see below is decided there.
        fs::set_permissions(&work.0, fs::Permissions::from_mode(0o755))?;
        Ok(work)
    }

    fn make(&self, folder: &Path, mode: u32) -> Result<()> {
        debug_assert!(folder.starts_with(&self.0));
        fs::create_dir(folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(fs::set_permissions(folder, fs::Permissions::from_mode(mode))?)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            crate::say(&format!("warning: {} could not be removed: {error}", self.0.display()));
        }
    }
}

/// `$TMPDIR` where everybody gets there and the application takes such a path, else `/tmp`.
fn temp_folder() -> PathBuf {
    let named = std::env::temp_dir();
    let open = |p: &Path| fs::metadata(p).is_ok_and(|m| m.permissions().mode() & 0o001 != 0);
    let plain = named.to_string_lossy().chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    match named.canonicalize() {
        Ok(path) if plain && path.ancestors().all(open) => path,
        _ => "/tmp".into(),
    }
}

/// Who PHP runs as: never root.
fn ordinary_user() -> Result<User> {
    for name in ["www-data", "nobody"] {
        if let Ok(Some(user)) = User::from_name(name)
            && !user.uid.is_root()
        {
            return Ok(user);
        }
    }
    Err(hinted("neither www-data nor nobody is a user here", "useradd --system www-data"))
}

/// What came of one attack.
struct Attacked {
    from: Timestamp,
    to: Timestamp,
    /// Requests that were answered, whatever the answer, and all.
    answered: u64,
    sent: u64,
    /// Attempts that had their effect.
    done: u64,
    /// The honest requests that the attack needs were answered.
    prepared: bool,
}

/// Who sends requests.
struct Actors<'a> {
    plan: &'a Plan,
    scene: &'a Scene,
    sink: &'a Sink,
}

impl Actors<'_> {
    /// Sends a request as often as it wants to be: the answers, and how many of them are as expected.
    fn send(&self, stage: &Stage, request: &Request) -> Result<(Vec<Answer>, u32)> {
        let (mut answers, mut expected) = (Vec::new(), 0);
        for n in 1..=request.repeat {
            std::thread::sleep(Duration::from_millis(request.wait_ms));
            if interrupted() {
                return Err(Interrupted.into());
            }
            // No answer is what a kill looks like from here.
            let Ok(answer) = stage.server.ask(request, &self.scene.places, n) else { continue };
            let text = self.scene.places.fill(&request.contains, n);
            expected += u32::from(answer.status == request.status && contains(&answer.body, text.as_bytes()));
            answers.push(answer);
        }
        Ok((answers, expected))
    }

    /// Plays the honest requests once: how many were answered as they should be.
    fn honest(&self, stage: &Stage) -> Result<usize> {
        let mut answered = 0;
        for request in &self.plan.honest {
            let (_, expected) = self.send(stage, request)?;
            answered += usize::from(expected == request.repeat);
        }
        Ok(answered)
    }

    fn attacks(&self, stage: &Stage) -> Result<Vec<Attacked>> {
        self.plan.attacks.iter().map(|attack| self.attack(stage, attack)).collect()
    }

    fn attack(&self, stage: &Stage, attack: &Attack) -> Result<Attacked> {
        let places = &self.scene.places;
        let paths = attack.effect.paths(places);
        for path in &paths {
            let _ = fs::remove_file(path);
            if attack.effect.kind == plan::EffectKind::FileDeleted {
                fs::write(path, "a victim\n").context("make a file to be deleted")?;
            }
        }
        self.sink.take();
        let from = Timestamp::now();
        let (mut answers, mut prepared) = (Vec::new(), true);
        let last = attack.requests.len().saturating_sub(1);
        for (at, request) in attack.requests.iter().enumerate() {
            if at == last && request.repeat > 1 {
                for n in 1..=request.repeat {
                    if interrupted() {
                        return Err(Interrupted.into());
                    }
                    answers.extend(stage.server.ask(request, places, n));
                    std::thread::sleep(SETTLE);
                }
                continue;
            }
            let (got, expected) = self.send(stage, request)?;
            prepared &= at == last || expected == request.repeat;
            answers.extend(got);
            std::thread::sleep(SETTLE);
        }
        std::thread::sleep(SETTLE_ATTACK);
        let to = Timestamp::now();
        let sent = attack.requests.iter().map(|r| u64::from(r.repeat)).sum();
        let answered = answers.len() as u64;
        let bodies: Vec<Vec<u8>> = answers.into_iter().map(|a| a.body).collect();
        let done = attack.effect.count(places, &bodies, &self.sink.take());
        for path in attack.leaves.iter().map(|p| PathBuf::from(places.fill(p, 1))).chain(paths) {
            let _ = fs::remove_file(path);
        }
        Ok(Attacked { from, to, answered, sent, done, prepared })
    }
}
