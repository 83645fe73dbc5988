//! The mail sink: takes letters, keeps every line, and so is the witness of what left the application.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A mail server on 127.0.0.1, until the program ends.
pub struct Sink {
    /// Where it listens.
    pub port: u16,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Sink {
    /// Listens on a port that is free.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        thread::Builder::new().name("mail".into()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                // A connection that breaks off is what a kill looks like from here.
                let _ = thread::Builder::new().name("letter".into()).spawn(move || serve(stream, &kept));
            }
        })?;
        Ok(Self { port, lines })
    }

    /// What was received since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn serve(stream: TcpStream, kept: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut say = |text: &str| out.write_all(format!("{text}\r\n").as_bytes());
    say("220 sink ready")?;
    let mut in_letter = false;
    for raw in BufReader::new(stream).split(b'\n') {
        let line = String::from_utf8_lossy(&raw?).trim_end_matches('\r').to_owned();
        let word = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let ends = line == ".";
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        match word.as_str() {
            _ if in_letter => {
                if ends {
                    in_letter = false;
                    say("250 taken")?;
                }
            }
            "EHLO" | "HELO" | "MAIL" | "RCPT" => say("250 ok")?,
            "DATA" => {
                in_letter = true;
                say("354 go on")?;
            }
            "QUIT" => return say("221 bye"),
            // PHP's http wrapper waits for the end of the connection.
            _ => return say("500 what?"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_letter_and_keeps_its_lines() {
        let sink = Sink::start().unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, sink.port)).unwrap();
        stream.write_all(b"EHLO me\r\nDATA\r\nQUIT is text here\r\n.\r\nQUIT\r\n").unwrap();
        let answers: Vec<String> = BufReader::new(stream).lines().map_while(Result::ok).collect();
        assert_eq!(answers, ["220 sink ready", "250 ok", "354 go on", "250 taken", "221 bye"]);
        assert_eq!(sink.take(), ["EHLO me", "DATA", "QUIT is text here", ".", "QUIT"]);
        assert!(sink.take().is_empty());
    }

    #[test]
    fn refuses_what_is_no_mail_and_hangs_up() {
        let sink = Sink::start().unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, sink.port)).unwrap();
        stream.write_all(b"GET /forged-1. HTTP/1.1\r\n").unwrap();
        let answers: Vec<String> = BufReader::new(stream).lines().map_while(Result::ok).collect();
        assert_eq!(answers, ["220 sink ready", "500 what?"]);
        assert_eq!(sink.take(), ["GET /forged-1. HTTP/1.1"]);
    }
}
