//! How many unauthorized calls get through before the kill lands: php-cli, a loop that deletes files which it may
//! not delete, counted by the files that are gone. Each way of waking the tracer in turn, round by round, so that
//! a noisy machine is noisy for all of them alike.
//!
//! `cargo run --release -p benches --bin leak [ATTACKS]` (default 200, for each way)

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use benches::distribution;
use e2e::session::{Running, Session};

const FILES: u64 = 2000;
const ROUND: u64 = 10;
const WAYS: [(&str, &[&str]); 2] = [
    ("woken by default, as a plain consumer is", &["--default-wakeup"]),
    ("woken at each event, ahead of others (default)", &[]),
];
const SCRIPT: &str = "<?php
function allowed($f) { touch($f); }
function attack($dir) { for ($i = 0; $i < 2000; $i++) unlink(\"$dir/$i\"); }
allowed($argv[1] . '/allowed');
if (isset($argv[2])) attack($argv[1]);
";

/// The attack's folder: memory, so that the file system is not what is measured.
struct Arena {
    folder: tempfile::TempDir,
}

impl Arena {
    fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("leak").tempdir_in("/dev/shm")?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        fs::write(folder.path().join("attack.php"), SCRIPT)?;
        fs::create_dir(folder.path().join("victims"))?;
        fs::set_permissions(folder.path().join("victims"), fs::Permissions::from_mode(0o777))?;
        fs::create_dir(folder.path().join("own"))?;
        // A file of its own, so that no other PHP of this machine is watched.
        fs::copy("/usr/bin/php8.2", folder.path().join("php")).context("copy /usr/bin/php8.2")?;
        Ok(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn victims(&self) -> std::path::PathBuf {
        self.path().join("victims")
    }

    fn php(&self, attack: bool) -> Result<()> {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(self.path().join("php")).arg(self.path().join("attack.php")).arg(self.victims());
        if attack {
            command.arg("attack");
        }
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().context("run php")?;
        Ok(())
    }

    fn session(&self, mode: &str, options: &[&str]) -> Session {
        let php = self.path().join("php").display().to_string();
        let session = Session::new(&self.path().join("own"), mode).arg("--php").arg(php);
        options.iter().fold(session, |s, option| s.arg(*option))
    }

    /// One attack under `tracer`, or under nothing: files gone.
    fn attack(&self) -> Result<u64> {
        for i in 0..FILES {
            fs::write(self.victims().join(i.to_string()), "")?;
        }
        self.php(true)?;
        let left = (0..FILES).filter(|i| self.victims().join(i.to_string()).exists()).count() as u64;
        Ok(FILES - left)
    }
}

fn round(arena: &Arena, options: &[&str], attacks: u64) -> Result<Vec<u64>> {
    let running: Running = arena.session("--sandbox", options).start();
    let leaks = (0..attacks).map(|_| arena.attack()).collect();
    running.stop();
    leaks
}

fn main() -> Result<()> {
    let attacks: u64 =
        std::env::args().nth(1).map_or(Ok(200), |n| n.parse()).context("ATTACKS is a number")?;
    let arena = Arena::new()?;
    let learning = arena.session("--profile", &[]).start();
    arena.php(false)?;
    learning.stop();
    ensure!(arena.attack()? == FILES, "the attack does not work when nothing is enforced");
    let mut leaks = vec![Vec::new(); WAYS.len()];
    for done in (0..attacks).step_by(ROUND as usize) {
        eprint!("\r{done} of {attacks} attacks ");
        for (way, (_, options)) in WAYS.iter().enumerate() {
            leaks[way].extend(round(&arena, options, ROUND.min(attacks - done))?);
        }
    }
    eprintln!("\r{attacks} attacks of up to {FILES} calls, for each way");
    println!("{:<48} {:>6} {:>8} {:>6} {:>6}", "calls let through", "min", "median", "p95", "max");
    for ((name, _), values) in WAYS.iter().zip(&mut leaks) {
        println!("{name:<48} {}", distribution(values));
    }
    Ok(())
}
