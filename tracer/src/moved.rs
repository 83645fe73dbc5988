//! PHP whose code is no longer its file's (`opcache.huge_code_pages=1`): at its start it copies its text to memory of
//! no file, with whatever probes were put there.
//!
//! A probe in a copy is an instruction that nobody handles: SIGTRAP ends the process at its first request. And where the
//! copy was made before the session, no probe reaches it: no request, and no name of a file, is seen.

use std::fs;

use anyhow::Result;
use introspect::FileId;

use crate::cli::{Args, hinted};

const HINT: &str = "set opcache.huge_code_pages=0 in php.ini, and start it again";

/// Refuses processes whose requests could not be seen.
pub fn check(args: &Args, images: &[FileId]) -> Result<()> {
    let wanted = |pid: i32| args.pid.is_empty() || args.pid.contains(&pid.unsigned_abs());
    for running in introspect::running(wanted) {
        let path = running.via_library.unwrap_or(running.exe);
        if !FileId::of(&path).is_ok_and(|file| images.contains(&file)) {
            continue;
        }
        let maps = fs::read_to_string(format!("/proc/{}/maps", running.pid)).unwrap_or_default();
        if !has_moved(&maps) {
            continue;
        }
        let why = format!(
            "process {} runs its code from memory of no file (opcache.huge_code_pages=1): nothing of its requests \
             would be seen",
            running.pid
        );
        if args.uid.is_none() && args.cgroup.is_empty() {
            return Err(hinted(why, HINT));
        }
        // It may be left out.
        crate::say(&format!("warning: {why}\nHint: {HINT}"));
    }
    Ok(())
}

/// What people should know of a process of PHP that ended with this status, as `wait()` has it.
pub fn ended_of_it(status: u32) -> Option<&'static str> {
    const SIGNAL: u32 = 0x7f;
    (status & SIGNAL == libc::SIGTRAP.unsigned_abs()).then_some(
        "warning: PHP died of SIGTRAP (status 133): with opcache.huge_code_pages=1 it copies its code with the probes \
         in it\nHint: set opcache.huge_code_pages=0 in php.ini, and start it again",
    )
}

/// A line of `/proc/PID/maps`.
struct Line<'a> {
    from: &'a str,
    to: &'a str,
    executable: bool,
    /// Device and inode.
    file: (&'a str, &'a str),
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (from, to) = fields.next()?.split_once('-')?;
        let executable = fields.next()?.contains('x');
        let file = (fields.nth(1)?, fields.next()?);
        Some(Self { from, to, executable, file })
    }

    fn has_file(&self) -> bool {
        self.file.1 != "0"
    }
}

/// Whether something else can be executed in the middle of a file's mappings.
fn has_moved(maps: &str) -> bool {
    let lines: Vec<Line> = maps.lines().filter_map(Line::parse).collect();
    lines.windows(3).any(|around| {
        let [before, line, after] = around else { return false };
        line.executable
            && before.has_file()
            && before.file == after.file
            && line.file != before.file
            && (before.to, line.to) == (line.from, after.from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "563269baa000-563269c95000 r--p 00000000 fe:00 101 /usr/sbin/php-fpm8.2\n\
                        563269c95000-563269fa1000 r-xp 000eb000 fe:00 101 /usr/sbin/php-fpm8.2\n\
                        563269fa1000-56326a088000 r--p 003f7000 fe:00 101 /usr/sbin/php-fpm8.2\n\
                        56326a088000-56326a11c000 rw-p 00000000 00:00 0\n";

    #[test]
    fn code_in_the_middle_of_a_file_that_is_not_its_own_was_moved() {
        let whole = "563269c95000-563269fa1000 r-xp 000eb000 fe:00 101 /usr/sbin/php-fpm8.2\n";
        assert!(FILE.contains(whole) && !has_moved(FILE));
        let in_part = "563269c95000-563269d00000 r-xp 000eb000 fe:00 101 /usr/sbin/php-fpm8.2\n\
                       563269d00000-563269f00000 r-xp 00000000 00:00 0\n\
                       563269f00000-563269fa1000 r-xp 00356000 fe:00 101 /usr/sbin/php-fpm8.2\n";
        assert!(has_moved(&FILE.replace(whole, in_part)));
        let all = "563269c95000-563269fa1000 r-xp 00000000 00:0f 77 /anon_hugepage (deleted)\n";
        assert!(has_moved(&FILE.replace(whole, all)));
        assert!(!has_moved(&FILE.replace(whole, "563269c95000-563269fa1000 rw-p 00000000 00:00 0\n")));
        assert!(!has_moved(&FILE.replace(whole, "563269c96000-563269fa1000 r-xp 00000000 00:00 0\n")));
        let own = fs::read_to_string("/proc/self/maps").expect("read the own mappings");
        assert!(!has_moved(&own));
    }

    #[test]
    fn a_trap_is_told_and_other_ends_are_not() {
        assert!(ended_of_it(5).is_some_and(|told| told.contains("huge_code_pages")));
        assert!(ended_of_it(5 | 0x80).is_some()); // with a core dump
        for other in [0, 9, 0x500, 133 << 8, 11] {
            assert!(ended_of_it(other).is_none(), "{other:#x}");
        }
    }
}
