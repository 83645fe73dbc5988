//! A bounded view of an x86-64 ELF file. Everything is found the way the dynamic loader finds it (program headers,
//! dynamic section), so a file without section headers works too; only `SystemTap` notes need sections.
//!
//! Reads go through a cache of ranges and never past the file's end, so a hostile file costs an error, no panic and
//! no allocation larger than itself.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use object::{
    LittleEndian, ReadCache, ReadRef, elf,
    read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader, Sym},
};

use crate::{Error, FileId, MAX_FILE_SIZE};

const LE: LittleEndian = LittleEndian;
/// More of one is not looked at.
const LARGEST_FUNCTION: u64 = 1 << 16;
type Header = elf::FileHeader64<LittleEndian>;
type Segment = elf::ProgramHeader64<LittleEndian>;

/// A defined dynamic symbol.
#[derive(Clone, Copy, Debug)]
pub struct Defined {
    pub vaddr: u64,
    /// Bytes; 0 where the file does not say.
    pub size: u64,
    pub thread_local: bool,
}

/// The file, opened once; its identity is that of the descriptor.
pub struct Source {
    pub path: PathBuf,
    pub id: FileId,
    cache: ReadCache<File>,
}

impl Source {
    /// Opens a regular file that starts like an ELF file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let io = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => Error::NotFound { path: path.into() },
            _ => Error::Io { path: path.into(), source },
        };
        // Without O_NONBLOCK, opening a FIFO would wait for a writer.
        let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        if !meta.is_file() {
            return Err(Error::NotElf { path: path.into(), interpreter: None });
        }
        if meta.size() > MAX_FILE_SIZE {
            return Err(Error::TooLarge { path: path.into(), size: meta.size() });
        }
        let mut start = Vec::new();
        (&mut file).take(256).read_to_end(&mut start).map_err(io)?;
        if !start.starts_with(&elf::ELFMAG) {
            return Err(Error::NotElf { path: path.into(), interpreter: shebang(&start) });
        }
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        let id = FileId { dev: meta.dev(), inode: meta.ino() };
        Ok(Self { path: path.into(), id, cache: ReadCache::new(file) })
    }

    fn malformed(&self, what: &'static str) -> Error {
        Error::Malformed { path: self.path.clone(), what }
    }
}

/// What the `#!` line at the start of a file names.
fn shebang(start: &[u8]) -> Option<String> {
    let line = start.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    Some(String::from_utf8_lossy(line).trim().chars().filter(|c| !c.is_control()).collect())
}

/// The parsed headers of a [`Source`].
pub struct Elf<'a> {
    source: &'a Source,
    header: &'a Header,
    segments: &'a [Segment],
    dynamic: Vec<(u64, u64)>,
}

impl<'a> Elf<'a> {
    /// Parses the headers. Refuses other machines.
    pub fn parse(source: &'a Source) -> Result<Self, Error> {
        check_machine(source)?;
        let data = &source.cache;
        let header = Header::parse(data).map_err(|_| source.malformed("file header"))?;
        let segments = header.program_headers(LE, data).map_err(|_| source.malformed("program headers"))?;
        let mut dynamic = Vec::new();
        for segment in segments {
            let Some(entries) = segment.dynamic(LE, data).map_err(|_| source.malformed("dynamic section"))?
            else {
                continue;
            };
            dynamic = entries
                .iter()
                .map(|e| (e.d_tag(LE), e.d_val(LE)))
                .take_while(|(tag, _)| *tag != u64::from(elf::DT_NULL))
                .collect();
            break;
        }
        Ok(Self { source, header, segments, dynamic })
    }

    pub fn malformed(&self, what: &'static str) -> Error {
        self.source.malformed(what)
    }

    /// Value of the first dynamic entry with this tag.
    fn dynamic(&self, tag: u32) -> Option<u64> {
        self.dynamic.iter().find(|(t, _)| *t == u64::from(tag)).map(|(_, value)| *value)
    }

    pub fn is_dynamic(&self) -> bool {
        !self.dynamic.is_empty()
    }

    /// A shared object that is not an executable.
    pub fn is_library(&self) -> bool {
        let pie = self.dynamic(elf::DT_FLAGS_1).is_some_and(|flags| flags & u64::from(elf::DF_1_PIE) != 0);
        self.header.e_type.get(LE) == elf::ET_DYN && self.is_dynamic() && !pie && self.interpreter().is_none()
    }

