//! From the consumer to the reporter. Who decides never waits for who tells: what has no room is refused, and its sender
//! counts it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::consumer::Message;

/// How many messages may wait before a call is refused: with their chains, some 60 MiB.
const CALLS_WAITING: usize = 8_192;
/// How many before all others are, which are small.
const OTHERS_WAITING: usize = 4 * CALLS_WAITING;

/// Its two ends.
pub fn queue() -> (ToReporter, Messages) {
    let (to, from) = channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    (ToReporter { to, waiting: waiting.clone() }, Messages { from, waiting })
}

/// Where messages go in.
#[derive(Clone)]
pub struct ToReporter {
    to: Sender<Message>,
    waiting: Arc<AtomicUsize>,
}

impl ToReporter {
    /// What must arrive, and is seldom sent.
    pub fn send(&self, message: Message) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if self.to.send(message).is_err() {
            // The reporter only goes away at the very end: nobody listens any more, and nobody waits for that.
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Errors: there is no room; the message comes back.
    pub fn offer(&self, message: Message) -> Result<(), Message> {
        let most = if matches!(message, Message::Call(_)) { CALLS_WAITING } else { OTHERS_WAITING };
        if self.waiting.load(Ordering::Relaxed) >= most {
            return Err(message);
        }
        self.send(message);
        Ok(())
    }
}

/// Where they come out.
pub struct Messages {
    from: Receiver<Message>,
    waiting: Arc<AtomicUsize>,
}

impl Messages {
    /// The next one. Errors: none came, or nobody can send any more.
    pub fn next(&self, at_most: Duration) -> Result<Message, RecvTimeoutError> {
        let message = self.from.recv_timeout(at_most)?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Ok(message)
    }
}

impl Drop for Messages {
    /// Nobody waits for room that nobody makes any more.
    fn drop(&mut self) {
        self.waiting.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_comes_back_and_what_must_arrive_does() {
        let (to, messages) = queue();
        let mut offered = 0;
        while to.offer(Message::Allowed(offered)).is_ok() {
            offered += 1;
        }
        assert_eq!(offered, OTHERS_WAITING as u64);
        to.send(Message::Flushed);
        for expected in 0..offered {
            assert!(matches!(messages.next(Duration::ZERO), Ok(Message::Allowed(n)) if n == expected));
        }
        assert!(matches!(messages.next(Duration::ZERO), Ok(Message::Flushed)));
        assert!(to.offer(Message::Allowed(0)).is_ok());
    }
}
