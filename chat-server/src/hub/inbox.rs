//! What a client has posted and its session hasn't read yet: one byte stream, bounded.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Bytes that wait unread; a POST with more is held back (signalr.md, section 5).
const UNREAD: usize = 64 * 1024;

/// A bounded byte stream from the one POST that is being taken to the one session that reads.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    filled: Notify,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    closed: bool,
}

/// The stream takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds bytes, and waits for room as often as need be. One at a time.
    ///
    /// # Errors
    /// It is closed: what was added may be read still, the rest isn't added.
    pub(super) async fn push(&self, mut bytes: &[u8]) -> Result<(), Closed> {
        loop {
            {
                let mut state = self.lock();
                if state.closed {
                    return Err(Closed);
                }
                let (now, later) = bytes.split_at(bytes.len().min(UNREAD - state.bytes.len()));
                state.bytes.extend_from_slice(now);
                bytes = later;
            }
            self.filled.notify_one();
            if bytes.is_empty() {
                return Ok(());
            }
            self.emptied.notified().await;
        }
    }

    /// All that waits, or what comes next; `None` when it is closed and read to its end.
    pub(super) async fn next(&self) -> Option<Vec<u8>> {
        loop {
            {
                let mut state = self.lock();
                if !state.bytes.is_empty() {
                    self.emptied.notify_one();
                    return Some(std::mem::take(&mut state.bytes));
                }
                if state.closed {
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Takes no more. What waits can be read still.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
        self.emptied.notify_one();
    }

    /// Takes no more, and gives what waits.
    pub(super) fn close_and_take(&self) -> Vec<u8> {
        self.close();
        std::mem::take(&mut self.lock().bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_long_post_is_held_back_until_it_is_read_and_keeps_its_order() {
        let inbox = Inbox::default();
        let sent: Vec<u8> = (0..5 * UNREAD).map(|n| (n % 251) as u8).collect();
        let mut read = Vec::new();
        let reading = async {
            while let Some(bytes) = inbox.next().await {
                assert!(bytes.len() <= UNREAD);
                read.extend(bytes);
            }
        };
        let posting = async {
            for piece in sent.chunks(100_000) {
                inbox.push(piece).await.expect("it is open");
            }
            inbox.push(b"").await.expect("it is open");
            inbox.close();
        };
        tokio::join!(posting, reading);
        assert_eq!(read, sent);
    }

    #[tokio::test]
    async fn a_post_that_is_held_back_ends_with_the_connection() {
        let inbox = Inbox::default();
        inbox.push(&vec![1; UNREAD]).await.expect("there is room");
        let (held, ()) = tokio::join!(inbox.push(&[2]), async { inbox.close() });
        assert_eq!(held, Err(Closed));
        assert_eq!(inbox.next().await.expect("unread").len(), UNREAD);
        assert_eq!(inbox.next().await, None);
        assert_eq!(inbox.push(&[3]).await, Err(Closed));
    }
}
