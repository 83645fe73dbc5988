//! Where a thread-safe PHP keeps its globals.
//!
//! `EG = *(void **)(TP + tcb) + executor_globals_offset`. The displacement `tcb` of the thread-local pointer is what
//! the exported function `tsrm_get_ls_cache_tcb_offset` returns, in one instruction that is decoded here.

use object::elf::R_X86_64_TPOFF64;

use crate::elf::{Elf, Symbols};

/// Name of the function that is decoded.
pub const TCB_OFFSET: &str = "tsrm_get_ls_cache_tcb_offset";

/// Where the displacement of the thread-local pointer is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Known from the file.
    Fixed(i64),
    /// Written by the dynamic loader into the 8 bytes at this address.
    Loaded(u64),
}

/// What the machine code returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Immediate(i32),
    /// The 8 bytes at this address.
    Load(u64),
}

const NO_SLOT: &str = "tsrm_get_ls_cache_tcb_offset returns 0";
const STRANGE: &str = "tsrm_get_ls_cache_tcb_offset is not the code of a known compiler";

/// Reads the code at `vaddr` and the relocation it refers to. The error says what was found instead.
pub fn slot(elf: &Elf, symbols: Symbols, vaddr: u64) -> Result<Slot, &'static str> {
    let code = elf.bytes_at(vaddr, 32).ok_or(STRANGE)?;
    let address = match decode(code, vaddr).ok_or(STRANGE)? {
        Code::Immediate(0) => return Err(NO_SLOT),
        Code::Immediate(offset) => return Ok(Slot::Fixed(i64::from(offset))),
        Code::Load(address) => address,
    };
    if elf.is_library() {
        return match elf.relocation_of(address) {
            Some((R_X86_64_TPOFF64, ..)) => Ok(Slot::Loaded(address)),
            _ => Err("the slot that tsrm_get_ls_cache_tcb_offset loads has no TPOFF64 relocation"),
        };
    }
    in_executable(elf, symbols, address)
        .ok_or("the slot that tsrm_get_ls_cache_tcb_offset loads cannot be computed")
}

/// An executable's own thread-local block ends at the thread pointer.
fn in_executable(elf: &Elf, symbols: Symbols, address: u64) -> Option<Slot> {
    let offset = match elf.relocation_of(address) {
        Some((R_X86_64_TPOFF64, symbol, addend)) => {
            let value = if symbol == 0 { 0 } else { symbols.value(symbol)? };
            value.cast_signed().checked_add(addend)?.checked_sub(i64::try_from(elf.tls_size()?).ok()?)?
        }
        Some(_) => return None,
        None => i64::from_le_bytes(elf.bytes_at(address, 8)?.try_into().ok()?),
    };
    (offset != 0).then_some(Slot::Fixed(offset))
}

/// Decodes `mov $imm32, %rax`, `mov disp32(%rip), %rax` or `xor %eax, %eax`, after an optional `endbr64` and an
/// optional frame set-up, each followed by the return.
fn decode(code: &[u8], vaddr: u64) -> Option<Code> {
    let start = code.len();
    let code = code.strip_prefix(&[0xf3, 0x0f, 0x1e, 0xfa]).unwrap_or(code);
    let code = code.strip_prefix(&[0x55, 0x48, 0x89, 0xe5]).unwrap_or(code);
    if let [0x31 | 0x33, 0xc0, ..] = code {
        return Some(Code::Immediate(0));
    }
    let [a, b, c, i0, i1, i2, i3, rest @ ..] = code else { return None };
    let immediate = i32::from_le_bytes([*i0, *i1, *i2, *i3]);
    match [*a, *b, *c] {
        [0x48, 0xc7, 0xc0] => Some(Code::Immediate(immediate)),
        [0x48, 0x8b, 0x05] => {
            let next = vaddr.checked_add((start - rest.len()) as u64)?;
            Some(Code::Load(next.checked_add_signed(i64::from(immediate))?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_an_executable_and_a_library() {
        let executable = [0x48, 0xc7, 0xc0, 0xe8, 0xff, 0xff, 0xff, 0xc3];
        assert_eq!(decode(&executable, 0x39_adcf), Some(Code::Immediate(-24)));
        let library = [0x48, 0x8b, 0x05, 0xae, 0x73, 0x31, 0x00, 0xc3];
        assert_eq!(decode(&library, 0x27_65bb), Some(Code::Load(0x58_d970)));
    }

    #[test]
    fn decodes_after_endbr64_and_a_frame() {
        let code = [0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x48, 0x89, 0xe5, 0x48, 0x8b, 0x05, 0x10, 0, 0, 0, 0xc3];
        assert_eq!(decode(&code, 0x1000), Some(Code::Load(0x1000 + 15 + 0x10)));
    }

    #[test]
    fn zero_and_the_unknown() {
        assert_eq!(decode(&[0x31, 0xc0, 0xc3], 0), Some(Code::Immediate(0)));
        assert_eq!(decode(&[0x48, 0xc7, 0xc0, 0], 0), None);
        assert_eq!(decode(&[0x48, 0x8b, 0x05, 0, 0, 0, 0x80, 0xc3], 0), None, "below address 0");
        assert_eq!(decode(&[], 0), None);
    }
}
