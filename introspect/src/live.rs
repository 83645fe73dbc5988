//! An image inside a process: where it is mapped, where its globals are, and whether the offsets hold there.

use std::{
    fmt,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{
    FileId, Globals, Image, Offsets,
    elf::{Elf, Source},
};

/// Where a structure of globals is in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// Here, for all threads.
    Fixed(u64),
    /// At `*(u64 *)(TP + tcb_offset) + offset`, TP being the thread pointer.
    Thread {
        /// Added to the thread pointer.
        tcb_offset: i64,
        /// Added to the pointer found there; 0 until PHP has started.
        offset: u64,
    },
}

/// An image's globals in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// Added to addresses in the file.
    pub bias: u64,
    /// `executor_globals`
    pub executor_globals: Address,
    /// `sapi_globals`
    pub sapi_globals: Address,
}

/// What [`verify_live`] found to be in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelfCheck {
    /// No PHP code runs, so there was nothing to check.
    Idle,
    /// The innermost frames, at most 16, innermost first.
    Ok {
        /// At least one has a function.
        frames: Vec<Frame>,
    },
}

/// A frame of PHP's stack, as far as it was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// `zend_function.type`; 0 for a frame without a function.
    pub kind: u8,
    /// Empty for the top-level code of a file.
    pub function: Vec<u8>,
    /// Name of the scope.
    pub class: Option<Vec<u8>>,
    /// File of a user or eval frame.
    pub file: Option<Vec<u8>>,
    /// Line of the current opcode; `None` where the engine may not have saved it.
    pub line: Option<u32>,
    /// First line of the function.
    pub line_start: Option<u32>,
}

/// Load bias of an image in a process: from `mm->start_code` for an executable, from the mappings for a library.
/// `None` if the process does not run or map this very file.
pub fn load_bias(pid: i32, image: &Image) -> io::Result<Option<u64>> {
    if image.is_library {
        return load_bias_from_maps(pid, image);
    }
    if FileId::of(Path::new(&format!("/proc/{pid}/exe")))? != image.id {
        return Ok(None);
    }
    Ok(start_code(pid)?.checked_sub(image.first_exec_vaddr))
}

/// Load bias of an image from the mappings of a process: where the start of the file is mapped. The file is told by
/// device and inode, or else by its path. `None` if it is not mapped.
pub fn load_bias_from_maps(pid: i32, image: &Image) -> io::Result<Option<u64>> {
    let maps = fs::read(format!("/proc/{pid}/maps"))?;
    let mut by_path = None;
    for mapping in maps.split(|b| *b == b'\n').filter_map(Mapping::parse).filter(|m| m.offset == 0) {
        let bias = mapping.start.wrapping_sub(image.base_vaddr);
        if mapping.is_file(pid, image.id) {
            return Ok(Some(bias));
        }
        if mapping.path == image.path {
            by_path = by_path.or(Some(bias));
        }
    }
    Ok(by_path)
}

/// A line of `/proc/PID/maps` that has a path.
pub(crate) struct Mapping {
    start: u64,
    offset: u64,
    range: String,
    inode: u64,
    pub path: PathBuf,
}

impl Mapping {
    pub fn parse(line: &[u8]) -> Option<Self> {
        use std::os::unix::ffi::OsStrExt;
        let mut rest = line;
        let mut field = || {
            let (field, after) = rest.split_at(rest.iter().position(|b| *b == b' ')?);
            rest = after.trim_ascii_start();
            std::str::from_utf8(field).ok()
        };
        let range = field()?.to_owned();
        let _permissions = field()?;
        let offset = u64::from_str_radix(field()?, 16).ok()?;
        let _device = field()?;
        let inode = field()?.parse().ok()?;
        let start = u64::from_str_radix(range.split('-').next()?, 16).ok()?;
        let path = Path::new(std::ffi::OsStr::from_bytes(rest)).to_path_buf();
        path.is_absolute().then_some(Self { start, offset, range, inode, path })
    }

    /// A path that opens the mapped file itself, whatever its own path has come to name (root only).
    pub fn handle(&self, pid: i32) -> PathBuf {
        format!("/proc/{pid}/map_files/{}", self.range).into()
    }

