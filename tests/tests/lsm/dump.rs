//! A core dump: no call makes it, so neither a kill nor a rewritten argument comes in time. A hook sees a file made.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Output;

use e2e::arena::{Arena, USER};
use e2e::suite::test;
use libtest_mimic::Trial;

use super::world::{arena, php, session};

/// Values inside each other: freed at once, by as many calls inside each other, they are too many for the stack.
const CRASH: &str = "<?php
[, $folder, $free] = $argv;
chdir($folder);
for ($values = [], $depth = 100000; $depth--;) $values = [$values];
while ($free === 'one by one' && $values) $values = $values[0];
unset($values);
echo 'goes on', PHP_EOL;";

/// The one.
pub fn tests() -> Vec<Trial> {
    vec![test("a_core_dump_is_a_file_that_the_code_that_crashed_makes", dump)]
}

/// How PHP ended that frees them so, and how many files it left in its folder.
fn free(arena: &Arena, how: &str) -> (Output, usize) {
    let folder = arena.folder("dumps");
    std::os::unix::fs::chown(&folder, Some(USER), None).expect("chown");
    let mut php = php(arena, USER, "crash.php", &[&folder.display().to_string(), how]);
    // SAFETY: setrlimit is async-signal-safe and touches nothing of the parent.
    unsafe {
        php.pre_exec(|| {
            for (resource, soft) in [(libc::RLIMIT_STACK, 1 << 20), (libc::RLIMIT_CORE, libc::RLIM_INFINITY)]
            {
                let limit = libc::rlimit { rlim_cur: soft, rlim_max: libc::RLIM_INFINITY };
                if libc::setrlimit(resource, &raw const limit) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    let output = php.output().expect("run PHP");
    let files = fs::read_dir(&folder).expect("read a folder").count();
    fs::remove_dir_all(folder).expect("remove a folder");
    (output, files)
}

fn dump() {
    let arena = arena();
    fs::write(arena.path("crash.php"), CRASH).expect("write a victim");
    let survives = || {
        let (output, files) = free(&arena, "one by one");
        assert!(output.status.success() && files == 0, "{output:?}, {files} files");
    };
    let crashes = || {
        let (output, files) = free(&arena, "at once");
        assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{output:?}");
        (output.status.core_dumped(), files)
    };
    assert_eq!(
        crashes(),
        (true, 1),
        "nothing is dumped where nothing is enforced: look at kernel.core_pattern"
    );

    let of = |mode| session(arena.root(), mode).arg("--php").arg(arena.arg("php")).start();
    let learning = of("--profile");
    survives();
    assert_eq!(learning.stop().status, 0);

    let running = of("--sandbox");
    survives();
    assert_eq!(crashes(), (false, 0), "there is a core dump");
    survives();
    let ran = running.stop();
    let [event] = ran.violations()[..] else { panic!("{:#?}", ran.violations()) };
    let told = (&event["operation"], &event["action"], &event["ret"], &event["site"]["kind"]);
    assert_eq!(
        told,
        (&"openat:create".into(), &"denied".into(), &serde_json::Value::Null, &"main".into()),
        "{event:#}"
    );
}