    /// The program that loads this one; `None` for libraries and static executables.
    pub fn interpreter(&self) -> Option<&'a [u8]> {
        self.segments.iter().find_map(|s| s.interpreter(LE, &self.source.cache).ok().flatten())
    }

    /// File offset of an address, if the file backs it.
    pub fn file_offset(&self, vaddr: u64) -> Option<u64> {
        let (offset, _) = self.backing(vaddr)?;
        Some(offset)
    }

    /// File offset of an address, and how many bytes of its segment follow in the file.
    fn backing(&self, vaddr: u64) -> Option<(u64, u64)> {
        self.loads().find_map(|s| {
            let within = vaddr.checked_sub(s.p_vaddr(LE))?;
            let left = s.p_filesz(LE).checked_sub(within).filter(|left| *left > 0)?;
            Some((s.p_offset(LE).checked_add(within)?, left))
        })
    }

    /// Bytes at an address, from the file; at most to the end of their segment.
    pub fn bytes_at(&self, vaddr: u64, len: u64) -> Option<&'a [u8]> {
        let (offset, left) = self.backing(vaddr)?;
        self.source.cache.read_bytes_at(offset, len.min(left)).ok()
    }

    /// Whether the code of one function calls the other: by its address, as within one executable, or by what the
    /// dynamic loader is to write into a table, as in a library.
    pub fn calls(&self, from: Defined, to: Defined) -> bool {
        let code = self.bytes_at(from.vaddr, from.size.min(LARGEST_FUNCTION)).unwrap_or_default();
        code.windows(6).zip(from.vaddr..).any(|(bytes, at)| {
            let target = match *bytes {
                // `call` and `jmp`
                [0xe8 | 0xe9, a, b, c, d, _] => relative(at.wrapping_add(5), [a, b, c, d]),
                [0xff, 0x15 | 0x25, a, b, c, d] => {
                    return self.loads_address_of(relative(at.wrapping_add(6), [a, b, c, d]), to);
                }
                _ => return false,
            };
            target == to.vaddr || self.stub_slot(target).is_some_and(|slot| self.loads_address_of(slot, to))
        })
    }

    /// The table's slot that a stub of the linker's jumps by.
    fn stub_slot(&self, vaddr: u64) -> Option<u64> {
        let start = self.bytes_at(vaddr, 11)?;
        let code = start.strip_prefix(&[0xf3, 0x0f, 0x1e, 0xfa]).unwrap_or(start); // endbr64
        let code = code.strip_prefix(&[0xf2]).unwrap_or(code); // bnd
        let [0xff, 0x25, a, b, c, d, rest @ ..] = code else { return None };
        Some(relative(vaddr.wrapping_add((start.len() - rest.len()) as u64), [*a, *b, *c, *d]))
    }

    /// Whether the dynamic loader writes this function's address there.
    fn loads_address_of(&self, slot: u64, function: Defined) -> bool {
        let symbol = self.relocation_of(slot).map(|(_, symbol, _)| symbol);
        symbol.is_some_and(|symbol| self.symbols().value(symbol) == Some(function.vaddr))
    }

    fn loads(&self) -> impl Iterator<Item = &'a Segment> {
        self.segments.iter().filter(|s| s.p_type(LE) == elf::PT_LOAD)
    }

    /// Lowest address of an executable segment: the kernel's `mm->start_code` less the load bias.
    pub fn first_exec_vaddr(&self) -> Option<u64> {
        self.loads().filter(|s| s.p_flags(LE) & elf::PF_X != 0).map(|s| s.p_vaddr(LE)).min()
    }

    /// Address at which the start of the file is mapped, less the load bias; rounded down to a page.
    pub fn base_vaddr(&self) -> Option<u64> {
        self.loads()
            .find(|s| s.p_offset(LE) < 4096)
            .map(|s| s.p_vaddr(LE).wrapping_sub(s.p_offset(LE)) & !4095)
    }

    /// Size of the executable's block of thread-local variables, rounded up to its alignment: how far below the
    /// thread pointer it starts. `None` without such a segment.
    pub fn tls_size(&self) -> Option<u64> {
        let tls = self.segments.iter().find(|s| s.p_type(LE) == elf::PT_TLS)?;
        tls.p_memsz(LE).checked_next_multiple_of(tls.p_align(LE).max(1))
    }

    /// Contents of what is mapped read-only, where the string constants are: the read-only data section, or every
    /// segment that is not writable.
    pub fn constants(&self) -> Vec<&'a [u8]> {
        if let Some(rodata) = self.section(b".rodata") {
            return vec![rodata.1];
        }
        self.loads()
            .filter(|s| s.p_flags(LE) & elf::PF_W == 0)
            .filter_map(|s| s.data(LE, &self.source.cache).ok())
            .collect()
    }

    /// Address and contents of a section.
    pub fn section(&self, name: &[u8]) -> Option<(u64, &'a [u8])> {
        let data = &self.source.cache;
        let sections = self.header.sections(LE, data).ok()?;
        let (_, section) = sections.section_by_name(LE, name)?;
        Some((section.sh_addr(LE), section.data(LE, data).ok()?))
    }

    /// Owner, type and contents of every note of a section.
    pub fn section_notes(&self, name: &[u8]) -> Vec<(&'a [u8], u32, &'a [u8])> {
        let data = &self.source.cache;
        let Ok(sections) = self.header.sections(LE, data) else { return Vec::new() };
        let Some((_, section)) = sections.section_by_name(LE, name) else { return Vec::new() };
        let Ok(Some(mut notes)) = section.notes(LE, data) else { return Vec::new() };
        let mut all = Vec::new();
        while let Ok(Some(note)) = notes.next() {
            all.push((note.name(), note.n_type(LE), note.desc()));
        }
        all
    }

    /// The GNU build id in hex; `None` if there is none or it is absurdly long.
    pub fn build_id(&self) -> Option<String> {
        for segment in self.segments {
            let Ok(Some(mut notes)) = segment.notes(LE, &self.source.cache) else { continue };
            while let Ok(Some(note)) = notes.next() {
                if note.name() == elf::ELF_NOTE_GNU
                    && note.n_type(LE) == elf::NT_GNU_BUILD_ID
                    && note.desc().len() <= 64
                {
                    return Some(hex(note.desc()));
                }
            }
        }
        None
    }

    /// Names of the libraries that the file asks for.
    pub fn needed(&self) -> Vec<&'a [u8]> {
        let Some(strings) = self.dynamic_strings() else { return Vec::new() };
        let needed = self.dynamic.iter().filter(|(tag, _)| *tag == u64::from(elf::DT_NEEDED));
        needed.filter_map(|(_, offset)| string_at(strings, *offset)).collect()
    }

    fn dynamic_strings(&self) -> Option<&'a [u8]> {
        self.bytes_at(self.dynamic(elf::DT_STRTAB)?, self.dynamic(elf::DT_STRSZ)?)
    }

    /// The dynamic symbols. Empty if there are none or they contradict the file.
    pub fn symbols(&self) -> Symbols<'a> {
        self.try_symbols().unwrap_or(Symbols { symbols: &[], strings: &[] })
    }

    fn try_symbols(&self) -> Option<Symbols<'a>> {
        let strings = self.dynamic_strings()?;
        let (offset, left) = self.backing(self.dynamic(elf::DT_SYMTAB)?)?;
        let fit = left / size_of::<elf::Sym64<LittleEndian>>() as u64;
        let count = self.symbol_count()?.min(fit);
        let symbols = self.source.cache.read_slice_at(offset, usize::try_from(count).ok()?).ok()?;
        Some(Symbols { symbols, strings })
    }

    /// How many dynamic symbols there are; the file tells only through its hash tables.
    fn symbol_count(&self) -> Option<u64> {
        if let Some(table) = self.dynamic(elf::DT_HASH) {
            return Some(u64::from(self.u32_at(table.checked_add(4)?)?));
        }
        gnu_symbol_count(self.bytes_at(self.dynamic(elf::DT_GNU_HASH)?, u64::MAX)?)
    }

    fn u32_at(&self, vaddr: u64) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes_at(vaddr, 4)?.try_into().ok()?))
    }

    /// Type, symbol index and addend of the relocation applied to an address.
    pub fn relocation_of(&self, vaddr: u64) -> Option<(u32, u32, i64)> {
        let tables = [(elf::DT_RELA, elf::DT_RELASZ), (elf::DT_JMPREL, elf::DT_PLTRELSZ)];
        let relocations =
            tables.into_iter().flat_map(|(table, size)| self.relocations(table, size).unwrap_or_default());
        let found = relocations.into_iter().find(|r| r.r_offset.get(LE) == vaddr)?;
        Some((found.r_type(LE, false), found.r_sym(LE, false), found.r_addend.get(LE)))
    }

    fn relocations(&self, table: u32, size: u32) -> Option<&'a [elf::Rela64<LittleEndian>]> {
        let table = self.bytes_at(self.dynamic(table)?, self.dynamic(size)?)?;
        let count = table.len() / size_of::<elf::Rela64<LittleEndian>>();
        Some(object::pod::slice_from_bytes(table, count).ok()?.0)
    }
}

