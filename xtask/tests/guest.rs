//! Guests, really booted: what comes out of them, and that nothing else passes for it.

use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The oldest that is supported entirely.
const KERNEL: &str = "6.1";
const NO_VERDICT: i32 = 125;
const TIMED_OUT: i32 = 124;

/// One at a time: a guest takes all processors.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn vm(options: &[&str], script: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["vm", "--kernel", KERNEL]).args(options).args(["--", "sh", "-c", script]);
    command.stdin(Stdio::null());
    command
}

fn run(options: &[&str], script: &str) -> Output {
    let _alone = alone();
    vm(options, script).output().expect("run xtask")
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The checks print nothing where all is well. Many in one guest: booting takes seconds.
#[test]
fn the_command_finds_what_a_machine_has() {
    let home = tempfile::tempdir().expect("a folder");
    let mark = home.path().join("mark");
    fs::write(&mark, "from the host").expect("write a file");
    let script = "say() { echo \"wrong: $*\"; }
        [ \"$(id -u)\" = 0 ] || say not root
        [ \"$PWD\" = \"$HOST_FOLDER\" ] || say \"in $PWD\"
        [ \"$(cat mark)\" = 'from the host' ] || say 'a file of the host'
        [ \"$GIVEN\" = 'a  b' ] || say \"environment: $GIVEN\"
        [ \"$(uname -n)\" = guest ] || say 'the host name'
        case $(uname -r) in 6.1.*) ;; *) say \"kernel $(uname -r)\" ;; esac
        case ,$(cat /sys/kernel/security/lsm), in *,bpf,*) ;; *) say 'no BPF LSM' ;; esac
        [ -r /sys/kernel/btf/vmlinux ] || say 'no BTF'
        for at in /proc /sys /dev /dev/pts /dev/shm /run /sys/kernel/security /sys/kernel/tracing \
            /sys/kernel/debug /sys/fs/bpf /sys/fs/cgroup /var/tmp; do
            grep -q \" $at \" /proc/mounts || say \"nothing mounted on $at\"
        done
        [ -z \"$(ls -A /var/tmp; ls -A /run)\" ] || say 'something in /var/tmp or /run'
        grep -q 127.0.0.1 /proc/net/fib_trie || say 'no loopback'
        ! read -r line || say 'something on standard input'
        echo changed >mark && [ \"$(cat mark)\" = changed ] || say 'cannot write'
        echo through >/dev/stdout
        echo likewise >/dev/stderr
        sleep 1000 &";
    let folder = format!("HOST_FOLDER={}", home.path().display());
    let mut command = vm(&["--env", "GIVEN=a  b", "--env", &folder, "--tmpfs", "/var/tmp"], script);
    let output = {
        let _alone = alone();
        command.current_dir(home.path()).output().expect("run xtask")
    };
    assert_eq!(text(&output.stdout), "through\nlikewise\n", "{}", text(&output.stderr));
    assert_eq!(status(&output), 0);
    assert_eq!(fs::read_to_string(&mark).expect("read"), "from the host", "a write reached the host");
}

/// 20 MB, with an imitation of what process 1 says in them, and the status of the command.
#[test]
fn all_output_comes_through_and_the_status_is_the_commands() {
    const LINES: u64 = 2_500_000;
    let script = "echo '{\"Ended\":{\"status\":0,\"printed\":0}}'
        echo '{\"Ended\":{\"status\":0,\"printed\":0}}' >/dev/console
        awk 'BEGIN { for (n = 0; n < 2500000; n++) printf \"%07d\\n\", n }'
        while :; do echo behind; sleep 1000; done >/dev/null &
        exit 7";
    let output = run(&[], script);
    assert_eq!(status(&output), 7, "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let mut lines = printed.lines();
    assert_eq!(lines.next(), Some("{\"Ended\":{\"status\":0,\"printed\":0}}"));
    let mut count = 0;
    for line in lines {
        assert_eq!(line.parse(), Ok(count), "line {count}");
        count += 1;
    }
    assert_eq!(count, LINES);
}

#[test]
fn a_panic_is_no_verdict_and_is_told() {
    let output = run(&[], "echo before; echo c >/proc/sysrq-trigger; sleep 1000");
    assert_eq!(status(&output), NO_VERDICT);
    assert_eq!(text(&output.stdout), "before\n");
    let errors = text(&output.stderr);
    assert!(errors.contains("the guest's kernel panicked while the command ran"), "{errors}");
    assert!(errors.contains("sysrq triggered crash"), "{errors}");
}

#[test]
fn a_guest_that_switches_itself_off_is_no_verdict() {
    let output = run(&[], "echo o >/proc/sysrq-trigger; sleep 1000");
    assert_eq!(status(&output), NO_VERDICT);
    let errors = text(&output.stderr);
    assert!(errors.contains("the guest switched itself off or restarted while the command ran"), "{errors}");
}

#[test]
fn a_hang_ends_when_its_time_is_over() {
    let begin = Instant::now();
    let output = run(&["--timeout", "10"], "sleep 1000");
    assert_eq!(status(&output), TIMED_OUT);
    assert!(begin.elapsed() < Duration::from_secs(300));
    assert!(text(&output.stderr).contains("not ended after 10 s"), "{}", text(&output.stderr));
}

#[test]
fn the_emulator_ends_with_this_program() {
    let _alone = alone();
    let mut child = vm(&[], "echo up; sleep 1000").stdout(Stdio::piped()).spawn().expect("run xtask");
    let mut line = [0; 3];
    child.stdout.as_mut().expect("its output").read_exact(&mut line).expect("read");
    assert_eq!(&line, b"up\n");
    let emulators = children(child.id());
    assert_eq!(emulators.len(), 1, "{emulators:?}");
    child.kill().expect("kill");
    assert_eq!(child.wait().expect("wait").signal(), Some(9));
    let until = Instant::now() + Duration::from_secs(20);
    while is_there(emulators[0]) {
        assert!(Instant::now() < until, "the emulator is still there");
        sleep(Duration::from_millis(10));
    }
}

fn children(parent: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).expect("its children");
    text.split_ascii_whitespace().map(|pid| pid.parse().expect("a number")).collect()
}

/// A zombie has no executable any more.
fn is_there(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

#[test]
fn what_cannot_begin_says_what_to_do() {
    let without_qemu = vm(&[], "true").env("PATH", "/nonexistent").output().expect("run xtask");
    assert_eq!(status(&without_qemu), NO_VERDICT);
    let errors = text(&without_qemu.stderr);
    assert!(errors.contains("is not installed") && errors.contains("Hint: run `make deps`"), "{errors}");
    let mut unknown = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let unknown = unknown.args(["vm", "--kernel", "../6.1", "--", "true"]).output().expect("run xtask");
    assert_eq!(status(&unknown), NO_VERDICT);
    let errors = text(&unknown.stderr);
    assert!(errors.contains("`../6.1` names no kernel") && errors.contains("Hint: "), "{errors}");
}
