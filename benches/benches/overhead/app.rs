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

use anyhow::{Context, Result, bail, ensure};
use benches::empty::Empty;
use benches::record::Record;
use benches::strategy::{self, Strategy};
use benches::tracer::{Tracer, child};
use benches::watch::wait_until_alone;
use benches::{Spread, interrupt, programs, ratio};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown};

use crate::SECCOMP;

/// The pages that are asked for, in turn.
const PAGES: &str = r#"
local pages = { "id=wiki:syntax", "id=wiki:dokuwiki", "id=start", "do=index", "do=search&q=wiki",
                "id=wiki:syntax&do=edit", "id=wiki:syntax&do=export_xhtml", "do=recent" }
local n = 0
request = function()
    n = n % #pages + 1
    return wrk.format("GET", "/doku.php?" .. pages[n])
end
"#;
const WORKERS: usize = 2;
const GROUP: &str = "DokuWiki, php-fpm";

/// What is between nginx and the pages.
enum Way {
    Bare,
    Empty,
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
}

fn ways(here: &[Strategy]) -> Vec<(String, Way)> {
    let mut ways = vec![("nothing".to_owned(), Way::Bare), ("empty programs".to_owned(), Way::Empty)];
    for strategy in here.iter().filter(|s| **s != strategy::PLAIN) {
        // Loading all hooks takes a minute where processors are emulated.
        let modes =
            if programs::is_guest() { &["--sandbox"][..] } else { &["--profile", "--monitor", "--sandbox"] };
        for mode in modes {
            let name = format!("{}, {}", strategy.name, &mode[2..]);
            ways.push((name, Way::Session { strategy: *strategy, mode, options: &[] }));
        }
    }
    if programs::is_guest() {
        return ways;
    }
    // Not in a sandbox: its shadow stack drifts in this application, and what is unknown would be killed.
    let usdt = |options| Way::Session { strategy: strategy::USER_KILL, mode: "--monitor", options };
    ways.extend([
        ("phase 1, monitor, USDT".to_owned(), usdt(&["--attribution", "usdt"])),
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

/// One visit's figures.
struct Seen {
    /// ns of php-fpm's for each request.
    cpu: f64,
    /// ns of the one who watches.
    watcher: f64,
    /// Requests per second.
    rate: f64,
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
        own(&at.join("wiki/data"))?;
        fs::copy("/usr/sbin/php-fpm8.2", at.join("php-fpm")).context("copy php-fpm8.2")?;
        programs::compile_seccomp(&at.join(SECCOMP))?;
        fs::write(at.join("pages.lua"), PAGES)?;
        fs::write(
            at.join("fpm.conf"),
            format!(
                "[global]\npid = {at}/fpm.pid\nerror_log = {at}/fpm.log\ndaemonize = no\n[www]\nuser = www-data\n\
                 group = www-data\nlisten = {at}/fpm.sock\nlisten.owner = www-data\npm = static\npm.max_children = {WORKERS}\n",
                at = at.display()
            ),
        )?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        fs::write(
            at.join("nginx.conf"),
            format!(
                "daemon off; user www-data; worker_processes 1; pid {at}/nginx.pid; error_log {at}/nginx.log;\n\
                 events {{}}\nhttp {{ access_log off; client_body_temp_path {at}/b; fastcgi_temp_path {at}/f;\n\
                 proxy_temp_path {at}/p; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s; keepalive_requests 1000000;\n\
                 server {{ listen 127.0.0.1:{port}; root {at}/wiki; location ~ \\.php$ {{\n\
                 include /etc/nginx/fastcgi_params; fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;\n\
                 fastcgi_pass unix:{at}/fpm.sock; }} }} }}\n",
                at = at.display()
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
        wait("nginx listens", || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
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
        let mut args: Vec<OsString> = vec![mode.into(), "--php".into(), self.path("php-fpm").into()];
        args.extend(["--profile-file".into(), profile.into()]);
        args.extend(strategy.options.iter().chain(options).map(Into::into));
        Tracer::start(strategy.binary, args)
    }

    /// A pool from here on, which must be running before anything else is started.
    fn pool(&self, under: &[&str], usdt: bool) -> Result<Pool> {
        let fpm = self.path("php-fpm");
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
        command.args(["-F", "-y"]).arg(self.path("fpm.conf")).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = fs::remove_file(self.path("fpm.sock"));
        let pool =
            Pool { child: command.spawn().context("start php-fpm")?, exe: fpm, pid: self.path("fpm.pid") };
        wait("php-fpm answers", || self.load(1).is_ok())?;
        Ok(pool)
    }

    /// Requests for so long: how many, and how many a second.
    fn load(&self, seconds: u64) -> Result<(u64, f64)> {
        interrupt::check()?;
        let output = Command::new("wrk")
            .args(["-t1", "-c2", &format!("-d{seconds}s"), "-s"])
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
        let rate = number("Requests/sec:", "Requests/sec:").context("wrk said nothing of a rate")?;
        ensure!(requests >= 1.0, "no request was answered:\n{text}");
        Ok((requests as u64, rate))
    }

    fn learn(&self, strategy: &Strategy, options: &[&str]) -> Result<()> {
        let profile = self.profile(strategy, options);
        if profile.exists() {
            return Ok(());
        }
        let session = self.session(strategy, "--profile", options, &profile)?;
        let pool = self.pool(&[], options.contains(&"usdt"))?;
        self.load(if programs::is_guest() { 30 } else { 3 })?;
        pool.stop()?;
        session.stop()
    }

    fn visit(&self, way: &Way, seconds: u64) -> Result<Seen> {
        wait_until_alone()?;
        let (mut session, mut empty) = (None, None);
        match way {
            Way::Session { strategy, mode, options } => {
                let profile = if *mode == "--profile" {
                    self.path("again.profile")
                } else {
                    self.learn(strategy, options)?;
                    self.profile(strategy, options)
                };
                // The calls that are policed are those that were learnt.
                let options: Vec<&str> =
                    options.iter().copied().filter(|o| !["--syscalls", "seed"].contains(o)).collect();
                let _ = fs::remove_file(self.path("again.profile"));
                session = Some(self.session(strategy, mode, &options, &profile)?);
            }
            Way::Empty => empty = Some(Empty::attach(true)?),
            _ => {}
        }
        let pool = self.pool(way.under(), way.needs_probes())?;
        self.load(1)?;
        let before = (pool.cpu()?, self.watcher(way, session.as_ref(), &pool)?);
        let (requests, rate) = self.load(seconds)?;
        let after = (pool.cpu()?, self.watcher(way, session.as_ref(), &pool)?);
        ensure!(before.0.0 == after.0.0, "a worker was lost: {:?}, {:?}", before.0.0, after.0.0);
        pool.stop()?;
        drop(empty);
        session.map(Tracer::stop).transpose()?;
        Ok(Seen {
            cpu: ratio(after.0.1 - before.0.1, requests),
            watcher: ratio(after.1 - before.1, requests),
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

fn own(path: &Path) -> Result<()> {
    let user = User::from_name("www-data")?.context("no user www-data")?;
    chown(path, Some(user.uid), Some(user.gid))?;
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path)? {
            own(&entry?.path())?;
        }
    }
    Ok(())
}

fn wait(what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
    let since = Instant::now();
    while !done() {
        interrupt::check()?;
        if since.elapsed() > Duration::from_secs(120) {
            bail!("never came true: {what}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Measures, tells and records.
pub fn measure(quick: bool, here: &[Strategy], record: &mut Record) -> Result<()> {
    let app = App::new()?;
    let ways = ways(here);
    let (rounds, seconds) = match (quick, programs::is_guest()) {
        (true, _) => (2, 1),
        // An emulated processor serves a few requests in a second.
        (_, true) => (3, 10),
        _ => (5, 2),
    };
    let mut seen: Vec<Vec<Seen>> = ways.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for turn in 0..ways.len() {
            // Nobody is always the first.
            let way = (turn + round) % ways.len();
            eprint!("\rround {} of {rounds}: {:<50}", round + 1, ways[way].0);
            seen[way].push(app.visit(&ways[way].1, seconds).with_context(|| ways[way].0.clone())?);
        }
    }
    eprintln!();
    println!(
        "\nDokuWiki: CPU of php-fpm for each request, times that of bare PHP; median and quartiles of {rounds} rounds\n"
    );
    for ((name, _), seen_here) in ways.iter().zip(&seen) {
        let times =
            |of: fn(&Seen) -> f64| seen_here.iter().zip(&seen[0]).map(move |(it, bare)| of(it) / of(bare));
        let cpu: Vec<f64> = times(|s| s.cpu).collect();
        let rate: Vec<f64> = times(|s| s.rate).collect();
        let watcher: Vec<f64> =
            seen_here.iter().zip(&seen[0]).map(|(it, bare)| it.watcher / bare.cpu).collect();
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
    let ms = |of: f64| of / 1e6;
    record.values(
        GROUP,
        "nothing",
        "CPU per request, absolute",
        "ms",
        seen[0].iter().map(|s| ms(s.cpu)).collect(),
    )
}
