//! The contract with the C side: everything that `intf.h` declares, and its tables.
//!
//! Types and constants are generated; their sizes and offsets are asserted when
//! this crate is compiled.

use std::ffi::{CStr, c_char};
use std::sync::LazyLock;

pub use generated::*;

#[allow(non_camel_case_types, non_upper_case_globals, non_snake_case)] // the names are C's
#[allow(missing_docs, clippy::all, clippy::pedantic, clippy::undocumented_unsafe_blocks)] // generated
mod generated {
    include!(concat!(env!("OUT_DIR"), "/intf.rs"));
}

/// One row of the call table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The x86-64 number.
    pub nr: u16,
    /// The kernel's name.
    pub name: &'static str,
    /// Bits of `enum call_set`.
    pub sets: u8,
    /// `enum class_kind`: how the argument class is found.
    pub class_kind: u8,
    /// The argument (from 0) that the class is found in.
    pub class_arg: u8,
    /// One letter an argument, see `intf.h`.
    pub args: &'static str,
}

#[repr(C)]
struct CallRow {
    name: *const c_char,
    args: *const c_char,
    nr: u16,
    sets: u8,
    class_kind: u8,
    class_arg: u8,
}

#[repr(C)]
struct StatRow {
    name: *const c_char,
    text: *const c_char,
}

unsafe extern "C" {
    static shared_calls: [CallRow; 0];
    static shared_calls_len: u64;
    static shared_stats: [StatRow; 0];
    static shared_stats_len: u64;
}

/// # Safety
/// `text` is a NUL-terminated literal of `tables.c`.
unsafe fn literal(text: *const c_char) -> &'static str {
    // SAFETY: the caller's promise; literals live as long as the program.
    unsafe { CStr::from_ptr(text) }.to_str().expect("tables are ASCII")
}

static CALLS: LazyLock<Vec<Call>> = LazyLock::new(|| {
    // SAFETY: `tables.c` defines the array with exactly that many rows, of this layout.
    let rows = unsafe {
        std::slice::from_raw_parts((&raw const shared_calls).cast::<CallRow>(), shared_calls_len as usize)
    };
    rows.iter()
        .map(|row| Call {
            nr: row.nr,
            // SAFETY: a literal of `tables.c`.
            name: unsafe { literal(row.name) },
            sets: row.sets,
            class_kind: row.class_kind,
            class_arg: row.class_arg,
            // SAFETY: a literal of `tables.c`.
            args: unsafe { literal(row.args) },
        })
        .collect()
});

static BY_NR: LazyLock<Vec<Option<&'static Call>>> = LazyLock::new(|| {
    let mut table = vec![None; NR_MAX as usize];
    for call in calls() {
        table[usize::from(call.nr)] = Some(call);
    }
    table
});

static STATS: LazyLock<Vec<(&'static str, &'static str)>> = LazyLock::new(|| {
    // SAFETY: `tables.c` defines the array with exactly that many rows, of this layout.
    let rows = unsafe {
        std::slice::from_raw_parts((&raw const shared_stats).cast::<StatRow>(), shared_stats_len as usize)
    };
    // SAFETY: literals of `tables.c`.
    rows.iter().map(|row| unsafe { (literal(row.name), literal(row.text)) }).collect()
});

/// Every call that the table knows, by ascending number.
pub fn calls() -> &'static [Call] {
    &CALLS
}

/// The call with this number, if the table knows it.
pub fn call(nr: u32) -> Option<&'static Call> {
    BY_NR.get(nr as usize).copied().flatten()
}

/// The counters in the order of `enum stat`: (name, what it counts).
pub fn stats() -> &'static [(&'static str, &'static str)] {
    &STATS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_below_the_pseudo_calls() {
        assert!(calls().windows(2).all(|pair| pair[0].nr < pair[1].nr));
        assert!(calls().iter().all(|call| u32::from(call.nr) < NR_EXEC));
        assert_eq!(call(87).map(|call| call.name), Some("unlink"));
        assert_eq!(call(0).map(|call| call.name), Some("read"));
        assert!(call(337).is_none() && call(NR_EXEC).is_none() && call(u32::MAX).is_none());
    }

    #[test]
    fn every_argument_letter_is_known() {
        for call in calls() {
            assert!(call.args.len() <= 6, "{}", call.name);
            assert!(call.args.bytes().all(|c| b"pqPdfomFncsiDtalMrCK".contains(&c)), "{}", call.name);
        }
    }

    #[test]
    fn there_is_a_text_for_every_counter() {
        assert_eq!(stats().len(), STAT_MAX as usize);
        assert_eq!(stats()[STAT_CALLS as usize].0, "CALLS");
        assert_eq!(stats()[STAT_USDT_DEEP as usize].0, "USDT_DEEP");
    }

    #[test]
    fn records_have_the_layout_that_their_readers_assume() {
        assert_eq!(size_of::<site_name>(), 8 + 3 * NAME_ROOM as usize);
        assert_eq!(size_of::<call_desc>(), 24);
        assert_eq!(OPS_MAX, 8192);
    }
}
