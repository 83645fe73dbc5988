//! Tells from an ELF file, without running it, whether it is PHP 7.4 to 8.5, and where a stack walker outside the
//! process finds what it needs; then checks that against a live process.
//!
//! Addresses called `vaddr` are those of the file: add the load bias of a process ([`load_bias`]) to get an address
//! in it. x86-64 and glibc only.

mod constants;
mod elf;
mod error;
mod find;
mod live;
mod offsets;
mod usdt;
mod zts;

use std::{
    fmt,
    path::{Path, PathBuf},
};

pub use error::Error;
pub use find::{Running, discover, running};
pub use live::{
    Address, Frame, Live, SelfCheck, load_bias, load_bias_from_maps, resolve, thread_pointer, verify_at,
    verify_live,
};
pub use offsets::{KNOWN, Minor, Offsets, by_api};
pub use usdt::UsdtProbe;

use elf::{Elf, Source, Symbols};

/// Larger files are refused, in bytes.
pub const MAX_FILE_SIZE: u64 = 512 << 20;

/// How PHP is hosted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sapi {
    /// `php`
    Cli,
    /// `php-fpm`
    Fpm,
    /// `php-cgi`
    Cgi,
    /// `libphp*.so` for Apache
    Apache,
    /// `libphp*.so` for any program
    Embed,
    /// `phpdbg`
    Phpdbg,
    /// `lsphp`
    Litespeed,
    /// None of these.
    Unknown,
}

impl fmt::Display for Sapi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cli => "cli",
            Self::Fpm => "fpm",
            Self::Cgi => "cgi",
            Self::Apache => "apache",
            Self::Embed => "embed",
            Self::Phpdbg => "phpdbg",
            Self::Litespeed => "litespeed",
            Self::Unknown => "unknown",
        })
    }
}

/// Where a structure of globals is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Globals {
    /// One for the process, at this address.
    Nts {
        /// Address in the file.
        vaddr: u64,
    },
    /// One for each thread: at `*(u64 *)(TP + tcb_offset) + *(u64 *)(bias + offset_vaddr)`, TP being the thread
    /// pointer (`task->thread.fsbase`).
    Zts {
        /// Added to the thread pointer; below 0.
        tcb_offset: i64,
        /// Address in the file of the exported `size_t …_globals_offset`.
        offset_vaddr: u64,
    },
    /// As `Zts`, but only the dynamic loader knows `tcb_offset`, and writes it to `slot_vaddr`: a thread-safe
    /// library. [`resolve`] reads it from a process.
    ZtsLibrary {
        /// Address in the file of the 8 bytes that hold `tcb_offset`.
        slot_vaddr: u64,
        /// Address in the file of the exported `size_t …_globals_offset`.
        offset_vaddr: u64,
    },
}

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Address in the file.
    pub vaddr: u64,
    /// Offset in the file in bytes, as uprobes want it.
    pub file_offset: u64,
}

/// Functions that begin and end requests, and that say where code comes from, where exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestSymbols {
    /// `php_request_startup`
    pub request_startup: Option<Symbol>,
    /// `php_request_shutdown`
    pub request_shutdown: Option<Symbol>,
    /// `php_module_shutdown`
    pub module_shutdown: Option<Symbol>,
    /// `compile_file`
    pub compile_file: Option<Symbol>,
    /// `php_unregister_url_stream_wrapper_volatile`
    pub unregister_wrapper: Option<Symbol>,
    /// `zend_multibyte_set_filter`: what is compiled is converted from another encoding
    pub set_encoding: Option<Symbol>,
    /// `zend_observer_fiber_init_notify`, which every new fiber is told to (from PHP 8.1 on)
    pub new_fiber: Option<Symbol>,
}

/// Where it is seen which file's name compiled code is given, and what stream it comes from. Addresses in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Naming {
    /// `zend_set_compiled_filename`: its argument is the name.
    pub named: Symbol,
    /// `zend_save_lexical_state`: what was compiled until now waits for other code.
    pub saved: Symbol,
    /// `language_scanner_globals` (or their offset, in a thread-safe build), which begin with the `zend_file_handle`
    /// that is compiled.
    pub scanner_vaddr: u64,
    /// `compiler_globals`, likewise: the name of what is compiled is in them.
    pub compiler_vaddr: u64,
    /// `_php_stream_read`: reads every stream of PHP's.
    pub stream_read_vaddr: u64,
    /// `php_plain_files_wrapper`: who opened a stream that is a file.
    pub plain_files_vaddr: u64,
}