/// What is this far from the end of an instruction.
fn relative(end: u64, distance: [u8; 4]) -> u64 {
    end.wrapping_add_signed(i32::from_le_bytes(distance).into())
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble| char::from_digit(u32::from(nibble), 16).unwrap_or('?');
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

/// One more than the highest symbol index in a GNU hash table (which may be followed by anything).
fn gnu_symbol_count(table: &[u8]) -> Option<u64> {
    let word = |index: usize| {
        let bytes = table.get(index.checked_mul(4)?..)?.get(..4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let (buckets, first, bloom) = (word(0)? as usize, word(1)?, word(2)? as usize);
    let start = bloom.checked_mul(2)?.checked_add(4)?;
    let chains = start.checked_add(buckets)?;
    let last_chain = table.get(start.checked_mul(4)?..chains.checked_mul(4)?)?.as_chunks::<4>().0.iter();
    let mut last = last_chain.map(|b| u32::from_le_bytes(*b)).max()?;
    if last < first {
        return Some(u64::from(first));
    }
    // The lowest bit marks the end of a chain; the table's end bounds the loop.
    while word(chains.checked_add((last - first) as usize)?)? & 1 == 0 {
        last = last.checked_add(1)?;
    }
    Some(u64::from(last) + 1)
}

fn check_machine(source: &Source) -> Result<(), Error> {
    let ident: &[u8] = source.cache.read_bytes_at(0, 20).map_err(|()| source.malformed("file header"))?;
    let (class, order) = (ident[4], ident[5]);
    let raw = [ident[18], ident[19]];
    let machine = match order {
        elf::ELFDATA2LSB => u16::from_le_bytes(raw),
        elf::ELFDATA2MSB => u16::from_be_bytes(raw),
        _ => return Err(source.malformed("byte order")),
    };
    if machine == elf::EM_X86_64 && class == elf::ELFCLASS64 && order == elf::ELFDATA2LSB {
        return Ok(());
    }
    Err(Error::NotX86_64 { path: source.path.clone(), machine: machine_name(machine, class, order) })
}

fn machine_name(machine: u16, class: u8, order: u8) -> String {
    let name = match machine {
        elf::EM_386 => "i386",
        elf::EM_X86_64 if class == elf::ELFCLASS32 => "x32",
        elf::EM_X86_64 => "big-endian x86-64",
        elf::EM_AARCH64 => "aarch64",
        elf::EM_ARM => "arm",
        elf::EM_RISCV => "riscv",
        elf::EM_PPC64 if order == elf::ELFDATA2LSB => "ppc64le",
        elf::EM_PPC64 => "ppc64",
        elf::EM_S390 => "s390x",
        elf::EM_LOONGARCH => "loongarch",
        elf::EM_MIPS => "mips",
        _ => return format!("ELF machine {machine}"),
    };
    name.into()
}

fn string_at(strings: &[u8], offset: u64) -> Option<&[u8]> {
    let rest = strings.get(usize::try_from(offset).ok()?..)?;
    rest.split(|b| *b == 0).next()
}

/// The dynamic symbol table.
#[derive(Clone, Copy)]
pub struct Symbols<'a> {
    symbols: &'a [elf::Sym64<LittleEndian>],
    strings: &'a [u8],
}

impl<'a> Symbols<'a> {
    /// Names and places of all defined symbols.
    pub fn defined(self) -> impl Iterator<Item = (&'a [u8], Defined)> {
        self.symbols.iter().filter(|s| s.st_shndx(LE) != elf::SHN_UNDEF).filter_map(move |s| {
            let thread_local = s.st_type() == elf::STT_TLS;
            let place = Defined { vaddr: s.st_value(LE), size: s.st_size(LE), thread_local };
            Some((string_at(self.strings, u64::from(s.st_name(LE)))?, place))
        })
    }

    /// A defined symbol by name; among versions of one name the first.
    pub fn find(self, name: &str) -> Option<Defined> {
        self.defined().find(|(n, place)| *n == name.as_bytes() && !place.thread_local).map(|(_, place)| place)
    }

    /// Value of a symbol by its index, if this file defines it.
    pub fn value(self, index: u32) -> Option<u64> {
        let symbol = self.symbols.get(usize::try_from(index).ok()?)?;
        (symbol.st_shndx(LE) != elf::SHN_UNDEF).then(|| symbol.st_value(LE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shebang_names_the_interpreter() {
        assert_eq!(shebang(b"#!/usr/bin/env php\n<?php").as_deref(), Some("/usr/bin/env php"));
        assert_eq!(shebang(b"<?php"), None);
    }

    #[test]
    fn gnu_hash_counts_symbols() {
        // One bucket, first symbol 1, one bloom word, chain of symbols 1, 2, 3.
        let words: [u32; 9] = [1, 1, 1, 0, 0, 0, 1, 2 << 1, 4 << 1];
        let mut table: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        table.extend(7u32.to_le_bytes());
        assert_eq!(gnu_symbol_count(&table), Some(4));
        assert_eq!(gnu_symbol_count(&table[..36]), None, "a chain without an end");
        assert_eq!(gnu_symbol_count(&[0xff; 64]), None);
    }
}
