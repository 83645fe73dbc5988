//! A php-fpm of the test's own, and a small client of its protocol.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use nix::unistd::{Pid, User};
use tempfile::TempDir;

use crate::session::{Session, ends_with_test};

/// The php-fpm that is copied for each test, so that no other on this machine is watched.
pub const PHP_FPM: &str = "/usr/sbin/php-fpm8.2";
/// Who the workers are.
pub const POOL_USER: &str = "www-data";
const WAIT: Duration = Duration::from_secs(60);

/// Polls until `done` is true; panics with `what` if it never is.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + WAIT;
    while !done() {
        assert!(Instant::now() < until, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How the pool is set up.
#[derive(Clone)]
pub struct Setup {
    /// The lines about its processes.
    pub pm: String,
    /// Who the workers are.
    pub user: String,
    /// More lines for all pools.
    pub global: String,
    /// More lines for the pool.
    pub pool: String,
    /// More arguments for php-fpm.
    pub args: Vec<String>,
    /// Whether the workers see only the test's folder.
    pub chroot: bool,
    /// The folder in which the application lies, below the test's own.
    pub app: String,
    /// What is copied there.
    pub source: PathBuf,
    /// What of that is left out.
    pub without: fn(&Path) -> bool,
    /// Its folder that a web server serves, in the application; empty: all of it.
    pub public: String,
    /// The script that is asked where a request names none.
    pub front: String,
    /// A query that is answered as soon as it serves.
    pub ready: String,
    /// What starts it, as another process: namespaces, say. None: nothing does.
    pub under: Vec<String>,
}

/// Like a container: pid and mount namespaces of its own.
const CONTAINER: [&str; 5] = ["unshare", "--mount", "--pid", "--fork", "--mount-proc"];

impl Setup {
    /// Started in a pid namespace of its own, below a shell that does this first and then executes `"$0" "$@"`.
    #[must_use]
    pub fn contained(mut self, first: &str) -> Self {
        let words = CONTAINER.into_iter().chain(["--kill-child", "sh", "-c"]);
        self.under = words.map(Into::into).chain([first.to_owned()]).collect();
        self
    }

    /// So many workers, always.
    pub fn workers(count: usize) -> Self {
        Self::pm(&format!("pm = static\npm.max_children = {count}"))
    }

    /// Processes as these lines say.
    pub fn pm(lines: &str) -> Self {
        Self {
            pm: lines.into(),
            user: POOL_USER.into(),
            global: String::new(),
            pool: String::new(),
            args: Vec::new(),
            chroot: false,
            app: "app".into(),
            source: Path::new(env!("CARGO_MANIFEST_DIR")).join("victims/fpm"),
            without: |_| false,
            public: "public".into(),
            front: "index.php".into(),
            ready: "do=page".into(),
            under: Vec::new(),
        }
    }
}

/// A php-fpm, its application and its files.
pub struct Fpm {
    base: TempDir,
    run: TempDir,
    log: TempDir,
    /// In memory: ext4 takes a millisecond to make a file where thousands were just deleted.
    memory: TempDir,
    app: PathBuf,
    setup: Setup,
    child: Option<Child>,
    daemon: bool,
}

impl Fpm {
    /// Everything is there, nothing runs.
    pub fn prepare(setup: Setup) -> Self {
        let named = |at: &str| tempfile::Builder::new().prefix("e2e-fpm-").tempdir_in(at).expect("a folder");
        // Where an fpm has them: its built-in grants know these places.
        let (base, run, log, memory) = (named("/tmp"), named("/run"), named("/var/log"), named("/dev/shm"));
        for folder in [&base, &run, &log, &memory] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        }
        fs::copy(PHP_FPM, base.path().join("php-fpm")).expect("copy php-fpm");
        let app = base.path().join(&setup.app);
        let mut fpm = Self { base, run, log, memory, app, setup, child: None, daemon: false };
        fpm.deploy(&fpm.setup.app.clone());
        for folder in ["", "sessions", "uploads"] {
            fpm.make_data(folder);
        }
        fpm.write_config();
        fpm
    }

    /// The same, running.
    pub fn running(setup: Setup) -> Self {
        let mut fpm = Self::prepare(setup);
        fpm.start();
        fpm
    }

    /// Copies the application to a folder below the test's own, and serves it from there.
    pub fn deploy(&mut self, folder: &str) {
        self.app = self.base.path().join(folder);
        copy_application(&self.setup.source, &self.app, self.setup.without);
    }

    fn write_config(&self) {
        let setup = &self.setup;
        let text = format!(
            "[global]\npid = {run}/fpm.pid\nerror_log = {log}/fpm.log\ndaemonize = no\n{global}\n\
             [www]\nuser = {user}\ngroup = {user}\nlisten = {run}/fpm.sock\nlisten.owner = {user}\nlisten.group = {user}\naccess.log = {log}/access.log\n\
             {pm}\n{chroot}\n{pool}\n",
            chroot = if setup.chroot { format!("chroot = {}", self.base().display()) } else { String::new() },
            run = self.run.path().display(),
            log = self.log.path().display(),
            user = setup.user,
            global = setup.global,
            pm = setup.pm,
            pool = setup.pool,
        );
        fs::write(self.config(), text).expect("write the configuration");
    }

    /// Makes a folder (or several) that the pool's user may write, below the data folder.
    pub fn make_data(&self, folder: &str) -> PathBuf {
        let path = self.data().join(folder);
        fs::create_dir_all(&path).expect("make a folder");
        own(&path);
        path
    }

    /// A folder of files for an attack or its twin; its name.
    pub fn make_targets(&self, name: &str, count: usize) -> PathBuf {
        let path = self.make_data(name);
        for number in 0..count {
            let file = path.join(format!("{number:05}"));
            fs::write(&file, "precious\n").expect("write a target");
            own(&file);
        }
        path
    }

    /// The test's folder.
    pub fn base(&self) -> &Path {
        self.base.path()
    }

    /// The application.
    pub fn app(&self) -> &Path {
        &self.app
    }

    /// The one folder that it may write.
    pub fn data(&self) -> PathBuf {
        let place = if self.setup.chroot { &self.base } else { &self.memory };
        place.path().join("data")
    }

    /// The copied executable.
    pub fn binary(&self) -> PathBuf {
        self.base.path().join("php-fpm")
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.run.path().join("fpm.sock")
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.log.path().join("fpm.log")
    }

    fn config(&self) -> PathBuf {
        self.base.path().join("fpm.conf")
    }

    /// Its arguments, the executable first.
    pub fn command(&self, mode: &str) -> Vec<String> {
        let words = [
            self.binary().display().to_string(),
            mode.into(),
            "-y".into(),
            self.config().display().to_string(),
        ];
        words.into_iter().chain(self.setup.args.iter().cloned()).collect()
    }

    /// More arguments, from the next start on.
    pub fn add_args(&mut self, args: &[&str]) {
        self.setup.args.extend(args.iter().map(ToString::to_string));
    }

    /// Starts it without waiting for anything.
    pub fn spawn(&mut self) {
        let words = [self.setup.under.clone(), self.command("-F")].concat();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(ends_with_test(&mut command).spawn().expect("start php-fpm"));
    }

    /// Starts it in the foreground (`-F`) and waits until it answers.
    pub fn start(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// Starts it in the background (`-D`), as a service does that forks.
    pub fn start_daemon(&mut self) {
        let words = self.command("-D");
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().expect("start php-fpm").success(), "php-fpm -D: {}", self.said());
        self.daemon = true;
        self.wait_ready();
    }

    /// Waits until it answers a request.
    pub fn wait_ready(&self) {
        wait_until(&format!("php-fpm answers; {}", self.said()), || self.get(&self.setup.ready).is_ok());
    }

    /// What it logged.
    pub fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Its master.
    pub fn master(&self) -> i32 {
        match &self.child {
            Some(child) if !self.setup.under.is_empty() => {
                children(child.id() as i32).first().copied().unwrap_or_default()
            }
            Some(child) => child.id() as i32,
            None => self.daemon_pid().expect("php-fpm is running"),
        }
    }

    /// A daemon is another process after a reload: it goes into the background again.
    fn daemon_pid(&self) -> Option<i32> {
        fs::read_to_string(self.run.path().join("fpm.pid")).ok()?.trim().parse().ok()
    }

    /// Whether the master lives.
    pub fn lives(&mut self) -> bool {
        match &mut self.child {
            Some(child) => child.try_wait().expect("wait").is_none(),
            None => self.daemon_pid().is_some_and(exists),
        }
    }

    /// The workers.
    pub fn workers(&self) -> Vec<i32> {
        children(self.master())
    }

    /// Signals the master.
    pub fn signal(&self, signal: Signal) {
        send(self.master(), signal);
    }

    /// Reloads it (`SIGUSR2`), and waits until new workers answer.
    pub fn reload(&self) {
        let before = self.workers();
        self.signal(Signal::SIGUSR2);
        wait_until("all workers are new after a reload", || {
            let now =
                if self.child.is_some() || self.daemon_pid().is_some() { self.workers() } else { Vec::new() };
            !now.is_empty() && now.iter().all(|w| !before.contains(w))
        });
        self.wait_ready();
    }

    /// Ends it.
    pub fn stop(&mut self) {
        if self.child.is_none() && !(self.daemon && self.lives()) {
            return;
        }
        let (master, workers) = (self.master(), self.workers());
        send(master, Signal::SIGTERM);
        let until = Instant::now() + Duration::from_secs(5);
        while self.lives() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.lives() {
            send(master, Signal::SIGKILL);
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
        self.daemon = false;
        for worker in workers.into_iter().filter(|w| exe_of(*w) == Some(self.binary())) {
            send(worker, Signal::SIGKILL);
        }
    }

    /// A GET request to the front controller.
    pub fn get(&self, query: &str) -> Result<Answer, Lost> {
        self.request(&Request::get(query))
    }

    /// A GET request that must be answered well; its text.
    pub fn ok(&self, query: &str) -> String {
        self.must(&Request::get(query)).text().to_owned()
    }

    /// A request that must be answered well.
    pub fn must(&self, request: &Request) -> Answer {
        match self.request(request) {
            Ok(answer) if answer.status == 200 && answer.errors.is_empty() => answer,
            other => panic!("{}: {other:?}", request.query),
        }
    }

    /// A request over the socket.
    pub fn request(&self, request: &Request) -> Result<Answer, Lost> {
        self.client().request(request)
    }

    /// A session about its executable, and no other on this machine.
    pub fn session(&self, mode: &str) -> Session {
        Session::new(self.base(), mode).arg("--php").arg(self.binary().display().to_string())
    }

    /// For other threads.
    pub fn client(&self) -> Client {
        let (public, data) = (self.app.join(&self.setup.public), self.data());
        let inside = |path: PathBuf| match path.strip_prefix(self.base()) {
            Ok(inside) if self.setup.chroot => format!("/{}", inside.display()),
            _ => path.display().to_string(),
        };
        let front = self.setup.front.clone();
        Client { socket: self.socket(), public: inside(public), front, data: inside(data) }
    }

    /// Requests until every worker has served at least so many (counted in `served`).
    pub fn warm_up(&self, served: &mut HashMap<i32, usize>, at_least: usize) {
        wait_until("every worker has served enough", || {
            for _ in 0..20 {
                let worker = self.must(&Request::get("do=page")).worker();
                *served.entry(worker).or_default() += 1;
            }
            self.workers().iter().all(|w| served.get(w).copied().unwrap_or(0) >= at_least)
        });
    }
}

impl Drop for Fpm {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where requests go.
#[derive(Clone)]
pub struct Client {
    socket: PathBuf,
    public: String,
    front: String,
    data: String,
}

impl Client {
    /// A request over the socket.
    pub fn request(&self, request: &Request) -> Result<Answer, Lost> {
        request.send(self)
    }
}

/// A request as a web server passes it on.
#[derive(Clone, Default)]
pub struct Request {
    /// Below what is served; empty: the front controller.
    script: String,
    query: String,
    cookie: String,
    headers: Vec<(String, String)>,
    content_type: String,
    body: Vec<u8>,
}

/// A request without an answer: whoever served it is gone.
#[derive(Debug)]
pub struct Lost(pub String);

/// A response.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: HashMap<String, String>,
    /// The cookies that it sets, each as `name=value`.
    pub cookies: Vec<String>,
    /// The body.
    pub body: String,
    /// What went to the error stream.
    pub errors: String,
}

impl Answer {
    /// The body without white space at its ends.
    pub fn text(&self) -> &str {
        self.body.trim()
    }

    /// The process that served it.
    pub fn worker(&self) -> i32 {
        self.headers.get("x-worker").and_then(|w| w.parse().ok()).expect("a worker's number")
    }

    fn parse(out: &[u8], errors: &[u8]) -> Self {
        let out = String::from_utf8_lossy(out);
        let (head, body) = out.split_once("\r\n\r\n").unwrap_or(("", &out));
        let headers: HashMap<String, String> = head
            .lines()
            .filter_map(|l| l.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let cookies = head
            .lines()
            .filter_map(|line| {
                line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
            })
            .filter_map(|(_, value)| Some(value.split(';').next()?.to_owned()))
            .collect();
        let status = headers.get("status").and_then(|s| s.get(..3)?.parse().ok()).unwrap_or(200);
        Self {
            status,
            headers,
            cookies,
            body: body.to_owned(),
            errors: String::from_utf8_lossy(errors).into_owned(),
        }
    }
}

impl Request {
    /// A GET request.
    pub fn get(query: &str) -> Self {
        Self { query: query.into(), ..Self::default() }
    }

    /// A file upload.
    pub fn upload(query: &str, name: &str, content: &str) -> Self {
        const BOUNDARY: &str = "boundary-of-the-test";
        let body = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n{content}\r\n--{BOUNDARY}--\r\n"
        );
        Self {
            query: query.into(),
            content_type: format!("multipart/form-data; boundary={BOUNDARY}"),
            body: body.into_bytes(),
            ..Self::default()
        }
    }

    /// With a cookie.
    #[must_use]
    pub fn cookie(mut self, cookie: &str) -> Self {
        cookie.clone_into(&mut self.cookie);
        self
    }

    /// To another script than the front controller.
    #[must_use]
    pub fn script(mut self, script: &str) -> Self {
        script.clone_into(&mut self.script);
        self
    }

    /// With a header, named as CGI does (`HTTP_…`).
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A POST request with this body.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: &str) -> Self {
        content_type.clone_into(&mut self.content_type);
        self.body = body.into();
        self
    }

    /// What it asks for.
    pub fn uri(&self) -> String {
        format!("/{}?{}", self.script, self.query)
    }

    fn parameters(&self, client: &Client) -> Vec<u8> {
        let length = self.body.len().to_string();
        let method = if self.body.is_empty() { "GET" } else { "POST" };
        let script = if self.script.is_empty() { &client.front } else { &self.script };
        let name = format!("/{script}");
        let uri = format!("{name}?{}", self.query);
        // Joined as a path: an empty part adds nothing.
        let file = Path::new(&client.public).join(script).display().to_string();
        let known = [
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("REQUEST_METHOD", method),
            ("SCRIPT_FILENAME", &file),
            ("SCRIPT_NAME", &name),
            ("REQUEST_URI", &uri),
            ("QUERY_STRING", &self.query),
            ("CONTENT_TYPE", &self.content_type),
            ("CONTENT_LENGTH", &length),
            ("HTTP_COOKIE", &self.cookie),
            ("REMOTE_ADDR", "127.0.0.1"),
            ("DATA", &client.data),
        ];
        let mut out = Vec::new();
        let more = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in known.into_iter().chain(more) {
            for part in [name, value] {
                out.extend_from_slice(&(part.len() as u32 | 1 << 31).to_be_bytes());
            }
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(value.as_bytes());
        }
        out
    }

    fn send(&self, client: &Client) -> Result<Answer, Lost> {
        let lost = |e: io::Error| Lost(e.to_string());
        let mut stream = UnixStream::connect(&client.socket).map_err(lost)?;
        stream.set_read_timeout(Some(WAIT)).map_err(lost)?;
        let mut message = record(BEGIN, &[0, 1, 0, 0, 0, 0, 0, 0]);
        for (kind, content) in [(PARAMS, self.parameters(client)), (STDIN, self.body.clone())] {
            for chunk in content.chunks(0x8000) {
                message.extend(record(kind, chunk));
            }
            message.extend(record(kind, &[]));
        }
        stream.write_all(&message).map_err(lost)?;
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        loop {
            let mut head = [0; 8];
            stream.read_exact(&mut head).map_err(lost)?;
            let mut content =
                vec![0; usize::from(u16::from_be_bytes([head[4], head[5]])) + usize::from(head[6])];
            stream.read_exact(&mut content).map_err(lost)?;
            content.truncate(content.len() - usize::from(head[6]));
            match head[1] {
                STDOUT => out.extend(content),
                STDERR => errors.extend(content),
                END => return Ok(Answer::parse(&out, &errors)),
                _ => {}
            }
        }
    }
}

const BEGIN: u8 = 1;
const END: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u16).to_be_bytes();
    [&[1, kind, 0, 1, length[0], length[1], 0, 0][..], content].concat()
}

