//! The demonstration: what it shows, as its table has it.

use std::process::Command;

/// An attack of it.
#[derive(Debug)]
pub struct Attack {
    /// In its words.
    pub name: String,
    /// Calls that it tried, in each mode.
    pub attempted: usize,
    /// Of these, under monitor.
    pub monitor: usize,
    /// Let through, likewise.
    pub sandbox: usize,
    /// The others.
    pub blocked: usize,
    /// What was done under sandbox all the same.
    pub harm: usize,
}

impl Attack {
    /// A line of the table; a star is about what no profile stops.
    fn read(line: &str) -> Option<Self> {
        let mut words: Vec<&str> = line.split_ascii_whitespace().filter(|word| *word != "*").collect();
        let numbers = words.split_off(words.len().checked_sub(5)?);
        let numbers: Vec<usize> = numbers.iter().map_while(|word| word.parse().ok()).collect();
        let [attempted, monitor, sandbox, blocked, harm] = numbers[..] else { return None };
        Some(Self { name: words.join(" "), attempted, monitor, sandbox, blocked, harm })
    }

    /// A function that does with another file what it is there for.
    pub fn is_of_a_granted_function(&self) -> bool {
        self.name.starts_with("path traversal")
    }
}

/// Its attacks. Honest requests are all answered, monitor lets all through, and sandbox does not.
pub fn shown(program: &mut Command) -> Vec<Attack> {
    let output = program.env("COLUMNS", "100").output().expect("run the demonstration");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    let honest: Vec<&str> = text.lines().filter(|line| line.contains("honest requests")).collect();
    assert_eq!(honest.len(), 3, "{text}");
    for line in honest {
        let (_, counts) = line.split_once(": ").expect("counts");
        let counts: Vec<&str> = counts.split([' ', ',']).collect();
        assert_eq!((counts[0], counts[1], counts[3]), (counts[2], "of", "answered"), "{line}");
    }
    assert!(text.contains(" answered, 0 violations"), "{text}");
    let attacks: Vec<Attack> = text.lines().filter_map(Attack::read).collect();
    assert_eq!(attacks.len(), 10, "{text}");
    for attack in &attacks {
        assert_eq!(attack.monitor, attack.attempted, "{attack:?} does not work where it is only logged");
        assert_eq!(attack.sandbox + attack.blocked, attack.attempted, "{attack:?}");
    }
    assert!(attacks.iter().any(|attack| attack.blocked > 0), "{text}");
    attacks
}
