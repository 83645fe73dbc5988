//! Statically defined probes: notes of type `stapsdt`.

use crate::elf::Elf;

/// One probe site. A probe may have several sites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsdtProbe {
    /// `php` for PHP's own.
    pub provider: String,
    /// As in the file, e.g. `function__entry`.
    pub name: String,
    /// Address of the site, less the load bias; corrected for prelinking.
    pub location: u64,
    /// File offset of the site, as uprobes want it.
    pub file_offset: u64,
    /// Address of the 2-byte semaphore, less the load bias; 0 for none.
    pub semaphore: u64,
    /// File offset of the semaphore, as `ref_ctr_offset` wants it; 0 for none.
    pub semaphore_file_offset: u64,
    /// Arguments in the assembler's words, e.g. `8@%rax 8@%rdx -4@%ecx`.
    pub args: String,
}

const NT_STAPSDT: u32 = 3;

/// All probes of the file; notes that make no sense are left out.
pub fn probes(elf: &Elf) -> Vec<UsdtProbe> {
    let base = elf.section(b".stapsdt.base").map(|(vaddr, _)| vaddr);
    let notes = elf.section_notes(b".note.stapsdt");
    notes
        .into_iter()
        .filter(|(owner, kind, _)| *owner == b"stapsdt" && *kind == NT_STAPSDT)
        .filter_map(|(_, _, desc)| probe(elf, base, desc))
        .collect()
}

/// A note is: location, link-time address of `.stapsdt.base`, semaphore (8 bytes each), then three strings.
fn probe(elf: &Elf, base: Option<u64>, desc: &[u8]) -> Option<UsdtProbe> {
    let (words, strings) = desc.split_at_checked(24)?;
    let [location, linked_base, semaphore] = [0, 8, 16].map(|at| word(words, at));
    let shift = base.unwrap_or(linked_base?).wrapping_sub(linked_base?);
    let location = location?.wrapping_add(shift);
    let semaphore = semaphore.filter(|s| *s != 0).map_or(0, |s| s.wrapping_add(shift));
    let mut strings = strings.split(|b| *b == 0);
    let mut text = || strings.next().map(|s| String::from_utf8_lossy(s).into_owned());
    Some(UsdtProbe {
        provider: text()?,
        name: text()?,
        args: text()?,
        location,
        file_offset: elf.file_offset(location)?,
        semaphore,
        semaphore_file_offset: if semaphore == 0 { 0 } else { elf.file_offset(semaphore)? },
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..)?.get(..8)?.try_into().ok()?))
}
