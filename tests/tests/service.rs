//! The systemd unit: what it starts, and that `READY=1` is said when everything is attached and not before.
//!
//! There is no systemd here. The tests do what it would: they read the unit, run its `ExecStart` with its
//! environment and its capabilities, and listen on `$NOTIFY_SOCKET`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use e2e::session::tracer;
use e2e::suite::test;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const UNIT: &str = include_str!("../../dist/php-tracer@.service");
const USER: &str = "nobody";

fn main() {
    e2e::suite::main(vec![
        test("ready_is_said_when_everything_is_attached", ready_when_attached),
        test("ready_is_not_said_when_it_does_not_start", not_ready_on_error),
        test("reload_swaps_the_profile_and_a_bad_one_changes_nothing", reload),
        test("the_unit_starts_before_php_fpm_and_has_no_namespaces", unit_says),
        test("systemd_accepts_the_unit", verify),
    ])
}

/// A folder with a PHP of its own (an image that nobody else on this machine runs), a script and a profile.
struct Service {
    dir: TempDir,
    notify: UnixDatagram,
}

impl Service {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("e2e-").tempdir().expect("a folder");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("open the folder");
        fs::copy("/usr/bin/php", dir.path().join("php")).expect("copy PHP");
        let data = dir.path().join("data");
        fs::create_dir(&data).expect("make a folder");
        fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).expect("open a folder");
        let script = "<?php\nfunction honest($f) { touch($f); }\nfunction attack($f) { @unlink($f); }\n\
                      honest('data/honest');\nfor ($n = 0; ($argv[1] ?? '') === 'evil' && $n < 3000; $n++) attack(\"data/$n\");\n\
                      echo \"at its end\\n\";\n";
        fs::write(dir.path().join("app.php"), script).expect("write a script");
        let notify = UnixDatagram::bind(dir.path().join("notify")).expect("listen as systemd does");
        Self { dir, notify }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn learn(&self) {
        let out = Command::new(tracer())
            .args([
                "--profile",
                "--force",
                "--profile-file",
                "p.profile",
                "--user",
                USER,
                "--",
                "./php",
                "app.php",
            ])
            .current_dir(self.dir.path())
            .output()
            .expect("run the tracer");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    /// What `systemctl start` does.
    fn start(&self) -> Started {
        let capabilities =
            value("CapabilityBoundingSet").to_ascii_lowercase().replace("cap_", "+").replace(' ', ",");
        let (program, script) = exec_start();
        let bin = tracer().parent().expect("a folder").to_path_buf();
        let child = Command::new("setpriv")
            .args([
                "--no-new-privs",
                "--inh-caps=-all",
                "--bounding-set",
                &format!("-all,{capabilities}"),
                &program,
            ])
            .args(["-c", &script])
            .current_dir("/")
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .envs(environment())
            .env("PROFILE", self.path("p.profile"))
            .env("PHP", format!("{}*", self.path("ph").display()))
            .env("NOTIFY_SOCKET", self.path("notify"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.path("log")).expect("a log"))
            .spawn()
            .expect("start the service");
        Started(child)
    }

    /// The next datagram; `None` if none comes in `at_most`.
    fn notified(&self, at_most: Duration) -> Option<String> {
        self.notify.set_read_timeout(Some(at_most)).expect("set a timeout");
        let mut buffer = [0; 4096];
        let len = self.notify.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..len]).into_owned())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits for a line of the log.
    fn wait_for(&self, text: &str) {
        for _ in 0..200 {
            if self.log().contains(text) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no `{text}` in:\n{}", self.log());
    }

    /// PHP as an ordinary user, started by nobody who is watched.
    fn php(&self, args: &[&str]) -> Output {
        Command::new("setpriv")
            .args(["--reuid", USER, "--regid", "nogroup", "--clear-groups", "./php", "app.php"])
            .args(args)
            .current_dir(self.dir.path())
            .output()
            .expect("run PHP")
    }

    /// Files for an attack to reach for.
    fn victims(&self) {
        for n in 0..3000 {
            fs::write(self.path("data").join(n.to_string()), "precious").expect("write a file");
        }
    }

    fn left(&self) -> usize {
        (0..3000).filter(|n| self.path("data").join(n.to_string()).exists()).count()
    }
}

/// A running service.
struct Started(Child);

