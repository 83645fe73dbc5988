//! Boots a guest, has it run a command, and comes back with its verdict.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::cpio::Archive;
use crate::hint::{hinted, program};
use crate::kernels::Kernel;
use crate::protocol::{CONTROL, DONE, Job, OUTPUT, Said};

/// What the guest is made of.
pub struct Machine {
    /// Its kernel.
    pub kernel: Kernel,
    /// Processors.
    pub cpus: u32,
    /// Memory, MiB.
    pub memory: u32,
    /// More words for the kernel's command line.
    pub append: String,
    /// How long all of it may take.
    pub timeout: Duration,
    /// Whether to say how long booting took.
    pub verbose: bool,
    /// Whether its clock counts instructions.
    pub count_instructions: bool,
}

/// How it ended.
#[derive(Debug)]
pub enum Ending {
    /// The command's exit status.
    Exited(u8),
    /// It took too long. With the end of the console.
    TimedOut(String),
    /// There is no exit status: why, and the end of the console.
    NoVerdict(String, String),
}

const QEMU: &str = "qemu-system-x86_64";
/// How long a guest may take to switch itself off, with its verdict given.
const GRACE: Duration = Duration::from_secs(5);
/// How much of the console is told.
const CONSOLE_LINES: usize = 60;
const CONSOLE_BYTES: usize = 1 << 20;

/// Without these a panic would be a hang; `mitigations` and `tsc` save time where processors are emulated.
const COMMAND_LINE: &str = "console=ttyS0,115200 quiet loglevel=4 panic=-1 oops=panic mitigations=off tsc=reliable random.trust_cpu=on";

/// Boots it, runs the command, and passes on what it prints.
pub fn run(machine: &Machine, job: &Job, output: &mut dyn Write) -> Result<Ending> {
    let initramfs = in_memory("initramfs", &initramfs(machine)?)?;
    let begin = Instant::now();
    let mut qemu = Qemu::start(machine, &initramfs)?;
    qemu.control
        .write_all((serde_json::to_string(job)? + "\n").as_bytes())
        .context("cannot send the command")?;
    let mut talk = Talk { said: Said::default(), console: VecDeque::new(), arrived: 0, output };
    let mut until = begin + machine.timeout;
    let mut done = false;
    while qemu.is_open() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let was_ready = talk.said.ready;
        qemu.listen(left, &mut talk)?;
        if machine.verbose && talk.said.ready && !was_ready {
            eprintln!(
                "xtask: Linux {} booted in {:.1} s",
                machine.kernel.version,
                begin.elapsed().as_secs_f64()
            );
        }
        if !done && talk.said.printed().is_some_and(|printed| talk.arrived >= printed) {
            done = true;
            until = Instant::now() + GRACE;
            // A guest that is gone has nothing to be told.
            let _ = qemu.control.write_all(&[DONE]);
        }
    }
    let timed_out = !done && qemu.is_open();
    let status = qemu.end()?;
    Ok(match talk.said.verdict(talk.arrived) {
        Some(Ok(status)) => Ending::Exited(status),
        Some(Err(why)) => Ending::NoVerdict(why, talk.console()),
        None if timed_out => Ending::TimedOut(talk.console()),
        None => Ending::NoVerdict(talk.why(status), talk.console()),
    })
}

/// What is heard from a guest.
struct Talk<'a> {
    said: Said,
    console: VecDeque<u8>,
    arrived: u64,
    output: &'a mut dyn Write,
}

impl Talk<'_> {
    fn print(&mut self, bytes: &[u8]) -> Result<()> {
        self.arrived += bytes.len() as u64;
        self.output.write_all(bytes).context("cannot pass on the output")?;
        self.output.flush().context("cannot pass on the output")
    }

    fn note(&mut self, bytes: &[u8]) {
        self.console.extend(bytes);
        let over = self.console.len().saturating_sub(CONSOLE_BYTES);
        self.console.drain(..over);
    }

    /// Its last lines.
    fn console(&self) -> String {
        let bytes: Vec<u8> = self.console.iter().copied().filter(|byte| *byte != b'\r').collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n")
    }

    fn why(&self, status: ExitStatus) -> String {
        let bytes: Vec<u8> = self.console.iter().copied().collect();
        let panicked = String::from_utf8_lossy(&bytes).contains("Kernel panic");
        let when = if self.said.ready { "while the command ran" } else { "before the command was started" };
        match (panicked, status.success()) {
            (true, _) => format!("the guest's kernel panicked {when}"),
            (false, true) => format!("the guest switched itself off or restarted {when}"),
            (false, false) => format!("qemu failed {when}: {status}"),
        }
    }
}

/// The emulator. It ends with this.
struct Qemu {
    child: Child,
    control: UnixStream,
    output: UnixStream,
    console: UnixStream,
    open: [bool; 3],
}

