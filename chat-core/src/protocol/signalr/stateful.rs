//! Stateful reconnect: a connection that outlives its socket, and neither loses nor doubles a message.
//!
//! Each end numbers what it sends, from 1, without writing the numbers: both count the same messages
//! ([`HubMessage::is_numbered`]). A sender keeps what it sent ([`Sent`]) until the other end acknowledges it; on a new socket
//! it writes a Sequence record and sends the rest again, and the receiver ([`Received`]) drops what it has had. Both ends do
//! both. Neither knows sockets or time: whoever has those says what was written, what came, and when the socket is a new
//! one.
//!
//! ```
//! # use chat_core::protocol::signalr::HubMessage;
//! # use chat_core::protocol::signalr::stateful::{Received, Sent, REPLAY_BYTES};
//! let mut sent: Sent<&[u8]> = Sent::new(REPLAY_BYTES);
//! sent.keep(b"two events", 2, 10);
//! sent.keep(b"a completion", 1, 12);
//! sent.acknowledge(2);
//! // The socket was cut. On the new one:
//! assert_eq!(sent.reattached(), HubMessage::Sequence { sequence_id: 3 });
//! assert_eq!(sent.replay().copied().collect::<Vec<_>>(), [b"a completion"]);
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use super::HubMessage;

/// Bytes that official clients, and this server, keep for a replay before they wait for an acknowledgement.
pub const REPLAY_BYTES: usize = 100_000;

/// How often a receiver says how far it is, if it got further: no more often, and with nothing new not at all.
pub const ACKNOWLEDGE_EVERY: Duration = Duration::from_secs(1);

impl HubMessage<'_> {
    /// Whether it counts for a stateful reconnect: calls and what belongs to them do; Ping, Close, Ack and Sequence belong to a
    /// socket and do not.
    #[must_use]
    pub const fn is_numbered(&self) -> bool {
        match self {
            Self::Invocation { .. }
            | Self::StreamItem { .. }
            | Self::Completion { .. }
            | Self::StreamInvocation { .. }
            | Self::CancelInvocation { .. } => true,
            Self::Ping | Self::Close { .. } | Self::Ack { .. } | Self::Sequence { .. } => false,
        }
    }
}

/// A number that can't be: the ends don't agree on what was sent, so the connection must end with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SequenceError {
    /// Messages before it never came.
    #[error("message {sequence_id} is to follow, but only {received} came")]
    Gap {
        /// What is to follow.
        sequence_id: i64,
        /// The last that came.
        received: i64,
    },
    /// Numbers begin at 1.
    #[error("message {sequence_id} is to follow, which is no number of a message")]
    NoNumber {
        /// What is to follow.
        sequence_id: i64,
    },
}

/// What one end has sent, for as long as it may have to be sent again.
///
/// It keeps items of any kind, each with the number of messages in it: a server keeps references to the bytes that many
/// connections share. An item that holds several messages is replayed whole while one of them isn't acknowledged.
#[derive(Clone, Debug)]
pub struct Sent<T> {
    kept: VecDeque<Kept<T>>,
    /// Bytes of what isn't acknowledged.
    bytes: usize,
    /// Bytes of what is acknowledged and kept still.
    spare_bytes: usize,
    limit_bytes: usize,
    /// The number of the last message sent.
    last: i64,
    /// The highest number acknowledged.
    acknowledged: i64,
    /// The number of the last message that isn't kept any more.
    dropped: i64,
    /// The number of the last message of the last replay.
    replayed: i64,
}

#[derive(Clone, Debug)]
struct Kept<T> {
    item: T,
    /// The number of the last message in it.
    last: i64,
    bytes: usize,
}

impl<T> Sent<T> {
    /// Nothing sent yet; room for about `limit_bytes` that aren't acknowledged.
    #[must_use]
    pub const fn new(limit_bytes: usize) -> Self {
        Self {
            kept: VecDeque::new(),
            bytes: 0,
            spare_bytes: 0,
            limit_bytes,
            last: 0,
            acknowledged: 0,
            dropped: 0,
            replayed: 0,
        }
    }

    /// Whether another item may be sent. If not, whatever is numbered must wait for an acknowledgement, in a queue that
    /// is bounded by itself; only Ping, Ack and Close may be written meanwhile.
    ///
    /// The item that takes the last of the room may be larger than it, so that any item can be sent at all.
    #[must_use]
    pub const fn has_room(&self) -> bool {
        self.bytes < self.limit_bytes
    }

    /// Keeps an item of this many numbered messages, in `bytes` bytes. It must be called in the order of writing, before
    /// the first byte is written, and not for what is replayed. An item without numbered messages isn't kept.
    pub fn keep(&mut self, item: T, messages: u32, bytes: usize) {
        if messages == 0 {
            return;
        }
        self.last += i64::from(messages);
        self.bytes += bytes;
        self.kept.push_back(Kept {
            item,
            last: self.last,
            bytes,
        });
    }

