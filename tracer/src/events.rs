//! Where events go. A reader who is slow, or has stopped, holds up nobody: what it does not take is counted.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::say;

/// How many lines wait for a reader who is slow: some 20 MiB.
const WAITING: usize = 16_384;
/// How long a reader may take for a line at the end of the session.
const PATIENCE: Duration = Duration::from_secs(5);

/// A file, or a pipe.
pub type Sink = Box<dyn Write + Send>;

/// Events on their way to one.
pub struct Events {
    lines: SyncSender<String>,
    ended: Receiver<()>,
    writer: Arc<Writer>,
    /// Lines that were given.
    given: u64,
    dropped: u64,
}

#[derive(Default)]
struct Writer {
    /// Written to from the next line on.
    next: Mutex<Option<Sink>>,
    written: AtomicU64,
}

impl Events {
    /// Writes to `sink`, in a thread of its own. Errors: there is none to be had.
    pub fn new(sink: Sink) -> io::Result<Self> {
        let (lines, taken) = sync_channel(WAITING);
        let (ends, ended) = sync_channel(1);
        let writer = Arc::new(Writer::default());
        let own = writer.clone();
        thread::Builder::new().name("events".into()).spawn(move || {
            own.write(sink, &taken);
            let _ = ends.send(());
        })?;
        Ok(Self { lines, ended, writer, given: 0, dropped: 0 })
    }

    /// One event's line. Waits for nobody: what has no room is lost, and counted.
    pub fn write(&mut self, line: String) {
        self.given += 1;
        if self.lines.try_send(line).is_err() {
            self.dropped += 1;
            if self.dropped == 1 {
                say("warning: events are read too slowly: some are lost, and counted");
            }
        }
    }

    /// Later events go there.
    pub fn reopen(&self, sink: Sink) {
        *self.writer.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(sink);
    }

    /// Waits until all are written, or nobody reads them any more. How many were not written.
    pub fn end(self) -> u64 {
        let Self { lines, ended, writer, given, .. } = self;
        drop(lines);
        let mut before = writer.written.load(Ordering::Relaxed);
        while ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let now = writer.written.load(Ordering::Relaxed);
            if now == before {
                break;
            }
            before = now;
        }
        given - writer.written.load(Ordering::Relaxed)
    }
}

impl Writer {
    fn write(&self, mut sink: Sink, lines: &Receiver<String>) {
        let mut failed = false;
        for line in lines {
            if let Some(next) = self.next.lock().unwrap_or_else(PoisonError::into_inner).take() {
                sink = next;
            }
            match sink.write_all(line.as_bytes()).and_then(|()| sink.flush()) {
                Ok(()) => {
                    self.written.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) if failed => {}
                Err(error) => {
                    failed = true;
                    say(&format!("warning: an event could not be written ({error}); more are counted"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn nobody_waits_for_a_reader_who_has_stopped() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut events = Events::new(Box::new(writer)).unwrap();
        let lines = 2 * WAITING as u64;
        for _ in 0..lines {
            events.write(format!("{}\n", "x".repeat(99)));
        }
        let lost = events.end();
        assert!(lost > WAITING as u64 / 2 && lost < lines, "{lost}");
        // The thread is stuck in a write of what the pipe has no room for.
        let mut some = vec![0; 1000];
        reader.read_exact(&mut some).unwrap();
        assert!(some.ends_with(b"x\n"));
    }

    #[test]
    fn all_is_written_at_the_end_and_a_later_sink_takes_later_lines() {
        let (mut first, writer) = io::pipe().unwrap();
        let mut events = Events::new(Box::new(writer)).unwrap();
        events.write("a\n".into());
        let mut line = [0; 2];
        first.read_exact(&mut line).unwrap();
        let (mut second, writer) = io::pipe().unwrap();
        events.reopen(Box::new(writer));
        events.write("b\n".into());
        assert_eq!(events.end(), 0);
        let mut later = String::new();
        second.read_to_string(&mut later).unwrap();
        assert_eq!((&line, later.as_str()), (b"a\n", "b\n"));
    }
}
