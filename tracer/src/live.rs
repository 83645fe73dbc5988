//! The live line: counts that stay below everything else a session tells on a terminal.
//!
//! Everything for people goes through here, also where there is no such line: who writes past it to the same
//! terminal has the line's rest beside their own text. Only numbers and the tracer's own words are drawn;
//! names that a subject chose would let it write escapes to the terminal at will.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{getpgrp, tcgetpgrp};
use terminal_size::{Width, terminal_size_of};

use crate::cli::Args;

/// Nobody reads faster, and drawing must not cost what counting does not.
pub const REDRAW_EVERY: Duration = Duration::from_millis(250);

const CLEAR: &str = "\r\x1b[2K";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";
/// Of a terminal that does not tell, as serial ones do not.
const USUAL_COLUMNS: usize = 80;
/// Left free: the `^C` that the terminal echoes must not wrap, only the last row could be cleared again.
const ROOM: usize = 3;

static LINE: Mutex<Line> = Mutex::new(Line::new());

/// Whether a session has one. Not with COMMAND: its own output goes to the same terminal, past [`say`].
/// Not with events on it, for the same reason.
pub fn suits(args: &Args) -> bool {
    let events_here = args.events.as_deref() == Some(Path::new("-")) && stdout().is_terminal();
    args.command.is_empty() && !events_here && takes_escapes()
}

/// Whether stderr may have colour.
pub fn takes_color() -> bool {
    std::env::var_os("NO_COLOR").is_none() && takes_escapes()
}

fn takes_escapes() -> bool {
    stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A line for people, above the live one.
pub fn say(text: &str) {
    let mut line = line();
    let screen = line.is_wanted().then(Screen::now).flatten();
    write(&line.say(text, screen));
}

/// Draws these counts, if they are not there already.
pub fn show(counts: &str) {
    let mut line = line();
    // A terminal that was stopped (Ctrl-S) would keep the caller, and everybody who has something to say.
    if !line.ended && is_writable() {
        write(&line.show(counts, Screen::now()));
    }
}

/// Clears it for good: whatever a thread would still draw must not be left behind by the process.
pub fn end() {
    let mut line = line();
    let screen = line.is_wanted().then(Screen::now).flatten();
    write(line.end(screen));
}

/// A thread that panicked while it wrote has left nothing half done that the next one could not clear.
fn line() -> MutexGuard<'static, Line> {
    LINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In one piece: others write to the same terminal.
fn write(output: &str) {
    if !output.is_empty() {
        let _ = stderr().lock().write_all(output.as_bytes());
    }
}

fn is_writable() -> bool {
    let stderr = stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// The terminal, as far as it is this process' to draw on.
#[derive(Clone, Copy)]
struct Screen {
    columns: usize,
    color: bool,
}

impl Screen {
    /// Of this moment: windows change their size, jobs go to the background.
    fn now() -> Option<Self> {
        if in_background() {
            return None;
        }
        let columns = terminal_size_of(stderr()).map_or(USUAL_COLUMNS, |(Width(w), _)| usize::from(w));
        Some(Self { columns, color: takes_color() })
    }
}

/// There the last row is the shell's prompt. A terminal that is not the controlling one has no jobs.
fn in_background() -> bool {
    tcgetpgrp(stderr()).is_ok_and(|foreground| foreground != getpgrp())
}

/// What is drawn, and what should be. Its functions return what is to be written.
struct Line {
    counts: String,
    /// On the screen now, as it was fitted in; empty: nothing.
    drawn: String,
    ended: bool,
}

impl Line {
    const fn new() -> Self {
        Self { counts: String::new(), drawn: String::new(), ended: false }
    }

    fn is_wanted(&self) -> bool {
        !self.counts.is_empty()
    }

    fn say(&mut self, text: &str, screen: Option<Screen>) -> String {
        // Drawn again at once: between many lines it would flicker.
        let cleared = self.clear(screen);
        format!("{cleared}{text}\n{}", self.draw(screen))
    }

    fn show(&mut self, counts: &str, screen: Option<Screen>) -> String {
        counts.clone_into(&mut self.counts);
        if screen.is_some_and(|s| fit(&self.counts, s.columns) == self.drawn) {
            return String::new();
        }
        self.clear(screen).to_owned() + &self.draw(screen)
    }

    fn end(&mut self, screen: Option<Screen>) -> &'static str {
        self.counts.clear();
        self.ended = true;
        self.clear(screen)
    }

    /// In the background it is only forgotten: the row may be somebody else's by now.
    fn clear(&mut self, screen: Option<Screen>) -> &'static str {
        let was_drawn = !std::mem::take(&mut self.drawn).is_empty();
        if was_drawn && screen.is_some() { CLEAR } else { "" }
    }

    fn draw(&mut self, screen: Option<Screen>) -> String {
        let Some(screen) = screen else { return String::new() };
        self.drawn = fit(&self.counts, screen.columns);
        match (self.drawn.is_empty(), screen.color) {
            (true, _) => String::new(),
            (false, true) => format!("{DIM}{}{PLAIN}", self.drawn),
            (false, false) => self.drawn.clone(),
        }
    }
}