/// What `stat` says a file is. Not what the kernel's own structures say on an overlay file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// `st_dev`
    pub dev: u64,
    /// `st_ino`
    pub inode: u64,
}

impl FileId {
    /// Of what is at a path.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).map(|about| Self { dev: about.dev(), inode: about.ino() })
    }
}

/// A PHP executable or `libphp*.so`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// As given to [`introspect`].
    pub path: PathBuf,
    /// The file that was read, also when the path has come to name another.
    pub id: FileId,
    /// How it hosts PHP.
    pub sapi: Sapi,
    /// Full version, e.g. `8.2.29` or `8.1.2-1ubuntu2.14`.
    pub version: Option<String>,
    /// Minor version.
    pub minor: Minor,
    /// Build, e.g. `API20220829,NTS`.
    pub abi: String,
    /// The number in the build, e.g. 20220829.
    pub api: u32,
    /// Thread-safe.
    pub zts: bool,
    /// Debug build.
    pub debug: bool,
    /// Not an executable: the globals may be interposed by the executable, see [`resolve`].
    pub is_library: bool,
    /// Offsets into the engine's structures.
    pub offsets: Offsets,
    /// `executor_globals`
    pub executor_globals: Globals,
    /// `sapi_globals`
    pub sapi_globals: Globals,
    /// Lowest address of an executable segment. For an executable, load bias = `mm->start_code` less this.
    pub first_exec_vaddr: u64,
    /// Address of the page that holds the start of the file. Load bias = start of the mapping of file offset 0
    /// less this.
    pub base_vaddr: u64,
    /// Request boundaries.
    pub symbols: RequestSymbols,
    /// `None` where nothing proves that all names are seen: inlined code.
    pub naming: Option<Naming>,
    /// Statically defined probes, of all providers.
    pub usdt: Vec<UsdtProbe>,
    /// GNU build id in hex.
    pub build_id: Option<String>,
}

/// Reads a file. Never panics, whatever the file holds; nothing in it is run.
pub fn introspect(path: &Path) -> Result<Image, Error> {
    let source = Source::open(path)?;
    let elf = Elf::parse(&source)?;
    let symbols = elf.symbols();
    if !elf.is_library() && elf.interpreter().is_none() {
        return Err(without_loader(&elf, path));
    }
    if !defines_engine(symbols) {
        return Err(Error::NotPhp { path: path.into() });
    }
    let constants = constants::read(&elf.constants());
    if is_musl(&elf) {
        return Err(Error::Musl { path: path.into() });
    }
    let abi_text = constants.abi.clone().unwrap_or_default();
    let unknown = || Error::UnknownAbi { path: path.into(), abi: abi_text.clone() };
    let abi = constants::parse_abi(&abi_text).ok_or_else(unknown)?;
    let (minor, offsets) = by_api(abi.api).ok_or_else(unknown)?;
    Ok(Image {
        path: path.into(),
        id: source.id,
        sapi: sapi(&constants, symbols),
        version: constants.version,
        minor,
        api: abi.api,
        zts: abi.zts,
        debug: abi.debug,
        is_library: elf.is_library(),
        offsets,
        executor_globals: globals(
            &elf,
            symbols,
            path,
            abi.zts,
            ["executor_globals", "executor_globals_offset"],
        )?,
        sapi_globals: globals(&elf, symbols, path, abi.zts, ["sapi_globals", "sapi_globals_offset"])?,
        first_exec_vaddr: elf.first_exec_vaddr().ok_or_else(|| elf.malformed("no executable segment"))?,
        base_vaddr: elf.base_vaddr().ok_or_else(|| elf.malformed("no segment with the start of the file"))?,
        symbols: request_symbols(&elf, symbols),
        naming: naming(&elf, symbols, abi.zts),
        usdt: usdt::probes(&elf),
        build_id: elf.build_id(),
        abi: abi_text,
    })
}

/// Whether the file defines the engine's globals, without reading its constants: a cheap first look.
fn looks_like_php(path: &Path) -> Result<bool, Error> {
    let source = Source::open(path)?;
    let elf = Elf::parse(&source)?;
    Ok((elf.is_library() || elf.interpreter().is_some()) && defines_engine(elf.symbols()))
}