    /// The other end has everything up to this number. One beyond what was sent takes everything, as official servers do;
    /// one that is older than the last changes nothing. Answers whether there is room that wasn't there before.
    pub fn acknowledge(&mut self, sequence_id: i64) -> bool {
        let had_room = self.has_room();
        let acknowledged = sequence_id.clamp(self.acknowledged, self.last);
        for kept in &self.kept {
            if kept.last > acknowledged {
                break;
            }
            if kept.last > self.acknowledged {
                self.bytes -= kept.bytes;
                self.spare_bytes += kept.bytes;
            }
        }
        self.acknowledged = acknowledged;
        // The official clients answer with the highest number they have ever had, but measure the next Sequence record by
        // how far they have come on this socket. Until they say that they have something that was sent behind the
        // replay, it may have to begin where the last one did.
        let has_replay = acknowledged > self.replayed || self.replayed == 0;
        self.drop_spare(if has_replay { 0 } else { self.limit_bytes });
        !had_room && self.has_room()
    }

    /// Forgets what is acknowledged, up to this many bytes of it.
    fn drop_spare(&mut self, limit_bytes: usize) {
        while self.spare_bytes > limit_bytes
            && let Some(front) = self.kept.pop_front()
        {
            self.spare_bytes -= front.bytes;
            self.dropped = front.last;
        }
        if self.kept.is_empty() {
            // An idle connection holds no buffer.
            self.kept = VecDeque::new();
        }
    }

    /// A new socket: answers the first record on it, which says what message follows. [`Sent::replay`] follows it, and behind
    /// that what is new.
    #[must_use]
    pub const fn reattached(&mut self) -> HubMessage<'static> {
        self.replayed = self.last;
        HubMessage::Sequence {
            sequence_id: self.dropped + 1,
        }
    }

    /// What follows the Sequence record of [`Sent::reattached`], in order.
    pub fn replay(&self) -> impl ExactSizeIterator<Item = &T> {
        self.kept.iter().map(|kept| &kept.item)
    }

    /// Bytes kept: of what isn't acknowledged, and at most as much as the limit of what is.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes + self.spare_bytes
    }

    /// The number of the last message sent; 0 before the first.
    #[must_use]
    pub const fn last(&self) -> i64 {
        self.last
    }
}

/// What one end has received, and how far it has said so.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The number of the message that came last on this socket, perhaps once more.
    at: i64,
    /// The highest number that came.
    last: i64,
    /// The other end must be told how far this one is.
    is_due: bool,
    /// A new socket, on which the Sequence record hasn't come.
    is_new_socket: bool,
}

impl Received {
    /// Nothing received yet, on the connection's first socket, where no Sequence record is waited for.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            at: 0,
            last: 0,
            is_due: false,
            is_new_socket: false,
        }
    }

    /// The connection goes on over a new socket: until the Sequence record comes there, everything is dropped. Half a record
    /// that the old socket left in a [`RecordReader`](super::RecordReader) must be dropped with it.
    pub const fn reattached(&mut self) {
        self.is_new_socket = true;
    }

    /// Takes the next message of the socket, in order, and says whether it is to be handled. If not, it was handled before
    /// (then it is not answered again either), or it came too early on a new socket.
    ///
    /// # Errors
    /// A [`SequenceError`] for a Sequence record that can't be: the connection must be closed with an error.
    pub const fn take(&mut self, message: &HubMessage<'_>) -> Result<bool, SequenceError> {
        if let HubMessage::Sequence { sequence_id } = message {
            return match self.go_to(*sequence_id) {
                Ok(()) => Ok(true),
                Err(e) => Err(e),
            };
        }
        if self.is_new_socket {
            return Ok(false);
        }
        if !message.is_numbered() {
            return Ok(true);
        }
        self.at += 1;
        let is_new = self.at > self.last;
        if is_new {
            self.last = self.at;
        }
        // Had before, up to the last: the acknowledgement didn't arrive, and without another one nothing new may ever come.
        self.is_due |= self.at == self.last;
        Ok(is_new)
    }

    /// The message with this number follows.
    const fn go_to(&mut self, sequence_id: i64) -> Result<(), SequenceError> {
        if sequence_id < 1 {
            return Err(SequenceError::NoNumber { sequence_id });
        }
        // Messages that came on an earlier socket needn't all have come again on this one.
        if sequence_id - 1 > self.last {
            return Err(SequenceError::Gap {
                sequence_id,
                received: self.last,
            });
        }
        self.at = sequence_id - 1;
        self.is_new_socket = false;
        Ok(())
    }

    /// The Ack that is due, if there is anything to acknowledge. To be asked every [`ACKNOWLEDGE_EVERY`], while there is a
    /// socket to write it to.
    pub const fn acknowledgement(&mut self) -> Option<HubMessage<'static>> {
        if !self.is_due {
            return None;
        }
        self.is_due = false;
        Some(HubMessage::Ack {
            sequence_id: self.last,
        })
    }

    /// The highest number that came; 0 before the first.
    #[must_use]
    pub const fn last(&self) -> i64 {
        self.last
    }

    /// The number of the last message that came on this socket, by which official clients measure a Sequence record.
    #[cfg(test)]
    pub(super) const fn at(&self) -> i64 {
        self.at
    }
}
