//! Process 1 of a guest: runs the command, passes on what it prints, says how it ended, and switches the guest off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, PipeReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::Pid;
use std::os::fd::AsFd;

use crate::protocol::{CONTROL, Job, Message, OUTPUT};

const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Runs the job that the host sends. Does not return: without process 1 there is no guest.
pub fn main() -> Result<()> {
    ensure!(std::process::id() == 1, "this is process 1 of a guest, and nothing else");
    // It is not the command's to find.
    fs::remove_file("/run/xtask").context("cannot remove this program")?;
    let mut control = BufReader::new(port(CONTROL)?);
    let verdict = run(&mut control).unwrap_or_else(|error| Message::Failed(format!("{error:#}")));
    tell(control.get_mut(), &verdict)?;
    // What is still on its way would be lost with the guest.
    control.read_exact(&mut [0])?;
    reboot(RebootMode::RB_POWER_OFF).context("cannot switch off")?;
    Ok(())
}

fn run(control: &mut BufReader<File>) -> Result<Message> {
    let job = receive(control)?;
    let output = port(OUTPUT)?;
    // As a login has it; a kernel's own limit is lower than what services are used to.
    setrlimit(Resource::RLIMIT_NOFILE, 1024, 1 << 20).context("cannot set the limit of open files")?;
    for folder in &job.tmpfs {
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some("mode=1777"))
            .with_context(|| format!("cannot mount a tmpfs on {}", folder.display()))?;
    }
    ensure!(job.folder.is_dir(), "there is no {} in the guest", job.folder.display());
    tell(control.get_mut(), &Message::Ready)?;
    let (status, printed) = command(&job, output)?;
    Ok(Message::Ended { status, printed })
}

/// A port by its name. There may be a moment until it is there.
fn port(name: &str) -> Result<File> {
    for _ in 0..500 {
        if let Some(path) = find_port(name) {
            let opened = OpenOptions::new().read(true).write(true).open(&path);
            return opened.with_context(|| format!("cannot open {}", path.display()));
        }
        sleep(Duration::from_millis(10));
    }
    bail!("there is no port `{name}`")
}

fn find_port(name: &str) -> Option<PathBuf> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
    let named = |path: &Path| fs::read_to_string(path.join("name")).is_ok_and(|text| text.trim() == name);
    let port = ports.flatten().map(|entry| entry.path()).find(|path| named(path))?;
    Some(Path::new("/dev").join(port.file_name()?))
}

fn receive(control: &mut BufReader<File>) -> Result<Job> {
    let mut line = String::new();
    // Nothing is read while the guest has not heard yet that the host is there.
    while control.read_line(&mut line).context("cannot hear the host")? == 0 {
        sleep(Duration::from_millis(10));
    }
    serde_json::from_str(&line).context("cannot understand the host")
}

fn tell(control: &mut File, message: &Message) -> Result<()> {
    let line = serde_json::to_string(message)? + "\n";
    control.write_all(line.as_bytes()).context("cannot tell the host")
}

/// Its exit status, and how much it printed. A pipe is between it and the port, which cannot be opened twice
/// (`/dev/stdout`), and ends with the command even if something that it left behind still holds it.
fn command(job: &Job, port: File) -> Result<(u8, u64)> {
    let (reader, writer) = io::pipe().context("cannot make a pipe")?;
    let (ended, end) = io::pipe().context("cannot make a pipe")?;
    let passing = std::thread::spawn(move || pass_on(reader, &ended, port));
    let status = run_and_reap(job, writer);
    drop(end);
    let printed = passing.join().ok().context("passing on the output panicked")??;
    Ok((status?, printed))
}

fn run_and_reap(job: &Job, mut output: io::PipeWriter) -> Result<u8> {
    let name = job.command.first().context("no command")?;
    let started = Command::new(name)
        .args(&job.command[1..])
        .current_dir(&job.folder)
        .env_clear()
        .envs(job.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .process_group(0)
        .spawn();
    match started {
        Ok(child) => reap(Pid::from_raw(child.id() as i32)),
        Err(error) => {
            writeln!(output, "guest: cannot run {}: {error}", name.display())?;
            Ok(if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE })
        }
    }
}

/// Waits for a child, and for everybody's orphans meanwhile.
fn reap(child: Pid) -> Result<u8> {
    loop {
        match wait().context("cannot wait for the command")? {
            WaitStatus::Exited(pid, status) if pid == child => return Ok(status as u8),
            WaitStatus::Signaled(pid, signal, _) if pid == child => return Ok(128 + signal as u8),
            _ => {}
        }
    }
}

/// Passes on what is printed until the command has ended and all that it printed is through.
fn pass_on(mut from: PipeReader, ended: &PipeReader, mut to: File) -> Result<u64> {
    let mut buffer = vec![0; 64 << 10];
    let mut count = 0;
    loop {
        let mut both =
            [PollFd::new(from.as_fd(), PollFlags::POLLIN), PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        poll(&mut both, PollTimeout::NONE).context("cannot wait for output")?;
        let over = both[1].any() == Some(true);
        if over {
            // No more than the pipe holds now: what the command left behind may print for ever.
            let left = waiting(&from)?;
            let mut rest = from.take(left);
            return Ok(count + io::copy(&mut rest, &mut to).context("cannot pass on output")?);
        }
        let read = from.read(&mut buffer).context("cannot read output")?;
        if read == 0 {
            return Ok(count);
        }
        to.write_all(&buffer[..read]).context("cannot pass on output")?;
        count += read as u64;
    }
}

fn waiting(pipe: &PipeReader) -> Result<u64> {
    use std::os::fd::AsRawFd;
    let mut count: libc::c_int = 0;
    // SAFETY: the descriptor is open, and FIONREAD writes one int.
    let done = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    nix::errno::Errno::result(done).context("cannot ask how much output is left")?;
    Ok(u64::from(count.unsigned_abs()))
}