    /// The device in the line is that of the file system below an overlay, so only the inode is compared with it,
    /// and the rest is asked from the mapped file.
    fn is_file(&self, pid: i32, id: FileId) -> bool {
        match FileId::of(&self.handle(pid)) {
            Ok(mapped) => mapped == id,
            Err(_) => self.inode == id.inode && FileId::of(&self.path).is_ok_and(|named| named == id),
        }
    }
}

/// `mm->start_code`.
fn start_code(pid: i32) -> io::Result<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat"))?;
    // The name of the program, in parentheses, may hold anything.
    let after = stat.iter().rposition(|b| *b == b')').map_or(&stat[..0], |end| &stat[end + 1..]);
    let field = String::from_utf8_lossy(after).split_ascii_whitespace().nth(23).map(str::parse::<u64>);
    match field {
        // The kernel says 1 to those who may not know, and 0 of kernel threads.
        Some(Ok(0 | 1)) => Err(io::ErrorKind::PermissionDenied.into()),
        Some(Ok(address)) => Ok(address),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Where the globals of an image are in a process. `pid` may be a thread id.
///
/// The dynamic loader takes an executable's own definition first: one that embeds a library may hold a copy of
/// its `executor_globals` or `executor_globals_offset`, and that one is then alive.
pub fn resolve(pid: i32, image: &Image, bias: u64) -> io::Result<Live> {
    let memory = Memory::open(pid)?;
    let (executor, sapi) = if image.zts {
        ("executor_globals_offset", "sapi_globals_offset")
    } else {
        ("executor_globals", "sapi_globals")
    };
    let interposed = |name| if image.is_library { of_executable(pid, name) } else { Ok(None) };
    Ok(Live {
        bias,
        executor_globals: address(&memory, bias, image.executor_globals, interposed(executor)?)?,
        sapi_globals: address(&memory, bias, image.sapi_globals, interposed(sapi)?)?,
    })
}

/// Address in the process of a symbol that its executable defines.
fn of_executable(pid: i32, name: &str) -> io::Result<Option<u64>> {
    let exe = PathBuf::from(format!("/proc/{pid}/exe"));
    let Ok(source) = Source::open(&exe) else { return Ok(None) };
    let Ok(elf) = Elf::parse(&source) else { return Ok(None) };
    let (Some(symbol), Some(first)) = (elf.symbols().find(name), elf.first_exec_vaddr()) else {
        return Ok(None);
    };
    Ok(Some(start_code(pid)?.wrapping_sub(first).wrapping_add(symbol.vaddr)))
}

fn address(memory: &Memory, bias: u64, globals: Globals, interposed: Option<u64>) -> io::Result<Address> {
    let at = |vaddr: u64| interposed.unwrap_or(bias.wrapping_add(vaddr));
    let offset = |vaddr| memory.u64(at(vaddr));
    match globals {
        Globals::Nts { vaddr } => Ok(Address::Fixed(at(vaddr))),
        Globals::Zts { tcb_offset, offset_vaddr } => {
            Ok(Address::Thread { tcb_offset, offset: offset(offset_vaddr)? })
        }
        Globals::ZtsLibrary { slot_vaddr, offset_vaddr } => {
            let tcb_offset = memory.u64(bias.wrapping_add(slot_vaddr))?.cast_signed();
            Ok(Address::Thread { tcb_offset, offset: offset(offset_vaddr)? })
        }
    }
}

/// Checks the offsets of an image against a process that runs it, through `/proc/PID/mem`: follows PHP's stack and
/// checks each frame. A running process changes what is read; so the check is repeated for up to half a second
/// until it holds. `pid` may be a thread id; for a thread-safe image the thread is stopped for an instant to read
/// its thread pointer. The error is one line that says what does not hold.
pub fn verify_live(pid: i32, image: &Image, bias: u64) -> Result<SelfCheck, String> {
    let live =
        resolve(pid, image, bias).map_err(|e| format!("cannot read the memory of process {pid}: {e}"))?;
    let pointer = if image.zts {
        thread_pointer(pid).map_err(|e| format!("cannot read the thread pointer of thread {pid}: {e}"))?
    } else {
        0
    };
    verify_at(pid, image, &live, pointer)
}

/// [`verify_live`] for whom knows where things are. `thread_pointer` is not used for an NTS image.
pub fn verify_at(pid: i32, image: &Image, live: &Live, thread_pointer: u64) -> Result<SelfCheck, String> {
    let memory = Memory::open(pid).map_err(|e| format!("cannot open the memory of process {pid}: {e}"))?;
    let check = Check { memory, image, offsets: image.offsets };
    let until = Instant::now() + Duration::from_millis(500);
    loop {
        match check.once(live, thread_pointer) {
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            Err(wrong) => return Err(wrong.to_string()),
            Ok(held) => return Ok(held),
        }
    }
}

/// Frames that are followed.
const FRAMES: usize = 16;
/// Of longer names only so much is read, and the end: whoever names functions must not make a check fail.
const NAME_MAX: u64 = 64 << 10;
/// At least the size of `zend_executor_globals`.
const EG_SIZE: u64 = 4096;

/// What does not hold.
enum Wrong {
    Read { what: &'static str, at: u64, error: io::Error },
    Frame { frame: usize, what: String },
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { what, at, error } => write!(f, "{what} at {at:#x} cannot be read: {error}"),
            Self::Frame { frame, what } => write!(f, "frame {frame}: {what}"),
        }
    }
}

