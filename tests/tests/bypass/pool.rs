//! php-fpm: how far a taint goes, and a pool that is asked by its own worker.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::arena::Status;
use e2e::bypass::{Strategy, folder, strategy, with_hooks};
use e2e::fpm::{Fpm, POOL_USER, Request, Setup, age, wait_until};
use e2e::session::{Running, Session};
use nix::unistd::User;
use serde_json::Value;

use super::world::Told;

fn prepared(workers: usize) -> Fpm {
    let fpm = Fpm::prepare(Setup::workers(workers));
    for name in ["index.php", "nothing.php", "fastcgi.php"] {
        let to = fpm.app().join("public").join(name);
        fs::copy(folder().join("pool").join(name), &to).expect("copy a script");
        age(&to);
    }
    fpm
}

fn session(fpm: &Fpm, mode: &str) -> Session {
    with_hooks(fpm.session(mode))
}

/// The worker, and reasons of violations that its request was.
fn request(fpm: &Fpm, told: &mut Told, forge: &str) -> (i32, Vec<Value>) {
    let data = fpm.data().join("granted");
    fs::write(&data, "").expect("write a file");
    chown(&data, Some(user()), Some(user())).expect("give a file");
    let answer = fpm.must(&Request::get(&format!("forge={forge}")));
    assert_eq!(answer.text(), "done");
    let wait = if forge.is_empty() { 200 } else { 1000 };
    let told = told.new_ones(Duration::from_millis(wait));
    (answer.worker(), told.into_iter().map(|event| event["reason"].clone()).collect())
}

fn is_tainted(reasons: &[Value]) -> bool {
    !reasons.is_empty() && reasons.iter().all(|reason| reason == "tainted-identity")
}

fn user() -> u32 {
    User::from_name(POOL_USER).expect("look up").expect("the pool's user").uid.as_raw()
}

fn learnt(fpm: &mut Fpm, learn: impl FnOnce(&Fpm)) {
    let learning = session(fpm, "--profile").start();
    fpm.start();
    learn(fpm);
    assert_eq!(learning.stop().status, 0);
    fpm.stop();
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(fpm.base().join("p.profile"), mode).expect("chmod");
}

/// A worker that may talk to its own pool has another one prepend an upload: what the upload does is the upload's.
pub fn own_pool() {
    const FILES: usize = 20;
    let mut fpm = prepared(3);
    let own = |path: &Path| chown(path, Some(user()), Some(user())).expect("give it");
    let ask = |fpm: &Fpm, value: &str| {
        let query = format!("forge=fastcgi&socket={}&value={value}", fpm.socket().display());
        fpm.get(&query).map_or_else(|_| "lost".into(), |answer| answer.text().to_owned())
    };
    let (upload, granted) = (fpm.data().join("upload.php"), fpm.data().join("granted"));
    fs::write(&granted, "").expect("write a file");
    let files: Vec<_> = (0..FILES).map(|n| fpm.data().join(n.to_string())).collect();
    let put = || files.iter().for_each(|file| fs::write(file, "precious").expect("write a file"));
    let code = format!("<?php for ($n = 0; $n < {FILES}; $n++) {{ @unlink(\"$_SERVER[DATA]/$n\"); }}");
    fs::write(&upload, code).expect("write an upload");
    own(&upload);
    own(&granted);
    let value = format!("auto_prepend_file={}", upload.display());
    let left = || files.iter().filter(|file| file.exists()).count();
    put();
    fpm.start();
    assert_eq!(ask(&fpm, &value), "answered done");
    assert_eq!(left(), 0, "the attack does not work where nobody watches");
    fpm.stop();
    learnt(&mut fpm, |fpm| {
        (0..4).for_each(|_| assert_eq!(ask(fpm, "memory_limit=64M"), "answered done"));
    });
    let running = session(&fpm, "--sandbox").start();
    fpm.start();
    let mut told = Told::of(&fpm.base().join("events.jsonl"));
    assert_eq!(ask(&fpm, "memory_limit=64M"), "answered done");
    let violations = told.new_ones(Duration::from_millis(200));
    assert!(violations.is_empty(), "{violations:#?}");
    put();
    ask(&fpm, &value);
    let violations = told.new_ones(Duration::from_secs(1));
    assert!(!violations.is_empty(), "nothing was told");
    match strategy() {
        Strategy::Phase1 => assert!(left() > 0),
        Strategy::Phase2 | Strategy::Rewriting => assert!(left() >= FILES - 1, "{} are left", left()),
        Strategy::Lsm => assert_eq!(left(), FILES),
    }
    running.stop();
    fpm.stop();
}

