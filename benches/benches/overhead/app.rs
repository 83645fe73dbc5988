//! A php-fpm application under load: `DokuWiki`, served by nginx, driven by wrk. The figure is the CPU time that php-fpm
//! takes for each request: what is attached to the kernel runs in its workers' time. What a tracer, strace or the one
//! that is notified needs itself stands beside it.

use std::ffi::OsString;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::empty::Empty;
use benches::record::Record;
use benches::strategy::{self, Strategy};
use benches::tracer::{Tracer, child};
use benches::watch::wait_until_alone;
use benches::{Spread, interrupt, programs, ratio};
use e2e::fpm::own_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{SECCOMP, modes};

/// The pages that are asked for, in turn.
const PAGES: &str = r#"
local pages = { "id=wiki:syntax", "id=wiki:dokuwiki", "id=start", "do=index", "do=search&q=wiki",
                "id=wiki:syntax&do=edit", "id=wiki:syntax&do=export_xhtml", "do=recent" }
local n = 0
request = function()
    n = n % #pages + 1
    return wrk.format("GET", "/doku.php?" .. pages[n])
end
local most, answered = tonumber(os.getenv("MOST") or ""), 0
if most then
    response = function()
        answered = answered + 1
        if answered < most then return end
        print(answered .. " requests in all") -- by itself it would go on for as long as it was told
        io.stdout:flush()
        os.exit(0)
    end
end
"#;
const WORKERS: usize = 2;
const GROUP: &str = "DokuWiki, php-fpm";
/// What is not measured, and why.
const ALLOWLIST: (&str, &str) = (
    "DokuWiki under an allowlist of the whole process",
    "what a pool of this application calls in seconds is not all that it calls in minutes, and what is not listed fails",
);
const USDT_SANDBOX: (&str, &str) = (
    "DokuWiki in a sandbox by USDT",
    "the shadow stack that the probes keep drifts in this application, and what is unknown would be killed; its monitor is measured",
);

/// What is between nginx and the pages.
enum Way {
    Bare,
    Empty {
        exit_too: bool,
    },
    Session {
        strategy: Strategy,
        mode: &'static str,
        options: &'static [&'static str],
    },
    /// The pool is started by it.
    Under(&'static [&'static str]),
}

impl Way {
    /// What starts the pool.
    fn under(&self) -> &'static [&'static str] {
        if let Way::Under(program) = self { program } else { &[] }
    }

    /// Whether PHP must call its probes.
    fn needs_probes(&self) -> bool {
        matches!(self, Way::Session { options, .. } if options.contains(&"usdt"))
    }

    /// Whether a pool has it from its start or not at all.
    fn is_from_the_start(&self) -> bool {
        self.needs_probes() || !self.under().is_empty()
    }
}

fn ways(here: &[Strategy]) -> Vec<(String, Way)> {
    let mut ways = vec![
        ("nothing".to_owned(), Way::Bare),
        ("empty program at sys_enter".to_owned(), Way::Empty { exit_too: false }),
        ("empty programs at sys_enter, sys_exit".to_owned(), Way::Empty { exit_too: true }),
    ];
    for strategy in here.iter().filter(|s| **s != strategy::PLAIN) {
        for mode in modes() {
            let name = format!("{}, {}", strategy.name, &mode[2..]);
            ways.push((name, Way::Session { strategy: *strategy, mode, options: &[] }));
        }
    }
    if programs::is_guest() {
        return ways;
    }
    let usdt = |options| Way::Session { strategy: strategy::USER_KILL, mode: "--monitor", options };
    ways.extend([
        (
            "phase 1, monitor, USDT, its twenty calls".to_owned(),
            usdt(&["--attribution", "usdt", "--syscalls", "seed"]),
        ),
        (
            "strace -f, of files".to_owned(),
            Way::Under(&["strace", "-f", "--seccomp-bpf", "-e", "trace=%file", "-o", "/dev/null"]),
        ),
        (
            "seccomp, notified of opens".to_owned(),
            Way::Under(&[SECCOMP, "notify", "open,openat,unlink,rename,mkdir"]),
        ),
    ]);
    ways
}