/// Copies a folder, its files made older than what the opcode cache takes for still being written.
pub fn copy_application(from: &Path, to: &Path, without: fn(&Path) -> bool) {
    fs::create_dir_all(to).expect("make a folder");
    for entry in fs::read_dir(from).expect("read a folder").map(|e| e.expect("an entry")) {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if without(&source) {
            continue;
        }
        if source.is_dir() {
            copy_application(&source, &target, without);
        } else {
            fs::copy(&source, &target).expect("copy a file");
            age(&target);
        }
    }
}

/// Makes a file an hour old.
pub fn age(path: &Path) {
    let file = fs::File::options().append(true).open(path).expect("open a file");
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).expect("set its time");
}

/// Gives a folder and all below it to the pool's user.
pub fn own_all(path: &Path) {
    own(path);
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).expect("read a folder").map(|e| e.expect("an entry")) {
            own_all(&entry.path());
        }
    }
}

fn own(path: &Path) {
    static OWNER: OnceLock<User> = OnceLock::new();
    let user = OWNER.get_or_init(|| User::from_name(POOL_USER).expect("look up").expect("the pool's user"));
    nix::unistd::chown(path, Some(user.uid), Some(user.gid)).expect("chown");
}

/// Sends a signal to a process; one that is gone already is no error.
pub fn send(pid: i32, signal: Signal) {
    // Of one that has ended already nothing is known but 0, which would be all of this process' group.
    if pid <= 0 {
        return;
    }
    let _ = nix::sys::signal::kill(Pid::from_raw(pid), signal);
}

/// Whether a process exists and is no zombie.
pub fn exists(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != "Z" && state != "X")
}

/// Its executable.
pub fn exe_of(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

fn stat(pid: i32) -> Option<(String, i32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut words = text.rsplit_once(')')?.1.split_ascii_whitespace();
    Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
}

/// Its children that are no zombies.
pub fn children(pid: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .filter(|p| stat(*p).is_some_and(|(state, parent)| parent == pid && state != "Z" && state != "X"))
        .collect()
}