impl Started {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).expect("signal the service");
    }

    fn wait(&mut self) -> Option<i32> {
        self.0.wait().expect("wait for the service").code()
    }

    /// Ends it as `systemctl stop` does; its status.
    fn stop(mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.wait()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // A test that panicked must not leave the service behind.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All values of a key, in one.
fn value(key: &str) -> String {
    let values = UNIT.lines().filter_map(|l| l.strip_prefix(key)?.strip_prefix('='));
    values.collect::<Vec<_>>().join(" ")
}

/// The strategy under test.
fn instance() -> String {
    tracer().file_name().expect("a name").to_string_lossy().into_owned()
}

/// `ExecStart=/bin/sh -c '…'`: the program and its script, as systemd passes it on.
fn exec_start() -> (String, String) {
    let line = value("ExecStart");
    let (program, script) = line.split_once(" -c '").expect("a shell");
    (
        program.into(),
        script.strip_suffix('\'').expect("a quoted script").replace("$$", "$").replace("%i", &instance()),
    )
}

fn environment() -> Vec<(String, String)> {
    let pair = |p: &str| p.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    value("Environment").split(' ').filter_map(pair).collect()
}

fn killed(output: &Output) -> bool {
    use std::os::unix::process::ExitStatusExt;
    output.status.signal() == Some(9)
}

fn ready_when_attached() {
    let service = Service::new();
    service.learn();
    service.victims();
    let child = service.start();
    let said =
        service.notified(Duration::from_secs(20)).unwrap_or_else(|| panic!("no READY:\n{}", service.log()));
    assert!(said.lines().any(|l| l == "READY=1"), "{said}");
    assert!(
        service.log().contains(&format!("ready: {} sandbox", instance())),
        "the line comes first: {}",
        service.log()
    );
    // At once, with no wait in between: whoever is started after READY=1 is watched from its first instruction.
    let attacker = service.php(&["evil"]);
    assert!(killed(&attacker), "{attacker:?}\n{}", service.log());
    assert!(service.left() > 0, "nothing was left to protect");
    let honest = service.php(&[]);
    assert!(honest.status.success() && honest.stdout == b"at its end\n", "{honest:?}\n{}", service.log());
    assert_eq!(child.stop(), Some(0), "{}", service.log());
    assert_eq!(service.notified(Duration::from_millis(1)), None, "READY=1 is said once");
}

fn not_ready_on_error() {
    let service = Service::new();
    let mut child = service.start();
    assert_eq!(child.wait(), Some(125), "{}", service.log());
    assert!(service.log().contains("Hint: "), "{}", service.log());
    assert_eq!(service.notified(Duration::from_millis(200)), None);
}

fn reload() {
    let service = Service::new();
    service.learn();
    let child = service.start();
    assert!(service.notified(Duration::from_secs(20)).is_some(), "{}", service.log());
    assert_eq!(value("ExecReload"), "/bin/kill -HUP $MAINPID");
    child.signal(Signal::SIGHUP);
    service.wait_for("loaded again");
    fs::write(service.path("p.profile"), "no profile").expect("write");
    child.signal(Signal::SIGHUP);
    service.wait_for("the profile stays as it was");
    service.victims();
    assert!(killed(&service.php(&["evil"])), "{}", service.log());
    assert!(service.php(&[]).status.success(), "{}", service.log());
    assert_eq!(child.stop(), Some(0), "{}", service.log());
}

fn unit_says() {
    assert_eq!(value("Type"), "notify");
    for version in ["7.4", "8.0", "8.1", "8.2", "8.3", "8.4", "8.5"] {
        assert!(value("Before").split(' ').any(|u| u == format!("php{version}-fpm.service")), "{version}");
    }
    assert!(environment().iter().any(|(k, v)| k == "PROFILE" && Path::new(v).is_absolute()));
    for key in
        ["PrivateTmp", "PrivateMounts", "ProtectHome", "ProtectSystem", "ProtectProc", "RestrictRealtime"]
    {
        assert_eq!(value(key), "", "{key} would hide PHP's files from the tracer, or slow it down");
    }
}

fn verify() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/php-tracer@.service");
    match Command::new("systemd-analyze").arg("verify").arg(unit).output() {
        Ok(out) => {
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success() && said.is_empty(), "{said}");
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            panic!("systemd-analyze is missing: run `make deps`")
        }
        Err(error) => panic!("systemd-analyze: {error}"),
    }
}