struct Check<'a> {
    memory: Memory,
    image: &'a Image,
    offsets: Offsets,
}

impl Check<'_> {
    fn u64(&self, what: &'static str, at: u64) -> Result<u64, Wrong> {
        self.memory.u64(at).map_err(|error| Wrong::Read { what, at, error })
    }

    fn u32(&self, what: &'static str, at: u64) -> Result<u32, Wrong> {
        self.memory.u32(at).map_err(|error| Wrong::Read { what, at, error })
    }

    fn once(&self, live: &Live, thread_pointer: u64) -> Result<SelfCheck, Wrong> {
        let globals = match live.executor_globals {
            Address::Fixed(at) => at,
            // Not allocated before PHP has started, nor in a thread that never ran PHP.
            Address::Thread { offset: 0, .. } => return Ok(SelfCheck::Idle),
            Address::Thread { tcb_offset, offset } => {
                match self.u64("thread-local pointer", thread_pointer.wrapping_add_signed(tcb_offset))? {
                    0 => return Ok(SelfCheck::Idle),
                    base => base.wrapping_add(offset),
                }
            }
        };
        let first = globals.wrapping_add(self.offsets.eg_current_execute_data.into());
        let mut next = self.u64("executor_globals.current_execute_data", first)?;
        let mut frames = Vec::new();
        while next != 0 && frames.len() < FRAMES {
            let at = Place { globals, index: frames.len() };
            let function = self.u64("execute_data.func", next.wrapping_add(self.offsets.ed_func.into()))?;
            frames.push(self.frame(next, function, at)?);
            next =
                self.u64("execute_data.prev_execute_data", next.wrapping_add(self.offsets.ed_prev.into()))?;
        }
        match frames.iter().any(|frame| frame.kind != 0) {
            true => Ok(SelfCheck::Ok { frames }),
            false if frames.is_empty() => Ok(SelfCheck::Idle),
            // Frames without a function stand between others.
            false => Err(Place { globals, index: 0 }.wrong("no frame has a function".into())),
        }
    }

    fn frame(&self, execute_data: u64, function: u64, at: Place) -> Result<Frame, Wrong> {
        if function == 0 {
            return Ok(Frame::default());
        }
        let o = &self.offsets;
        let kind = self
            .memory
            .u8(function.wrapping_add(o.func_type.into()))
            .map_err(|error| Wrong::Read { what: "function.type", at: function, error })?;
        if ![o.type_internal, o.type_user, o.type_eval].contains(&kind) {
            return Err(at.wrong(format!("function.type is {kind}, not 1, 2 or 4")));
        }
        let flags = self.u32("function.fn_flags", function.wrapping_add(o.func_flags.into()))?;
        let name = self.u64("function.function_name", function.wrapping_add(o.func_name.into()))?;
        let scope = self.u64("function.scope", function.wrapping_add(o.func_scope.into()))?;
        let mut frame = Frame { kind, ..Frame::default() };
        if name != 0 {
            frame.function = self.string(name, at, "function name")?;
        }
        if scope != 0 {
            let class = self.u64("class_entry.name", scope.wrapping_add(o.class_name.into()))?;
            frame.class = Some(self.string(class, at, "class name")?);
        }
        if flags & o.acc_call_via_trampoline != 0 {
            // Neither code nor module: a stand-in made by the engine.
        } else if kind == o.type_internal {
            self.internal(function, at)?;
        } else {
            self.user(execute_data, function, at, &mut frame)?;
        }
        Ok(frame)
    }

    /// A handler, and no module or one that was built for this API.
    fn internal(&self, function: u64, at: Place) -> Result<(), Wrong> {
        let handler = self
            .u64("internal_function.handler", function.wrapping_add(self.offsets.internal_handler.into()))?;
        if handler == 0 {
            return Ok(()); // `zend_pass_function` and the like, at the bottom of a fiber
        }
        self.memory.u8(handler).map_err(|error| Wrong::Read { what: "handler", at: handler, error })?;
        let module =
            self.u64("internal_function.module", function.wrapping_add(self.offsets.internal_module.into()))?;
        if module == 0 {
            return Ok(());
        }
        let api = self.u32("module_entry.zend_api", module.wrapping_add(4))?;
        if api != self.image.api {
            return Err(at.wrong(format!("the function's module is for API {api}")));
        }
        Ok(())
    }

    fn user(&self, execute_data: u64, function: u64, at: Place, frame: &mut Frame) -> Result<(), Wrong> {
        let o = &self.offsets;
        let filename = self.u64("op_array.filename", function.wrapping_add(o.op_array_filename.into()))?;
        let file = self.string(filename, at, "file name")?;
        // Any other bytes may be a name: an uploaded file's must not make a check fail.
        if file.is_empty() {
            return Err(at.wrong("the file name is empty".to_owned()));
        }
        frame.file = Some(file);
        frame.line_start =
            Some(self.u32("op_array.line_start", function.wrapping_add(o.op_array_line_start.into()))?);
        let opcodes = self.u64("op_array.opcodes", function.wrapping_add(o.op_array_opcodes.into()))?;
        let last = self.u32("op_array.last", function.wrapping_add(o.op_array_last.into()))?;
        let opline = self.u64("execute_data.opline", execute_data.wrapping_add(o.ed_opline.into()))?;
        let size = u64::from(o.op_size);
        let within = opline.wrapping_sub(opcodes);
        if within < u64::from(last) * size && within.is_multiple_of(size) {
            frame.line = Some(self.u32("opline.lineno", opline.wrapping_add(o.op_lineno.into()))?);
            return Ok(());
        }
        // The innermost frame may keep its opline in a register; one that an exception unwinds points into the
        // globals.
        if at.index == 0 || opline.wrapping_sub(at.globals) < EG_SIZE {
            return Ok(());
        }
        Err(at.wrong(format!("opline {opline:#x} is outside the {last} opcodes at {opcodes:#x}")))
    }

    /// The contents of a `zend_string`, which must end where its length says; at most the first [`NAME_MAX`] bytes.
    fn string(&self, string: u64, at: Place, what: &'static str) -> Result<Vec<u8>, Wrong> {
        let len = self.u64(what, string.wrapping_add(self.offsets.string_len.into()))?;
        let mut bytes = vec![0; len.min(NAME_MAX) as usize];
        let value = string.wrapping_add(self.offsets.string_val.into());
        let end = value.wrapping_add(len);
        self.memory.read(value, &mut bytes).map_err(|error| Wrong::Read { what, at: value, error })?;
        let after = self.memory.u8(end).map_err(|error| Wrong::Read { what, at: end, error })?;
        if after != 0 || !may_be_a_name(&bytes) {
            return Err(at.wrong(format!("the {what} does not end where its length of {len} says")));
        }
        Ok(bytes)
    }
}