impl Qemu {
    fn start(machine: &Machine, initramfs: &File) -> Result<Self> {
        let pair = || UnixStream::pair().context("cannot make a socket");
        let (control, its_control) = pair()?;
        let (output, its_output) = pair()?;
        let (console, its_console) = pair()?;
        let mut command = Command::new(program(QEMU)?);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.args(accelerator(machine.count_instructions)?).args(["-smp", &machine.cpus.to_string()]);
        command.args(["-m", &machine.memory.to_string()]);
        command.arg("-kernel").arg(machine.kernel.image());
        command.args(["-initrd", &format!("/proc/self/fd/{}", initramfs.as_raw_fd())]);
        command.args(["-append", &format!("{COMMAND_LINE} {}", machine.append)]);
        command.args(["-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"]);
        command.args(["-device", "virtio-9p-pci,fsdev=root,mount_tag=root"]);
        command.args(["-device", "virtio-serial-pci"]);
        for (name, socket) in [(CONTROL, &its_control), (OUTPUT, &its_output)] {
            command.args(["-chardev", &format!("socket,id={name},fd={}", socket.as_raw_fd())]);
            command.args(["-device", &format!("virtserialport,chardev={name},name={name}")]);
        }
        command.args(["-chardev", &format!("socket,id=console,fd={}", its_console.as_raw_fd())]);
        command.args(["-serial", "chardev:console"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        // What qemu itself says belongs with what the console says.
        command.stderr(Stdio::from(std::os::fd::OwnedFd::from(its_console.try_clone()?)));
        let inherited = vec![
            initramfs.as_raw_fd(),
            its_control.as_raw_fd(),
            its_output.as_raw_fd(),
            its_console.as_raw_fd(),
        ];
        inherit_and_end_with_us(&mut command, inherited);
        let child = command.spawn().context("cannot start qemu-system-x86_64")?;
        Ok(Self { child, control, output, console, open: [true; 3] })
    }

    fn is_open(&self) -> bool {
        self.open.contains(&true)
    }

    /// Waits for one of the three to say something.
    fn listen(&mut self, at_most: Duration, talk: &mut Talk) -> Result<()> {
        let timeout = PollTimeout::try_from(at_most + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        let sockets = [&self.control, &self.output, &self.console];
        let open: Vec<usize> = (0..3).filter(|i| self.open[*i]).collect();
        let mut polled: Vec<_> =
            open.iter().map(|i| PollFd::new(sockets[*i].as_fd(), PollFlags::POLLIN)).collect();
        match poll(&mut polled, timeout) {
            Err(nix::errno::Errno::EINTR) => return Ok(()),
            result => result.context("cannot wait for the guest")?,
        };
        let heard: Vec<usize> =
            open.into_iter().zip(&polled).filter(|(_, fd)| fd.any() == Some(true)).map(|(i, _)| i).collect();
        let mut buffer = vec![0; 64 << 10];
        for i in heard {
            let mut socket = [&self.control, &self.output, &self.console][i];
            let count = match socket.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
                Err(error) => return Err(error).context("cannot hear the guest"),
            };
            match (count, i) {
                (0, _) => self.open[i] = false,
                (_, 0) => talk.said.hear(&buffer[..count]),
                (_, 1) => talk.print(&buffer[..count])?,
                _ => talk.note(&buffer[..count]),
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<ExitStatus> {
        if self.is_open() {
            // It may have ended by itself just now.
            let _ = self.child.kill();
        }
        self.child.wait().context("cannot wait for qemu")
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// These descriptors stay open in the child, and it is killed when this program ends, however that may be.
fn inherit_and_end_with_us(command: &mut Command, descriptors: Vec<RawFd>) {
    let parent = std::process::id();
    let prepare = move || {
        for descriptor in &descriptors {
            // SAFETY: fcntl is async-signal-safe and touches nothing of the parent.
            if unsafe { libc::fcntl(*descriptor, libc::F_SETFD, 0) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        // SAFETY: prctl and getppid likewise.
        let parent_now = unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::getppid()
        };
        if parent_now as u32 == parent { Ok(()) } else { Err(ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: it allocates nothing, and calls what is async-signal-safe only.
    unsafe { command.pre_exec(prepare) };
}

/// The processor's own virtualization where it works; it counts nothing. Being able to open KVM does not tell, and a KVM
/// without it (for kernels that are made for that, PVM) may run the small program, but no kernel of a distribution.
fn accelerator(count_instructions: bool) -> Result<&'static [&'static str]> {
    const KVM: &[&str] = &["-accel", "kvm", "-cpu", "host"];
    // Four levels of page tables instead of five: each miss is looked up by program.
    const PROCESSOR: &str = "max,la57=off";
    const PARALLEL: &[&str] = &["-accel", "tcg,thread=multi", "-cpu", PROCESSOR];
    const IN_TURN: &[&str] = &["-accel", "tcg,thread=single", "-cpu", PROCESSOR];
    // A string instruction counts once for each step: where the processor says that it copies fast by them, the kernel and
    // libc do so byte by byte, and a page counts as 4,096 instructions.
    const WITHOUT_STRINGS: &str = "max,la57=off,-erms";
    // One nanosecond of the guest's for each instruction; where there is nothing to do, time goes on at once.
    const COUNTING: &[&str] =
        &["-accel", "tcg,thread=single", "-cpu", WITHOUT_STRINGS, "-icount", "shift=0,sleep=off"];
    if count_instructions {
        return Ok(COUNTING);
    }
    let openable = File::options().read(true).write(true).open("/dev/kvm").is_ok();
    let processors = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    if openable && can_virtualize(&processors) && runs_a_program(KVM)? {
        return Ok(KVM);
    }
    Ok(if patches_while_running()? { PARALLEL } else { IN_TURN })
}

/// Whether the processors of this `/proc/cpuinfo` have VT-x or AMD-V.
fn can_virtualize(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

/// Whether a kernel may change code that another emulated processor is in, as it does to switch a tracepoint on.
/// With 7.2 it panics of that (`int3: 0000`) within a hundred times; with 10.0 it does not.
fn patches_while_running() -> Result<bool> {
    const FIRST_MAJOR: u32 = 10;
    let output = Command::new(program(QEMU)?).arg("--version").output().context("cannot run qemu")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_once("version ").map_or("", |(_, rest)| rest);
    let major = version.split('.').next().and_then(|number| number.parse::<u32>().ok());
    Ok(major.is_some_and(|major| major >= FIRST_MAJOR))
}

/// Runs a program of two instructions, which ends the emulator with a status of its own.
fn runs_a_program(options: &[&str]) -> Result<bool> {
    const ENDED_BY_PROGRAM: i32 = 0x10 << 1 | 1;
    let mut firmware = vec![0xf4; 64 << 10]; // hlt
    let first = firmware.len() - 16; // where a processor starts
    firmware[first..first + 4].copy_from_slice(&[0xb0, 0x10, 0xe6, 0xf4]); // mov al, 0x10; out 0xf4, al
    let firmware = in_memory("firmware", &firmware)?;
    let mut command = Command::new(program(QEMU)?);
    command.args(options).args(["-smp", "2", "-nodefaults", "-no-user-config", "-display", "none"]);
    command.args(["-bios", &format!("/proc/self/fd/{}", firmware.as_raw_fd())]);
    command.args(["-device", "isa-debug-exit,iobase=0xf4"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    inherit_and_end_with_us(&mut command, vec![firmware.as_raw_fd()]);
    let mut child = command.spawn().context("cannot start qemu-system-x86_64")?;
    for _ in 0..500 {
        if let Some(status) = child.try_wait().context("cannot wait for qemu")? {
            return Ok(status.code() == Some(ENDED_BY_PROGRAM));
        }
        sleep(Duration::from_millis(10));
    }
    child.kill().context("cannot end qemu")?;
    child.wait().context("cannot wait for qemu")?;
    Ok(false)
}

/// A file that is gone with this program.
fn in_memory(name: &str, content: &[u8]) -> Result<File> {
    let mut file =
        File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC).context("cannot make a file in memory")?);
    file.write_all(content).context("cannot write a file in memory")?;
    Ok(file)
}

/// busybox, the modules, and this program.
fn initramfs(machine: &Machine) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "sys", "modules", "lower", "upper", "new"] {
        archive.folder(folder);
    }
    archive.program("bin/busybox", &busybox()?);
    for file in machine.kernel.modules()? {
        let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
        archive.program(&format!("modules/{name}"), &content);
    }
    // Not from the host's files: there may be another one by now.
    archive.program("xtask", &fs::read("/proc/self/exe").context("cannot read this program")?);
    archive.program("init", include_bytes!("init.sh"));
    Ok(archive.finish())
}

fn busybox() -> Result<Vec<u8>> {
    let content = fs::read(program("busybox")?).context("cannot read busybox")?;
    let dynamic = content.windows(8).any(|window| window == b"/ld-linu");
    ensure!(
        !dynamic,
        hinted("busybox is not the static one", "run `make deps`, which installs busybox-static")
    );
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::can_virtualize;

    #[test]
    fn a_processor_virtualizes_by_its_flags() {
        let with = |flags: &str| format!("model name\t: vmx\nflags\t\t: {flags}\nvmx flags\t: ept\n");
        assert!(can_virtualize(&with("fpu vmx sse")));
        assert!(can_virtualize(&with("fpu svm")));
        assert!(!can_virtualize(&with("fpu svm_lock hypervisor")));
        assert!(!can_virtualize(""));
    }
}