/// Extensions and embedders refer to the globals; only the engine has its own functions beside them.
fn defines_engine(symbols: Symbols) -> bool {
    let (mut globals, mut engine) = (false, false);
    for (name, _) in symbols.defined() {
        match name {
            b"executor_globals" | b"executor_globals_offset" => globals = true,
            b"zend_execute" | b"zend_eval_string" | b"php_request_startup" => engine = true,
            _ => {}
        }
    }
    globals && engine
}

/// Why an executable without a dynamic loader is refused.
fn without_loader(elf: &Elf, path: &Path) -> Error {
    let path = path.into();
    match constants::read(&elf.constants()) {
        constants::Constants { abi: Some(_), .. } => Error::Static { path },
        _ => Error::NotPhp { path },
    }
}

fn is_musl(elf: &Elf) -> bool {
    let loader = elf.interpreter().is_some_and(|i| i.windows(7).any(|w| w == b"ld-musl"));
    loader || elf.needed().iter().any(|n| n.starts_with(b"libc.musl") || *n == b"libc.so")
}

fn sapi(constants: &constants::Constants, symbols: Symbols) -> Sapi {
    let debugger = || symbols.defined().any(|(name, _)| name.starts_with(b"phpdbg_"));
    match constants.sapi {
        Some(sapi) => sapi,
        None if debugger() => Sapi::Phpdbg,
        None => Sapi::Unknown,
    }
}

/// `names`: the symbol of an NTS build, that of a TS build.
fn globals(
    elf: &Elf,
    symbols: Symbols,
    path: &Path,
    zts: bool,
    names: [&'static str; 2],
) -> Result<Globals, Error> {
    let find =
        |name: &'static str| symbols.find(name).ok_or_else(|| Error::NoSymbol { path: path.into(), name });
    if !zts {
        return Ok(Globals::Nts { vaddr: find(names[0])?.vaddr });
    }
    let offset_vaddr = find(names[1])?.vaddr;
    let function = find(zts::TCB_OFFSET)?.vaddr;
    match zts::slot(elf, symbols, function) {
        Ok(zts::Slot::Fixed(tcb_offset)) => Ok(Globals::Zts { tcb_offset, offset_vaddr }),
        Ok(zts::Slot::Loaded(slot_vaddr)) => Ok(Globals::ZtsLibrary { slot_vaddr, offset_vaddr }),
        Err(why) => Err(Error::ZtsLayout { path: path.into(), why }),
    }
}

/// Only where the one function that compiles files calls the one that takes names: inlined, it would be passed by.
fn naming(elf: &Elf, symbols: Symbols, zts: bool) -> Option<Naming> {
    let find = |name| symbols.find(name);
    let [scanner, compiler] = if zts {
        ["language_scanner_globals_offset", "compiler_globals_offset"]
    } else {
        ["language_scanner_globals", "compiler_globals"]
    };
    let named = find("zend_set_compiled_filename")?;
    let (compile, open) = (find("compile_file")?, find("open_file_for_scanning")?);
    let told = elf.calls(compile, named) || (elf.calls(compile, open) && elf.calls(open, named));
    let saved = find("zend_save_lexical_state")?;
    let scans = ["compile_file", "compile_string", "highlight_file", "highlight_string"];
    if !told || !scans.iter().all(|name| find(name).is_some_and(|scan| elf.calls(scan, saved))) {
        return None;
    }
    Some(Naming {
        named: symbol(elf, named)?,
        saved: symbol(elf, saved)?,
        scanner_vaddr: find(scanner)?.vaddr,
        compiler_vaddr: find(compiler)?.vaddr,
        stream_read_vaddr: find("_php_stream_read")?.vaddr,
        plain_files_vaddr: find("php_plain_files_wrapper")?.vaddr,
    })
}

fn symbol(elf: &Elf, defined: elf::Defined) -> Option<Symbol> {
    Some(Symbol { vaddr: defined.vaddr, file_offset: elf.file_offset(defined.vaddr)? })
}

fn request_symbols(elf: &Elf, symbols: Symbols) -> RequestSymbols {
    let find = |name| symbol(elf, symbols.find(name)?);
    RequestSymbols {
        request_startup: find("php_request_startup"),
        request_shutdown: find("php_request_shutdown"),
        module_shutdown: find("php_module_shutdown"),
        compile_file: find("compile_file"),
        unregister_wrapper: find("php_unregister_url_stream_wrapper_volatile"),
        set_encoding: find("zend_multibyte_set_filter"),
        new_fiber: find("zend_observer_fiber_init_notify"),
    }
}
