//! Messages to be sent: their order, how many are under way, and what becomes of each.
//!
//! No I/O and no clock of its own. A message stays here from the call until its answer, however often the connection is
//! lost, and goes out each time under the same `clientMessageId`, so it is stored once.

use std::collections::VecDeque;
use std::time::Duration;

use chat_core::model::{Message, RoomId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::{Error, Result};

/// Messages under way at once: enough to keep a server's group commit busy over a long line.
const WINDOW: usize = 32;
/// The pause after a refusal for now that didn't say how long to wait.
const PAUSE: Duration = Duration::from_secs(1);

/// A message to be sent.
#[derive(Debug)]
pub(crate) struct NewSend {
    pub(crate) room_id: RoomId,
    pub(crate) client_message_id: String,
    pub(crate) content: String,
    /// Who waits for the result; `None` for one that another run of the program left in the outbox.
    pub(crate) reply: Option<oneshot::Sender<Result<Message>>>,
    /// When to give up.
    pub(crate) deadline: Option<Instant>,
    /// What the deadline was set to, for the error's text.
    pub(crate) timeout: Duration,
}

/// Names a message while it is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SendKey(u64);

#[derive(Debug)]
struct Entry {
    key: SendKey,
    send: NewSend,
    under_way: bool,
}

/// What became of a message that leaves.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) room_id: RoomId,
    pub(crate) client_message_id: String,
    /// The final refusal, where nobody waits for it.
    pub(crate) unheard: Option<Error>,
}

#[derive(Debug)]
pub(crate) struct Sends {
    /// In the order of the calls; the order in which they go out, each time.
    queue: VecDeque<Entry>,
    capacity: usize,
    last_key: u64,
    under_way: usize,
    /// How many may be under way now: one after a refusal for now, so that what follows doesn't overtake again.
    window: usize,
    paused_until: Option<Instant>,
}

impl Sends {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            capacity,
            last_key: 0,
            under_way: 0,
            window: WINDOW,
            paused_until: None,
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.queue.len() < self.capacity
    }

    pub(crate) fn push(&mut self, send: NewSend) {
        self.last_key += 1;
        self.queue.push_back(Entry {
            key: SendKey(self.last_key),
            send,
            under_way: false,
        });
    }

    /// The next message to write out, which is then under way.
    pub(crate) fn next(&mut self, now: Instant) -> Option<(SendKey, &NewSend)> {
        if self.under_way >= self.window || self.paused_until.is_some_and(|at| at > now) {
            return None;
        }
        self.paused_until = None;
        let entry = self.queue.iter_mut().find(|entry| !entry.under_way)?;
        entry.under_way = true;
        self.under_way += 1;
        Some((entry.key, &entry.send))
    }

    /// An answer. What has no final result stays, to go out again.
    pub(crate) fn answered(
        &mut self,
        key: SendKey,
        result: Result<Message>,
        now: Instant,
    ) -> Option<Finished> {
        let at = self.queue.iter().position(|entry| entry.key == key)?;
        let entry = &mut self.queue[at];
        if entry.under_way {
            entry.under_way = false;
            self.under_way -= 1;
        }
        match &result {
            Err(error) if error.is_retryable() => {
                self.paused_until = Some(now + error.retry_after().unwrap_or(PAUSE));
                self.window = 1;
                return None;
            }
            Err(_) => {}
            Ok(_) => self.window = (self.window * 2).min(WINDOW),
        }
        let entry = self.queue.remove(at)?;
        Some(finish(entry.send, result))
    }

    /// The connection is lost: all goes out again on the next one, in its order.
    pub(crate) fn disconnected(&mut self) {
        for entry in &mut self.queue {
            entry.under_way = false;
        }
        self.under_way = 0;
        self.paused_until = None;
    }

    /// Gives up those past their deadline.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Finished> {
        let mut finished = Vec::new();
        while let Some(at) = self
            .queue
            .iter()
            .position(|entry| entry.send.deadline.is_some_and(|at| at <= now))
            && let Some(entry) = self.queue.remove(at)
        {
            self.under_way -= usize::from(entry.under_way);
            let timeout = entry.send.timeout;
            finished.push(finish(entry.send, Err(Error::Timeout(timeout))));
        }
        finished
    }

    /// When the next message expires.
    pub(crate) fn expires_at(&self) -> Option<Instant> {
        self.queue.iter().filter_map(|e| e.send.deadline).min()
    }

    /// When the pause after a refusal ends, if it hasn't yet.
    pub(crate) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|at| *at > now)
    }

    /// The connection is over for good.
    pub(crate) fn fail(&mut self, error: &Error) {
        for entry in self.queue.drain(..) {
            finish(entry.send, Err(error.clone()));
        }
        self.under_way = 0;
    }
}

