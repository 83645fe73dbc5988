//! A command that forks faster than anybody can look for its processes, and a sandbox that ends before it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::session::Session;
use crate::suite::times;

/// Asserts that nobody of it goes on without a sandbox. `session` makes one of a mode, for an ordinary user.
pub fn nobody_is_left(folder: &Path, session: impl Fn(&str) -> Session) {
    let (script, data) = (folder.join("chain.php"), folder.join("chain"));
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("victims/chain.php"), &script)
        .expect("copy a victim");
    crate::arena::open_folder(&data);
    let (go, alive) = (data.join("go"), data.join("alive"));
    // Whoever is left ends with it, and with the folder.
    fs::write(&go, "").expect("write a file");
    let command = |lives: &str| {
        ["/usr/bin/php".into(), script.display().to_string(), data.display().to_string(), lives.to_owned()]
    };
    let learnt = session("--profile").run(command("5"));
    assert_eq!(learnt.status, 0, "{}", learnt.stderr);
    fs::remove_file(&alive).expect("it was learnt");
    let seconds = times(1, 10).to_string();
    let ran = session("--sandbox").arg("--duration").arg(seconds).run(command("1000000000"));
    fs::remove_file(&alive).expect("it ran");
    std::thread::sleep(Duration::from_millis(500));
    let goes_on = alive.exists();
    fs::remove_file(go).expect("stop whoever is left");
    assert!(ran.violations().is_empty(), "{:#?}{}", ran.violations().first(), ran.stderr);
    assert!(!goes_on, "somebody goes on without a sandbox: {}", ran.stderr);
}