/// Names of anonymous classes, and of closures in them, go on after a NUL; those of `create_function` begin with one.
fn may_be_a_name(bytes: &[u8]) -> bool {
    let Some(end) = bytes.iter().position(|b| *b == 0) else { return true };
    contains(&bytes[..end], b"@anonymous") || bytes.starts_with(b"\0lambda_")
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|w| w == part)
}

/// Which frame is looked at.
#[derive(Clone, Copy)]
struct Place {
    globals: u64,
    index: usize,
}

impl Place {
    fn wrong(self, what: String) -> Wrong {
        Wrong::Frame { frame: self.index, what }
    }
}

/// The memory of a process.
struct Memory(File);

impl Memory {
    fn open(pid: i32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/mem")).map(Self)
    }

    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, at)
    }

    fn u8(&self, at: u64) -> io::Result<u8> {
        let mut byte = [0];
        self.read(at, &mut byte)?;
        Ok(byte[0])
    }

    fn u32(&self, at: u64) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.read(at, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn u64(&self, at: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.read(at, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// The thread pointer (`fs` base) of a thread. Stops it for an instant with ptrace, so it fails for one that is
/// being debugged; gives up after a second if the thread does not stop.
pub fn thread_pointer(tid: i32) -> io::Result<u64> {
    // A tracer is a thread; when it ends the kernel lets go of all it traces, whatever happened.
    std::thread::spawn(move || traced_thread_pointer(tid))
        .join()
        .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}

fn traced_thread_pointer(tid: i32) -> io::Result<u64> {
    ptrace(libc::PTRACE_SEIZE, tid, 0, 0)?;
    ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0)?;
    let status = wait_for_stop(tid)?;
    // SAFETY: all zeros is a value of this structure of integers.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    let read = ptrace(libc::PTRACE_GETREGS, tid, 0, std::ptr::from_mut(&mut registers) as usize);
    // A stop for a signal swallows it unless it is handed on.
    let signal = if status >> 16 == libc::PTRACE_EVENT_STOP { 0 } else { libc::WSTOPSIG(status) };
    ptrace(libc::PTRACE_DETACH, tid, 0, signal as usize)?;
    read.map(|()| registers.fs_base)
}

fn wait_for_stop(tid: i32) -> io::Result<i32> {
    let until = Instant::now() + Duration::from_secs(1);
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for an int.
        let waited = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL | libc::WNOHANG) };
        match waited {
            0 if Instant::now() < until => std::thread::sleep(Duration::from_micros(200)),
            0 => return Err(io::ErrorKind::TimedOut.into()),
            -1 => return Err(io::Error::last_os_error()),
            _ if libc::WIFSTOPPED(status) => return Ok(status),
            _ => return Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }
    }
}

