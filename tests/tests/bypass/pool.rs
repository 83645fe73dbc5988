//! php-fpm: how far a taint goes. In monitor, so that workers live.

use std::fs;
use std::os::unix::fs::chown;
use std::time::Duration;

use e2e::arena::Status;
use e2e::bypass::{Strategy, folder};
use e2e::fpm::{Fpm, POOL_USER, Request, Setup, age};
use e2e::session::{Running, Session};
use nix::unistd::User;
use serde_json::Value;

use super::world::{Told, strategy};

fn prepared() -> Fpm {
    let fpm = Fpm::prepare(Setup::workers(1));
    for name in ["index.php", "nothing.php"] {
        let to = fpm.app().join("public").join(name);
        fs::copy(folder().join("pool").join(name), &to).expect("copy a script");
        age(&to);
    }
    fpm
}

fn session(fpm: &Fpm, mode: &str) -> Session {
    let session = Session::new(fpm.base(), mode).arg("--php").arg(fpm.binary().display().to_string());
    if strategy() == Strategy::Lsm { session.arg("--lsm") } else { session }
}

/// The worker, and reasons of violations that its request was.
fn request(fpm: &Fpm, told: &mut Told, forge: &str) -> (i32, Vec<Value>) {
    let data = fpm.data().join("granted");
    fs::write(&data, "").expect("write a file");
    let user = User::from_name(POOL_USER).expect("look up").expect("the pool's user").uid.as_raw();
    chown(&data, Some(user), Some(user)).expect("give a file");
    let answer = fpm.must(&Request::get(&format!("forge={forge}")));
    assert_eq!(answer.text(), "done");
    let wait = if forge.is_empty() { 200 } else { 1000 };
    let told = told.new_ones(Duration::from_millis(wait));
    (answer.worker(), told.into_iter().map(|event| event["reason"].clone()).collect())
}

fn is_tainted(reasons: &[Value]) -> bool {
    !reasons.is_empty() && reasons.iter().all(|reason| reason == "tainted-identity")
}

/// The request's taint ends with it, the pool's with a reload; and what is not tainted was learnt.
pub fn taints() {
    let mut fpm = prepared();
    let learning = session(&fpm, "--profile").start();
    fpm.start();
    for _ in 0..3 {
        assert_eq!(fpm.ok("forge="), "done");
    }
    fpm.reload();
    assert_eq!(fpm.ok("forge="), "done");
    assert_eq!(learning.stop().status, 0);
    fpm.stop();
    fs::set_permissions(fpm.base().join("p.profile"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("chmod");
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
    if strategy() != Strategy::Phase1 {
        assert_eq!(Status::of(&running).count("violations: unknown-site"), 0);
    }
    running.stop();
    fpm.stop();
}