/// How long a pool is asked.
#[derive(Clone, Copy)]
enum Load {
    Seconds(u64),
    /// So many requests, one after the other: the same ones each time, and none is half done at the end.
    Requests(u32),
}

/// One visit's figures.
#[derive(Clone, Copy)]
struct Seen {
    /// ns of php-fpm's for each request.
    cpu: f64,
    /// ns of the one who watches.
    watcher: f64,
    /// Requests per second.
    rate: f64,
}

impl Seen {
    /// Times those when nobody watched, just before and just after: what else the machine does changes in seconds.
    fn over(&self, before: &Self, after: &Self) -> Self {
        let (cpu, rate) = (f64::midpoint(before.cpu, after.cpu), f64::midpoint(before.rate, after.rate));
        Self { cpu: self.cpu / cpu, watcher: self.watcher / cpu, rate: self.rate / rate }
    }
}

struct App {
    folder: tempfile::TempDir,
    nginx: Child,
    port: u16,
}

impl App {
    fn new() -> Result<Self> {
        let fetch = concat!(env!("CARGO_MANIFEST_DIR"), "/victims/fetch-app");
        let output = Command::new(fetch).stderr(Stdio::inherit()).output().context("run fetch-app")?;
        ensure!(output.status.success(), "the application is not there");
        let source = String::from_utf8(output.stdout)?;
        let folder = tempfile::Builder::new().prefix("app").tempdir_in("/dev/shm")?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let at = folder.path();
        let copied = Command::new("cp").args(["-a", source.trim()]).arg(at.join("wiki")).status()?;
        ensure!(copied.success(), "the application cannot be copied");
        own_all(&at.join("wiki/data"));
        programs::compile_seccomp(&at.join(SECCOMP))?;
        fs::write(at.join("pages.lua"), PAGES)?;
        fs::copy("/usr/sbin/php-fpm8.2", at.join("fpm")).context("copy php-fpm8.2")?;
        let here = at.display();
        fs::write(
            at.join("fpm.conf"),
            format!(
                "[global]\npid = {here}/fpm.pid\nerror_log = {here}/fpm.log\ndaemonize = no\n[www]\nuser = www-data\n\
                 group = www-data\nlisten = {here}/fpm.sock\nlisten.owner = www-data\npm = static\n\
                 pm.max_children = {WORKERS}\n"
            ),
        )?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        fs::write(
            at.join("nginx.conf"),
            format!(
                "daemon off; user www-data; worker_processes 1; pid {here}/nginx.pid; error_log {here}/nginx.log;\n\
                 events {{}}\nhttp {{ access_log off; client_body_temp_path {here}/b; fastcgi_temp_path {here}/f;\n\
                 proxy_temp_path {here}/p; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n\
                 keepalive_requests 1000000;\n\
                 server {{ listen 127.0.0.1:{port}; root {here}/wiki; location ~ \\.php$ {{\n\
                 include /etc/nginx/fastcgi_params; fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;\n\
                 fastcgi_pass unix:{here}/fpm.sock; }} }} }}\n"
            ),
        )?;
        let mut nginx = child("nginx");
        nginx
            .arg("-c")
            .arg(at.join("nginx.conf"))
            .arg("-p")
            .arg(at)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let nginx = nginx.spawn().context("start nginx")?;
        let app = Self { folder, nginx, port };
        wait("nginx listens", || Ok(TcpStream::connect(("127.0.0.1", port)).map(drop)?))?;
        Ok(app)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A profile for each way of learning.
    fn profile(&self, strategy: &Strategy, options: &[&str]) -> PathBuf {
        let way: String = strategy
            .options
            .iter()
            .chain(options)
            .flat_map(|o| o.chars())
            .filter(char::is_ascii_alphanumeric)
            .collect();
        self.path(&format!("{way}.profile"))
    }

    fn session(&self, strategy: &Strategy, mode: &str, options: &[&str], profile: &Path) -> Result<Tracer> {
        let mut args: Vec<OsString> = vec![mode.into(), "--php".into(), self.path("fpm").into()];
        args.extend(["--profile-file".into(), profile.into()]);
        if mode == "--sandbox" {
            args.push("--exit-code".into()); // what is denied or killed costs something else
        }
        args.extend(strategy.options.iter().chain(options).map(Into::into));
        Tracer::start(strategy.binary, args)
    }

    /// A pool that answers, and has begun to be warm.
    fn pool(&self, under: &[&str], usdt: bool) -> Result<Pool> {
        let fpm = self.path("fpm");
        let own = |program: &str| if program == SECCOMP { self.path(SECCOMP) } else { program.into() };
        let mut command = match under {
            [] => child(&fpm),
            [program, rest @ ..] => {
                let mut command = child(own(program));
                command.args(rest).arg(&fpm);
                command
            }
        };
        if usdt {
            command.env("USE_ZEND_DTRACE", "1");
        }
        let config = self.path("fpm.conf");
        command.args(["-F", "-y"]).arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = fs::remove_file(self.path("fpm.sock"));
        let pid = self.path("fpm.pid");
        let pool = Pool { child: command.spawn().context("start php-fpm")?, exe: fpm, pid };
        wait("php-fpm answers", || self.load(Load::Seconds(1)).map(drop))?;
        Ok(pool)
    }

    /// How many requests were answered, and how many a second.
    fn load(&self, load: Load) -> Result<(u64, f64)> {
        interrupt::check()?;
        let since = Instant::now();
        let mut wrk = Command::new("wrk");
        match load {
            Load::Seconds(seconds) => wrk.args(["-t1", "-c2", &format!("-d{seconds}s")]),
            Load::Requests(most) => wrk.args(["-t1", "-c1", "-d600s"]).env("MOST", most.to_string()),
        };
        let output = wrk
            .arg("-s")
            .arg(self.path("pages.lua"))
            .arg(format!("http://127.0.0.1:{}", self.port))
            .output()
            .context("run wrk")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            !text.contains("Non-2xx") && !text.contains("Socket errors"),
            "requests were not answered well:\n{text}"
        );
        let number = |before: &str, after: &str| -> Option<f64> {
            let line = text.lines().find(|l| l.contains(before))?;
            line.trim().strip_prefix(after).unwrap_or(line).split_ascii_whitespace().next()?.parse().ok()
        };
        let requests = number(" requests in ", "").context("wrk said nothing of requests")?;
        ensure!(requests >= 1.0, "no request was answered:\n{text}");
        let rate = match load {
            Load::Seconds(_) => {
                number("Requests/sec:", "Requests/sec:").context("wrk said nothing of a rate")?
            }
            Load::Requests(_) => requests / since.elapsed().as_secs_f64(),
        };
        Ok((requests as u64, rate))
    }