fn finish(send: NewSend, result: Result<Message>) -> Finished {
    let unheard = match send.reply {
        // Whoever waited may have gone; the message is sent all the same.
        Some(reply) => reply.send(result).err().and_then(Result::err),
        None => result.err(),
    };
    Finished {
        room_id: send.room_id,
        client_message_id: send.client_message_id,
        unheard,
    }
}

#[cfg(test)]
mod tests {
    use chat_core::model::{MessageId, Seq, Timestamp, UserId};
    use chat_core::protocol::HubError;

    use super::*;
    use crate::error::Refusal;

    fn send(n: usize) -> NewSend {
        NewSend {
            room_id: RoomId(1),
            client_message_id: n.to_string(),
            content: "hi".into(),
            reply: None,
            deadline: None,
            timeout: Duration::ZERO,
        }
    }

    fn message() -> Message {
        Message {
            id: MessageId(1),
            room_id: RoomId(1),
            seq: Seq(2),
            changed_seq: Seq(2),
            sender_id: UserId(1),
            content: "hi".into(),
            sent_at: Timestamp::default(),
            edited_at: None,
            deleted_at: None,
            client_message_id: None,
        }
    }

    fn refused(text: &str) -> Error {
        Refusal::from(HubError::parse(text)).into()
    }

    fn ids(sends: &mut Sends, now: Instant) -> Vec<(SendKey, String)> {
        let mut ids = Vec::new();
        while let Some((key, send)) = sends.next(now) {
            ids.push((key, send.client_message_id.clone()));
        }
        ids
    }

    #[tokio::test(start_paused = true)]
    async fn messages_go_out_in_order_and_again_in_order_after_a_cut() {
        let now = Instant::now();
        let mut sends = Sends::new(100);
        (0..40).for_each(|n| sends.push(send(n)));
        let out = ids(&mut sends, now);
        assert_eq!(out.len(), WINDOW);
        assert!(sends.answered(out[1].0, Ok(message()), now).is_some());
        sends.disconnected();
        let again: Vec<_> = ids(&mut sends, now).into_iter().map(|(_, id)| id).collect();
        let expected: Vec<_> = (0..=WINDOW)
            .filter(|n| *n != 1)
            .map(|n| n.to_string())
            .collect();
        assert_eq!(again, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_refusal_for_now_all_wait_and_then_go_one_by_one() {
        let now = Instant::now();
        let mut sends = Sends::new(100);
        (0..3).for_each(|n| sends.push(send(n)));
        let out = ids(&mut sends, now);
        let limited = refused("rate_limited: too many (retry after 2 s)");
        assert!(sends.answered(out[0].0, Err(limited), now).is_none());
        assert!(ids(&mut sends, now).is_empty());
        assert_eq!(sends.paused_until(now), Some(now + Duration::from_secs(2)));

        let later = now + Duration::from_secs(2);
        sends.answered(out[1].0, Ok(message()), later);
        sends.answered(out[2].0, Ok(message()), later);
        sends.window = 1;
        sends.push(send(3));
        let again = ids(&mut sends, later);
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].1, "0");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_for_good_is_told_where_nobody_waits() {
        let now = Instant::now();
        let mut sends = Sends::new(100);
        sends.push(send(0));
        let out = ids(&mut sends, now);
        let finished = sends
            .answered(out[0].0, Err(refused("forbidden: no")), now)
            .expect("final");
        assert!(finished.unheard.is_some());
        assert!(sends.queue.is_empty());
    }
}
