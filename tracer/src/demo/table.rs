//! What is printed at the end.

use std::fmt::Write;

use comfy_table::{CellAlignment, ContentArrangement, Table};

use crate::cli::Actions;
use crate::demo::plan::Attack;

/// What came of an attack.
pub struct Row<'a> {
    pub attack: &'a Attack,
    /// Attempts with a call that got through under monitor.
    pub monitor: u64,
    /// And under sandbox.
    pub sandbox: u64,
    /// Attempts whose harm was done under sandbox.
    pub harm: u64,
    /// The honest requests that the attack needs worked.
    pub prepared: bool,
}

impl Row<'_> {
    fn blocked(&self) -> u64 {
        self.attack.attempts.saturating_sub(self.sandbox)
    }
}

/// Columns of the terminal; else those that `COLUMNS` tells (of a guest's output somewhere else); else a width that is
/// easily read.
fn width() -> u16 {
    // SAFETY: an all-zero winsize is a valid value, and the call writes no more than one.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: see above; a descriptor that is no terminal makes it fail.
    let known = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) } == 0;
    let told = || std::env::var("COLUMNS").ok()?.parse().ok();
    let columns = if known && size.ws_col > 0 { Some(size.ws_col) } else { told() };
    columns.map_or(100, |columns| columns.clamp(60, 120))
}

/// The table of all attacks.
pub fn attacks(rows: &[Row<'_>]) -> String {
    render(rows, width())
}

fn render(rows: &[Row<'_>], width: u16) -> String {
    let mut table = Table::new();
    table.load_preset(crate::report::PLAIN_TABLE).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(width);
    table.set_header([
        "attack",
        "attempted\ncalls",
        "let\nthrough:\nmonitor",
        "let\nthrough:\nsandbox",
        "blocked",
        "harm\ndone:\nsandbox",
    ]);
    for row in rows {
        let attack = row.attack;
        let (blocked, harm) = match (row.prepared, attack.in_profile) {
            (false, _) => ("?".into(), "?".into()),
            (true, true) if row.sandbox == attack.attempts => ("0 *".into(), row.harm.to_string()),
            _ => (row.blocked().to_string(), row.harm.to_string()),
        };
        table.add_row([
            attack.title.clone(),
            attack.attempts.to_string(),
            row.monitor.to_string(),
            row.sandbox.to_string(),
            blocked,
            harm,
        ]);
    }
    for column in 1..6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// What was seen, and what to do next.
pub fn explain(title: &str, actions: Actions, rows: &[Row<'_>]) -> String {
    let counted: Vec<&Row<'_>> = rows.iter().filter(|r| !r.attack.in_profile && r.prepared).collect();
    let sum = |of: fn(&Row<'_>) -> u64| counted.iter().map(|r| of(r)).sum::<u64>();
    let attempted = sum(|r| r.attack.attempts);
    let (monitor, sandbox, harm) = (sum(|r| r.monitor), sum(|r| r.sandbox), sum(|r| r.harm));
    let mut text = String::new();
    if rows.iter().any(|r| !r.prepared) {
        text += "? An honest request that the attack needs was not answered: nothing can be said of it.\n";
    }
    if rows.iter().any(|r| r.attack.in_profile) {
        text += "* Not stopped: the function may do this. It deletes files for honest reasons, and a profile \
                 says what a function does, not with which file. Not counted below.\n";
    }
    let (rest, answer) = match (actions.deny, actions.kill) {
        (true, false) => (
            ". The others failed (`Operation not permitted`) before they did anything; nothing was killed, and the \
             application answered.",
            "deny it",
        ),
        (true, true) => (
            ", even if its process was killed before anything came of it. The others were made to fail before they \
             did anything, and then the process was killed.",
            "make it fail, and kill whoever does it",
        ),
        (false, _) => {
            (", even if its process was killed before anything came of it.", "kill whoever does it")
        }
    };
    let _ = writeln!(
        text,
        "\nOf {attempted} unauthorized calls monitor let {monitor} through and sandbox {sandbox}: {} were \
         blocked. {harm} did harm (a file gone or made, the secret read, a message sent). A call counts as let \
         through if it succeeded{rest}",
        attempted.saturating_sub(sandbox),
    );
    if actions.kill && counted.iter().any(|r| r.blocked() == 0 && r.harm < r.sandbox) {
        text += "Where none was blocked, each attempt was a request or a program of its own: its first call \
                 succeeded, and the kill came before it was of use. Killing bounds a process, not an attacker \
                 who sends another request.\n";
    }
    text + &format!(
        "\nYour own application, on a running php-fpm:\n  \
         sudo {title} --profile     # learn: use it as it is used, then Ctrl-C\n  \
         sudo {title} --monitor     # log what the profile does not allow\n  \
         sudo {title} --sandbox     # {answer}"
    )
}

/// Breaks lines between words; a continued line is indented as its first one.
pub fn wrap(text: &str) -> String {
    wrap_to(text, usize::from(width()).min(100))
}

fn wrap_to(text: &str, width: usize) -> String {
    let mut lines = Vec::new();
    for long in text.lines() {
        if long.chars().count() <= width {
            lines.push(long.to_owned());
            continue;
        }
        let indent = &long[..long.len() - long.trim_start().len()];
        let mut line = indent.to_owned();
        for word in long.split_whitespace() {
            if line.len() > indent.len() {
                if line.chars().count() + 1 + word.chars().count() > width {
                    lines.push(std::mem::replace(&mut line, indent.to_owned()));
                } else {
                    line.push(' ');
                }
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::plan::Plan;

    #[test]
    fn long_lines_are_broken_between_words() {
        assert_eq!(wrap_to("  ab cd ef\nshort", 7), "  ab cd\n  ef\nshort");
        assert_eq!(wrap_to("unbreakable word", 4), "unbreakable\nword");
    }

    #[test]
    fn fits_narrow_and_wide_terminals() {
        let plan: Plan = serde_json::from_str(crate::demo::bundle::REQUESTS).unwrap();
        let rows: Vec<Row<'_>> = plan
            .attacks
            .iter()
            .map(|attack| Row {
                attack,
                monitor: 20,
                sandbox: if attack.in_profile { 20 } else { 1 },
                harm: 1,
                prepared: true,
            })
            .collect();
        for width in [80, 120] {
            let table = render(&rows, width);
            assert!(table.lines().all(|l| l.chars().count() <= usize::from(width)), "{table}");
            assert!(table.contains("0 *") && table.contains("files"), "{table}");
            for (deny, kill) in [(false, true), (true, true), (true, false)] {
                let text = explain("phase1-user-kill", Actions { deny, kill }, &rows);
                assert_eq!(text.contains("Operation not permitted"), !kill, "{text}");
                assert_eq!(text.contains("made to fail"), deny && kill, "{text}");
                let text = wrap_to(&text, usize::from(width));
                assert!(text.lines().all(|l| l.chars().count() <= usize::from(width)), "{text}");
            }
        }
    }
}