    fn learn(&self, strategy: &Strategy, options: &[&str]) -> Result<()> {
        let profile = self.profile(strategy, options);
        if profile.exists() {
            return Ok(());
        }
        let session = self.session(strategy, "--profile", options, &profile)?;
        let pool = self.pool(&[], options.contains(&"usdt"))?;
        self.load(Load::Seconds(3))?;
        pool.stop()?;
        session.stop()
    }

    /// The figures of a new pool or of several, each times those when nobody watched, and the ns for a request then.
    fn visit(&self, way: &Way, load: Load, turns: usize) -> Result<Vec<(Seen, f64)>> {
        if let Way::Session { strategy, options, .. } = way {
            self.learn(strategy, options)?;
        }
        wait_until_alone()?;
        if way.is_from_the_start() {
            let mut pools = Vec::new();
            for way in [&Way::Bare, way, &Way::Bare] {
                let watching = self.watching(way)?;
                let measured = self.new_pool(way, load).and_then(|pool| {
                    let seen = self.measure(way, &watching, &pool, load)?;
                    pool.stop()?;
                    Ok(seen)
                });
                pools.push(watching.stop(measured)?);
            }
            return Ok(vec![(pools[1].over(&pools[0], &pools[2]), pools[0].cpu)]);
        }
        // The same processes with and without: where a new one's memory lies makes more of a difference.
        let pool = self.new_pool(&Way::Bare, load)?;
        let bare = || self.measure(&Way::Bare, &Watching::default(), &pool, load);
        let mut seen = Vec::new();
        let mut before = bare()?;
        for _ in 0..turns {
            let watching = self.watching(way)?;
            let measured = self.measure(way, &watching, &pool, load);
            let it = watching.stop(measured)?;
            let after = bare()?;
            seen.push((it.over(&before, &after), after.cpu));
            before = after;
        }
        pool.stop()?;
        Ok(seen)
    }

