//! A folder of the test's own, what it says about events, and PHP in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use e2e::session::{Ran, Session, exported, php_profile, tracer};
use serde_json::Value;
use tempfile::TempDir;

/// This machine's PHP.
pub const PHP: &str = "/usr/bin/php";
/// Whom PHP runs as where privileges are not the point.
pub const USER: &str = "nobody";
/// Files that an attack reaches for: far more than get through before the signal lands.
pub const VICTIMS: usize = 3000;

/// Scripts are root's, `data/` is everybody's, the profile is beside them.
pub struct Place(TempDir);

impl Place {
    /// An empty one.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("e2e-").tempdir().expect("a folder");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("open the folder");
        let place = Self(dir);
        place.folder("data");
        place
    }

    /// One with a victim of `tests/victims/`.
    pub fn with(victim: &str) -> Self {
        let place = Self::new();
        fs::copy(source(&format!("victims/{victim}")), place.path(victim)).expect("copy the victim");
        place
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        self.0.path()
    }

    /// Something in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// PHP in a file of its own, so that no other PHP of this machine is watched.
    pub fn own_php(&self) -> String {
        fs::copy(PHP, self.path("php")).expect("copy PHP");
        self.arg("php")
    }

    /// Likewise, as an argument.
    pub fn arg(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A library to be preloaded, of a victim in C: its path.
    pub fn library(&self, victim: &str) -> String {
        let library = self.arg("preloaded.so");
        let victim = source(&format!("victims/{victim}"));
        let built = Command::new("cc").args(["-shared", "-fPIC", "-o", &library]).arg(victim).status();
        assert!(built.expect("run cc").success());
        library
    }

    /// A folder that everybody may write.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("make a folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("open a folder");
        path
    }

    /// A file that everybody may write.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("write a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("open a file");
        path
    }

    /// Fresh files `data/v/0`… that an attack reaches for.
    pub fn victims(&self, count: usize) {
        let _ = fs::remove_dir_all(self.path("data/v"));
        self.folder("data/v");
        for n in 0..count {
            self.file(&format!("data/v/{n}"), "precious");
        }
    }

    /// How many of them an attack left.
    pub fn left(&self) -> usize {
        fs::read_dir(self.path("data/v")).expect("read a folder").count()
    }

    /// How many of them still have their content.
    pub fn intact(&self) -> usize {
        let entries = fs::read_dir(self.path("data/v")).expect("read a folder");
        entries
            .filter(|e| fs::read(e.as_ref().expect("an entry").path()).is_ok_and(|c| c == b"precious"))
            .count()
    }

    /// A session here.
    pub fn session(&self, mode: &str) -> Session {
        Session::new(self.root(), mode)
    }

    /// A session here whose COMMAND is an ordinary user's.
    pub fn ordinary(&self, mode: &str) -> Session {
        self.session(mode).arg("--user").arg(USER)
    }

    /// Learns a run, which must go well.
    pub fn learn(&self, php_args: &[&str]) -> Ran {
        let ran = self.ordinary("--profile").arg("--force").run(php(php_args));
        assert_eq!(ran.status, 0, "the learning run failed: {}{}", ran.stdout, ran.stderr);
        ran
    }

    /// Learns one more.
    pub fn learn_more(&self, php_args: &[&str]) -> Ran {
        let ran = self.ordinary("--profile").arg("--merge").run(php(php_args));
        assert_eq!(ran.status, 0, "the learning run failed: {}{}", ran.stdout, ran.stderr);
        ran
    }

    /// Sandboxes a run.
    pub fn sandbox(&self, php_args: &[&str]) -> Ran {
        self.ordinary("--sandbox").run(php(php_args))
    }

    /// The profile as JSON.
    pub fn profile(&self) -> Value {
        exported(&self.path("p.profile"))
    }

    /// Runs `php-profile`.
    pub fn tool(&self, args: &[&str]) -> Output {
        Command::new(php_profile()).args(args).current_dir(self.root()).output().expect("run php-profile")
    }
}

/// PHP with these arguments.
pub fn php(args: &[&str]) -> Vec<String> {
    std::iter::once(PHP).chain(args.iter().copied()).map(ToOwned::to_owned).collect()
}

/// A file of this package.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What `tests/php/fetch` unpacks: PHP of other versions, and what the machine's own does not load.
pub fn php_images() -> PathBuf {
    std::env::var_os("PHP_CACHE").map_or_else(
        || {
            PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()))
                .join(".cache/php-images")
        },
        PathBuf::from,
    )
}

/// The tracer with these arguments in `folder`, to its end.
pub fn run_tracer(folder: &Path, args: &[&str]) -> Ran {
    finished(
        &Command::new(tracer())
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .expect("run the tracer"),
    )
}

/// The tracer with these arguments, running.
pub fn spawn_tracer(folder: &Path, args: &[&str]) -> Child {
    Command::new(tracer())
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the tracer")
}

/// What an ended process printed.
pub fn finished(output: &Output) -> Ran {
    use std::os::unix::process::ExitStatusExt;
    Ran {
        status: output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        events: Vec::new(),
    }
}

/// Panics if there was a violation, and shows it.
pub fn assert_clean(ran: &Ran) {
    let violations = ran.violations();
    assert!(
        violations.is_empty(),
        "{} violations, the first: {:#}\n{}",
        violations.len(),
        violations[0],
        ran.stderr
    );
}

/// The line of a source text that holds `mark`.
pub fn line_of(path: &Path, mark: &str) -> u64 {
    let text = fs::read_to_string(path).expect("read the source");
    let at = text.lines().position(|l| l.contains(mark)).unwrap_or_else(|| panic!("no line has {mark}"));
    at as u64 + 1
}

/// How many of the events are calls that did what they were made for.
pub fn through<'a>(events: impl IntoIterator<Item = &'a &'a Value>, operation: &str) -> usize {
    let is = |e: &Value| {
        e["operation"].as_str().is_some_and(|o| o == operation || o.starts_with(&format!("{operation}:")))
    };
    events.into_iter().filter(|e| is(e) && e["effect"] == "yes").count()
}