fn ptrace(request: libc::c_uint, tid: i32, address: usize, data: usize) -> io::Result<()> {
    // SAFETY: the only request used here that writes to this process is PTRACE_GETREGS, and its caller passes the
    // address of a `user_regs_struct` that it owns.
    let result = unsafe { libc::ptrace(request, tid, address, data) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings() {
        let line = b"7f12a000-7f12b000 r--p 00000000 fd:01 1234                       /usr/lib/a b.so";
        let mapping = Mapping::parse(line).expect("a mapping");
        assert_eq!((mapping.start, mapping.offset, mapping.inode), (0x7f12_a000, 0, 1234));
        assert_eq!(mapping.path, Path::new("/usr/lib/a b.so"));
        assert!(Mapping::parse(b"7ffc000-7ffd000 rw-p 00000000 00:00 0       [stack]").is_none());
        assert!(Mapping::parse(b"7ffc000-7ffd000 rw-p 00000000 00:00 0 ").is_none());
        assert!(Mapping::parse(b"").is_none());
    }

    #[test]
    fn own_code_starts_where_the_kernel_says() {
        let start = start_code(std::process::id().cast_signed()).expect("start of own code");
        let code = own_code_starts_where_the_kernel_says as fn() as usize as u64;
        assert!(start <= code && code - start < 1 << 32);
    }

    #[test]
    fn own_thread_pointer_of_a_child() {
        let mut child = std::process::Command::new("sleep").arg("5").spawn().expect("sleep");
        let pid = child.id().cast_signed();
        std::thread::sleep(Duration::from_millis(100));
        let pointer = thread_pointer(pid).expect("thread pointer");
        // On x86-64 the thread control block starts with its own address.
        let memory = Memory::open(pid).expect("memory");
        assert_eq!(memory.u64(pointer).expect("thread control block"), pointer);
        child.kill().expect("kill");
        child.wait().expect("wait");
    }
}