/// As much as fits into one row. A character is a column: there are only the tracer's own words.
fn fit(counts: &str, columns: usize) -> String {
    let room = columns.saturating_sub(ROOM);
    if counts.chars().count() <= room {
        return counts.to_owned();
    }
    let kept: String = counts.chars().take(room.saturating_sub(1)).collect();
    if kept.is_empty() { kept } else { kept + "…" }
}

#[cfg(test)]
mod tests {
    use super::{CLEAR, Line, Screen, fit};

    const WIDE: Option<Screen> = Some(Screen { columns: 80, color: false });
    const SMALL: Option<Screen> = Some(Screen { columns: 9, color: false });

    #[test]
    fn a_line_is_never_longer_than_the_screen() {
        let counts = "monitor: 3 violations, 1 let through; 12 calls allowed";
        for columns in 0..=counts.len() + 10 {
            let fitted = fit(counts, columns);
            assert!(fitted.chars().count() <= columns.saturating_sub(super::ROOM), "{columns}: {fitted}");
            let whole = columns >= counts.len() + super::ROOM;
            assert_eq!(fitted == counts, whole, "{columns}: {fitted}");
            assert_eq!(fitted.ends_with('…'), !whole && columns > super::ROOM + 1, "{columns}: {fitted}");
        }
    }

    #[test]
    fn where_nothing_is_shown_a_line_is_only_itself() {
        assert_eq!(Line::new().say("ready", None), "ready\n");
        assert_eq!(Line::new().say("ready", WIDE), "ready\n");
    }

    #[test]
    fn what_is_said_goes_above_the_counts() {
        let mut line = Line::new();
        assert_eq!(line.show("1 call", WIDE), "1 call");
        assert_eq!(line.say("ready", WIDE), format!("{CLEAR}ready\n1 call"));
    }

    #[test]
    fn only_what_has_changed_is_drawn() {
        let mut line = Line::new();
        line.show("1 call", WIDE);
        assert_eq!(line.show("1 call", WIDE), "");
        assert_eq!(line.show("2 calls", WIDE), format!("{CLEAR}2 calls"));
        assert_eq!(line.show("2 calls", SMALL), format!("{CLEAR}2 cal…"), "a smaller window");
    }

    #[test]
    fn the_shells_row_is_left_alone() {
        let mut line = Line::new();
        line.show("1 call", WIDE);
        assert_eq!(line.say("ready", None), "ready\n");
        assert_eq!(line.show("2 calls", None), "");
        assert_eq!(line.say("in the foreground again", WIDE), "in the foreground again\n2 calls");
    }

    #[test]
    fn at_the_end_nothing_is_left() {
        let mut line = Line::new();
        line.show("1 call", WIDE);
        assert_eq!(line.end(WIDE), CLEAR);
        assert_eq!(line.end(WIDE), "");
        assert_eq!(line.say("the table", WIDE), "the table\n");
    }

    #[test]
    fn color_is_around_the_counts_and_no_part_of_their_length() {
        let mut line = Line::new();
        let drawn = line.show("123456", Some(Screen { columns: 9, color: true }));
        assert_eq!(drawn, "\x1b[2m123456\x1b[0m");
    }
}