    /// Who watches from here on.
    fn watching(&self, way: &Way) -> Result<Watching> {
        let mut watching = Watching::default();
        match way {
            Way::Session { strategy, mode, options } => {
                let profile = if *mode == "--profile" {
                    self.path("again.profile")
                } else {
                    self.profile(strategy, options)
                };
                // The calls that are policed are those that were learnt.
                let options: Vec<&str> =
                    options.iter().copied().filter(|o| !["--syscalls", "seed"].contains(o)).collect();
                let _ = fs::remove_file(self.path("again.profile"));
                watching.session = Some(self.session(strategy, mode, &options, &profile)?);
            }
            Way::Empty { exit_too } => watching.empty = Some(Empty::attach(*exit_too)?),
            Way::Bare | Way::Under(_) => {}
        }
        Ok(watching)
    }

    /// A warm one: in the seconds of a guest its workers have not touched all that they need.
    fn new_pool(&self, way: &Way, load: Load) -> Result<Pool> {
        let pool = self.pool(way.under(), way.needs_probes())?;
        if let Load::Requests(_) = load {
            self.load(load)?;
        }
        Ok(pool)
    }

    /// What requests to a pool cost.
    fn measure(&self, way: &Way, watching: &Watching, pool: &Pool, load: Load) -> Result<Seen> {
        let watcher = || self.watcher(way, watching.session.as_ref(), pool);
        let (before, watcher_before) = (pool.cpu()?, watcher()?);
        let (requests, rate) = self.load(load)?;
        let (after, watcher_after) = (pool.cpu()?, watcher()?);
        ensure!(before.0 == after.0, "a worker was lost: {:?}, {:?}", before.0, after.0);
        Ok(Seen {
            cpu: ratio(after.1 - before.1, requests),
            watcher: ratio(watcher_after - watcher_before, requests),
            rate,
        })
    }

    fn watcher(&self, way: &Way, session: Option<&Tracer>, pool: &Pool) -> Result<u64> {
        match (way, session) {
            (_, Some(session)) => session.cpu(),
            (Way::Under([SECCOMP, ..]), _) => Ok(cpu_of(&self.path(SECCOMP)).1),
            (Way::Under(_), _) => Ok(cpu(pool.child.id())),
            _ => Ok(0),
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.nginx.id() as i32), Signal::SIGTERM);
        let _ = self.nginx.wait();
    }
}

/// Who watches until it is stopped or dropped.
#[derive(Default)]
struct Watching {
    session: Option<Tracer>,
    empty: Option<Empty>,
}

impl Watching {
    /// After what was measured meanwhile: if that failed, the session tells what it did.
    fn stop<T>(self, measured: Result<T>) -> Result<T> {
        match (measured, self.session.map_or(Ok(()), Tracer::stop)) {
            (Err(error), Err(told)) => Err(told.context(format!("{error:#}"))),
            (measured, stopped) => stopped.and(measured),
        }
    }
}

/// A php-fpm that runs.
struct Pool {
    child: Child,
    exe: PathBuf,
    pid: PathBuf,
}