/// The first request of a worker brings a setting along that loads a library: made before the request begins.
pub fn fresh_worker() {
    const FILES: usize = 1000;
    let mut fpm = prepared(2);
    let (library, folder) = (fpm.base().join("library.so"), fpm.make_data("victims"));
    let source = e2e::bypass::folder().join("preload.c");
    let built = Command::new("cc")
        .arg(format!("-DVICTIMS=\"{}\"", folder.display()))
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(built.expect("run cc").success());
    let files: Vec<_> = (0..FILES).map(|n| folder.join(n.to_string())).collect();
    let put = || {
        for file in &files {
            fs::write(file, "precious").expect("write a file");
            chown(file, Some(user()), Some(user())).expect("give a file");
        }
    };
    let left = || files.iter().filter(|file| file.exists()).count();
    let value = format!("extension={}", library.display());
    let attack = |fpm: &mut Fpm| {
        fpm.spawn();
        wait_until("php-fpm listens", || UnixStream::connect(fpm.socket()).is_ok());
        let _ = fpm.request(&Request::get("forge=").header("PHP_ADMIN_VALUE", &value));
    };
    put();
    let granted = fpm.data().join("granted");
    fs::write(&granted, "").expect("write a file");
    chown(&granted, Some(user()), Some(user())).expect("give a file");
    attack(&mut fpm);
    assert_eq!(left(), 0, "the attack does not work where nobody watches");
    fpm.stop();
    learnt(&mut fpm, |fpm| (0..4).for_each(|_| assert_eq!(fpm.ok("forge="), "done")));
    let running = session(&fpm, "--sandbox").start();
    let mut told = Told::of(&fpm.base().join("events.jsonl"));
    fpm.start();
    assert_eq!(fpm.ok("forge="), "done");
    fpm.stop();
    let violations = told.new_ones(Duration::from_millis(200));
    assert!(violations.is_empty(), "{violations:#?}");
    put();
    attack(&mut fpm);
    let violations = told.new_ones(Duration::from_secs(10));
    let (action, least) = match strategy() {
        Strategy::Phase1 => ("killed", 1),
        Strategy::Phase2 => ("killed", FILES - 1),
        Strategy::Rewriting => ("rewritten", FILES - 1),
        Strategy::Lsm => ("denied", FILES),
    };
    assert!(left() >= least, "{} are left", left());
    let is_stopped = |event: &Value| event["action"] == action || event["action"] == "killed";
    assert!(!violations.is_empty() && violations.iter().all(is_stopped), "{violations:#?}");
    assert!(violations.iter().all(|event| event["site"]["kind"] == "engine"), "{violations:#?}");
    // Whoever takes its place, or goes on, serves.
    assert_eq!(fpm.ok("forge="), "done");
    running.stop();
    fpm.stop();
}

/// The request's taint ends with it, the pool's with a reload. In monitor, so that workers live.
pub fn taints() {
    let mut fpm = prepared(1);
    learnt(&mut fpm, |fpm| {
        (0..3).for_each(|_| assert_eq!(fpm.ok("forge="), "done"));
        fpm.reload();
        assert_eq!(fpm.ok("forge="), "done");
    });
    let running: Running = session(&fpm, "--monitor").start();
    fpm.start();
    let mut told = Told::of(&fpm.base().join("events.jsonl"));
    let plain = |told: &mut Told, fpm: &Fpm| request(fpm, told, "");
    let (worker, none) = plain(&mut told, &fpm);
    assert!(none.is_empty(), "{none:?}");
    let (_, filter) = request(&fpm, &mut told, "filter");
    assert!(is_tainted(&filter), "an include through a filter: {filter:?}");
    let (same, none) = plain(&mut told, &fpm);
    assert!(none.is_empty() && same == worker, "the taint outlived its request: {none:?}");
    let (_, wrapper) = request(&fpm, &mut told, "wrapper");
    assert!(is_tainted(&wrapper), "the wrapper of files replaced: {wrapper:?}");
    let (_, after) = plain(&mut told, &fpm);
    assert!(is_tainted(&after), "the next request of a pool whose opcode cache may be poisoned: {after:?}");
    fpm.reload();
    let (_, none) = plain(&mut told, &fpm);
    assert!(none.is_empty(), "the taint outlived a reload: {none:?}");
    let scopes: Vec<_> =
        told.taints().iter().map(|event| event["scope"].as_str().unwrap_or("none")).collect();
    assert_eq!(scopes, ["request", "pool"], "each once: {:#?}", told.taints());
    if strategy() != Strategy::Phase1 {
        assert_eq!(Status::of(&running).count("violations: unknown-site"), 0);
    }
    running.stop();
    fpm.stop();
}
