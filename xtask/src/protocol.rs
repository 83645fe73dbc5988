//! What host and guest tell each other: JSON, a message a line, on a port that nothing else in the guest can open.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The port of these messages.
pub const CONTROL: &str = "control";
/// The port of the command's output.
pub const OUTPUT: &str = "output";

/// From the host, once: what to run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    /// The command and its arguments.
    pub command: Vec<OsString>,
    /// Where it runs.
    pub folder: PathBuf,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Folders that are empty and in memory.
    pub tmpfs: Vec<PathBuf>,
}

/// From the host, once: everything has arrived.
pub const DONE: u8 = b'\n';

/// From the guest.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// The command starts.
    Ready,
    /// The command has ended.
    Ended {
        /// Its exit status; 128 + signal for one that was killed.
        status: u8,
        /// How much it has printed.
        printed: u64,
    },
    /// The command cannot be started.
    Failed(String),
}

/// What the guest has said so far.
#[derive(Debug, Default)]
pub struct Said {
    line: Vec<u8>,
    /// Whether the command was started.
    pub ready: bool,
    verdict: Option<Message>,
    wrong: Option<String>,
}

impl Said {
    /// More from the port.
    pub fn hear(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.message(&line);
            } else {
                self.line.push(*byte);
            }
        }
    }

    fn message(&mut self, line: &[u8]) {
        match serde_json::from_slice(line) {
            Ok(Message::Ready) if !self.ready && self.verdict.is_none() => self.ready = true,
            Ok(verdict) if self.verdict.is_none() && verdict != Message::Ready => {
                self.verdict = Some(verdict);
            }
            Ok(again) => self.wrong = Some(format!("it said {again:?} after {:?}", self.verdict)),
            Err(_) => self.wrong = Some(format!("it said {:?}", String::from_utf8_lossy(line))),
        }
    }

    /// How much output there will have been, once that is known.
    pub fn printed(&self) -> Option<u64> {
        match self.verdict {
            Some(Message::Ended { printed, .. }) => Some(printed),
            Some(Message::Failed(_)) => Some(0),
            _ => None,
        }
    }

    /// The exit status, once the guest has ended and so much output has arrived. None: there was no verdict.
    pub fn verdict(&self, arrived: u64) -> Option<Result<u8, String>> {
        if let Some(wrong) = &self.wrong {
            return Some(Err(format!("the guest contradicted itself: {wrong}")));
        }
        match self.verdict.as_ref()? {
            Message::Ended { status, printed } if *printed == arrived => Some(Ok(*status)),
            Message::Ended { printed, .. } => {
                Some(Err(format!("of {printed} bytes of output {arrived} have arrived")))
            }
            Message::Failed(why) => Some(Err(why.clone())),
            Message::Ready => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Said;

    fn heard(text: &str) -> Said {
        let mut said = Said::default();
        // In pieces, as from a pipe.
        text.as_bytes().chunks(3).for_each(|piece| said.hear(piece));
        said
    }

    const SEVEN: &str = "{\"Ended\":{\"status\":7,\"printed\":5}}\n";

    #[test]
    fn one_verdict_counts_when_all_output_is_there() {
        let said = heard(&format!("\"Ready\"\n{SEVEN}"));
        assert!(said.ready);
        assert_eq!(said.printed(), Some(5));
        assert_eq!(said.verdict(5), Some(Ok(7)));
        assert!(said.verdict(4).unwrap().unwrap_err().contains("of 5 bytes of output 4"));
    }

    #[test]
    fn no_verdict_is_none() {
        assert_eq!(heard("").verdict(0), None);
        assert_eq!(heard("\"Ready\"\n").verdict(0), None);
        assert_eq!(heard(SEVEN.trim()).verdict(5), None);
    }

    #[test]
    fn two_verdicts_are_an_error() {
        for text in [format!("{SEVEN}{SEVEN}"), format!("{SEVEN}\"Ready\"\n"), format!("{SEVEN}0\n")] {
            assert!(heard(&text).verdict(5).unwrap().is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_started_is_an_error() {
        assert_eq!(heard("{\"Failed\":\"no\"}\n").verdict(0), Some(Err("no".into())));
    }
}