impl Pool {
    /// Its processes, and the ns that they have run for.
    fn cpu(&self) -> Result<(Vec<u32>, u64)> {
        let (pids, total) = cpu_of(&self.exe);
        ensure!(pids.len() > WORKERS, "workers are missing: {pids:?}");
        Ok((pids, total))
    }

    fn stop(self) -> Result<()> {
        let since = Instant::now();
        // Also under somebody else its master ends by itself.
        if let Some(master) = fs::read_to_string(&self.pid).ok().and_then(|t| t.trim().parse().ok()) {
            let _ = kill(Pid::from_raw(master), Signal::SIGTERM);
        }
        while !cpu_of(&self.exe).0.is_empty() {
            ensure!(since.elapsed() < Duration::from_secs(20), "php-fpm does not end");
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for pid in cpu_of(&self.exe).0 {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processes of an executable, and the ns that they have run for.
fn cpu_of(exe: &Path) -> (Vec<u32>, u64) {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut found: Vec<u32> = pids
        .filter(|p| fs::read_link(p.path().join("exe")).is_ok_and(|e| e == exe))
        .filter_map(|p| p.file_name().to_str()?.parse().ok())
        .collect();
    found.sort_unstable();
    let total = found.iter().map(|pid| cpu(*pid)).sum();
    (found, total)
}

fn cpu(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    text.split_ascii_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Until it comes true. Errors: it did not; what it failed with last.
fn wait(what: &str, mut done: impl FnMut() -> Result<()>) -> Result<()> {
    let since = Instant::now();
    while let Err(error) = done() {
        interrupt::check()?;
        if since.elapsed() > Duration::from_secs(120) {
            return Err(error.context(format!("never came true: {what}")));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Measures, tells and records.
pub fn measure(quick: bool, here: &[Strategy], record: &mut Record) -> Result<()> {
    let app = App::new()?;
    let ways = ways(here);
    if !programs::is_guest() {
        for (what, why) in [ALLOWLIST, USDT_SANDBOX] {
            record.missing(what, why)?;
        }
    }
    let (rounds, turns, load) = match (quick, programs::is_guest()) {
        (true, _) => (1, 1, Load::Seconds(1)),
        // Instructions are counted there: what differs from round to round is what PHP does.
        (_, true) => (5, 1, Load::Requests(160)),
        _ => (3, 2, Load::Seconds(2)),
    };
    let mut seen: Vec<Vec<Seen>> = ways.iter().map(|_| Vec::new()).collect();
    let mut absolute = Vec::new();
    for round in 0..rounds {
        for turn in 0..ways.len() {
            // Nobody is always the first.
            let way = (turn + round) % ways.len();
            eprint!("\rround {} of {rounds}: {:<50}", round + 1, ways[way].0);
            for (it, bare) in app.visit(&ways[way].1, load, turns).with_context(|| ways[way].0.clone())? {
                seen[way].push(it);
                absolute.push(bare / 1e6);
            }
        }
    }
    eprintln!();
    println!(
        "\nDokuWiki: CPU of php-fpm for each request, times that when nobody watches just before and after; median \
         and quartiles (pools: {rounds}, {turns} turns with each)\n"
    );
    for ((name, _), seen) in ways.iter().zip(&seen) {
        let times = |of: fn(&Seen) -> f64| seen.iter().map(of).collect::<Vec<_>>();
        let (cpu, rate, watcher) = (times(|s| s.cpu), times(|s| s.rate), times(|s| s.watcher));
        println!(
            "{name:<42} {:>24} requests per second {:>24}  watcher's CPU {:>24}",
            Spread::of(cpu.iter().copied()).told(3),
            Spread::of(rate.iter().copied()).told(2),
            Spread::of(watcher.iter().copied()).told(3),
        );
        record.values(GROUP, name, "CPU per request", "× bare", cpu)?;
        record.values(GROUP, name, "the watcher's CPU beside it", "× bare", watcher)?;
        record.values(GROUP, name, "requests per second", "× bare", rate)?;
    }
    record.values(GROUP, "nothing", "CPU per request, absolute", "ms", absolute)
}
