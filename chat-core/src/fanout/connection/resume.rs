//! Stateful reconnect (signalr.md, section 10): a connection that outlives its socket keeps what it has written until that is
//! acknowledged, and writes it again on the next one.
//!
//! What is kept are references to the same bytes that others share. A segment says by its frames how many messages it
//! has, so connections that aren't resumed neither count nor keep anything.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Connection, DirectWrite, Outgoing, Phase, Pushed};
use crate::fanout::Framing;
use crate::protocol::signalr::HubMessage;
use crate::protocol::signalr::stateful::{REPLAY_BYTES, Sent};

/// What a connection that outlives its sockets has besides its queue, which holds what its present socket is to be given.
pub(super) struct Resumable {
    /// What was given to a socket.
    sent: Sent<Bytes>,
    /// What waits for acknowledgements, or for a socket.
    waiting: VecDeque<Bytes>,
    /// There is a socket.
    is_attached: bool,
    /// The socket, where it takes bytes without waiting.
    socket: Option<Arc<dyn DirectWrite>>,
    /// How many sockets it has had, and lost: whoever wrote to an earlier one doesn't touch what is here for this one.
    sockets: u64,
}

impl fmt::Debug for Resumable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumable")
            .field("kept_bytes", &self.sent.bytes())
            .field("waiting", &self.waiting.len())
            .field("is_attached", &self.is_attached)
            .finish_non_exhaustive()
    }
}

impl Resumable {
    pub(super) fn wait(&mut self, chunk: Bytes) {
        self.waiting.push_back(chunk);
    }

    pub(super) fn wait_first(&mut self, chunk: Bytes) {
        self.waiting.push_front(chunk);
    }

    /// Drops what waits; how many bytes that was.
    pub(super) fn drop_waiting(&mut self) -> usize {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.iter().map(Bytes::len).sum()
    }

    fn waiting_bytes(&self) -> usize {
        self.waiting.iter().map(Bytes::len).sum()
    }
}

impl Outgoing {
    /// Whether the connection waits for a new socket.
    pub(super) fn is_away(&self) -> bool {
        self.resumable.as_ref().is_some_and(|r| !r.is_attached)
    }

    /// The socket of a connection that outlives it, and how many it has had.
    pub(super) fn socket(&self) -> (Option<Arc<dyn DirectWrite>>, u64) {
        match &self.resumable {
            None => (None, 0),
            Some(resumable) => (resumable.socket.clone(), resumable.sockets),
        }
    }

    /// Whether more waits than may. What is kept for a replay has its own bound, and doesn't count.
    pub(super) fn is_over(&self, queue_bytes: usize) -> bool {
        let replay = self.resumable.as_ref().map_or(0, |_| 2 * REPLAY_BYTES);
        self.bytes > queue_bytes + replay
    }

    /// Lets as much through to the socket as may be unacknowledged.
    pub(super) fn admit(&mut self, framing: Framing) {
        let Some(resumable) = &mut self.resumable else {
            return;
        };
        if self.phase != Phase::Open || !resumable.is_attached {
            return;
        }
        while resumable.sent.has_room()
            && let Some(chunk) = resumable.waiting.pop_front()
        {
            let messages = framing.messages(&chunk);
            resumable.sent.keep(chunk.clone(), messages, chunk.len());
            self.queue.push_back(chunk);
        }
    }

    /// Lets everything through: it is the last that the socket is given.
    pub(super) fn release(&mut self) {
        if let Some(resumable) = &mut self.resumable {
            self.queue.append(&mut resumable.waiting);
        }
    }

    /// The socket is gone: the connection too, unless it outlives it.
    pub(super) fn lose_socket(&mut self) {
        let is_going_on = matches!(self.phase, Phase::Open | Phase::Entering);
        match &mut self.resumable {
            Some(resumable) if is_going_on => {
                resumable.is_attached = false;
                resumable.socket = None;
                resumable.sockets += 1;
                self.bytes = resumable.waiting_bytes();
                self.queue = VecDeque::new();
                self.begin_socket();
            }
            _ => self.shut(),
        }
    }

    fn begin_socket(&mut self) {
        self.partial = false;
        self.writing = false;
        self.blocked_since = None;
        self.dirty = false;
    }
}

impl Connection {
    /// Has the connection outlive its socket from now on. `direct` is the first, if it takes bytes without waiting; else its
    /// session takes them by [`Connection::take`].
    pub fn make_resumable(&self, direct: Option<Arc<dyn DirectWrite>>) {
        self.lock().resumable = Some(Box::new(Resumable {
            sent: Sent::new(REPLAY_BYTES),
            waiting: VecDeque::new(),
            is_attached: true,
            socket: direct,
            sockets: 1,
        }));
    }

    /// Whether there is a socket to write to.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        !self.lock().is_away()
    }

    /// The socket is gone, without a word of its peer. Whether the connection goes on: it does if it outlives sockets and
    /// hasn't said its last word.
    pub fn detach(&self) -> bool {
        let mut out = self.lock();
        if !out.is_away() {
            out.lose_socket();
        }
        let goes_on = out.phase != Phase::Closed;
        drop(out);
        self.wake.notify_one();
        if !goes_on {
            self.shut();
        }
        goes_on
    }

    /// Goes on over a new socket: a Sequence record first, then what may have been lost, then what is new.
    pub fn attach(&self, direct: Option<Arc<dyn DirectWrite>>) {
        let mut out = self.lock();
        let Some(resumable) = &mut out.resumable else {
            return;
        };
        resumable.is_attached = true;
        resumable.socket = direct;
        resumable.sockets += 1;
        let sequence = resumable.sent.reattached();
        let mut queue = VecDeque::from([self.framed(&sequence)]);
        queue.extend(resumable.sent.replay().cloned());
        out.bytes = resumable.waiting_bytes() + queue.iter().map(Bytes::len).sum::<usize>();
        out.queue = queue;
        out.begin_socket();
        out.heard = out.heard.map(|_| Instant::now());
        out.admit(self.wire.framing);
        drop(out);
        self.flush();
    }

    /// The client has everything up to this number.
    pub fn acknowledged(&self, sequence_id: i64) {
        let mut out = self.lock();
        if let Some(resumable) = &mut out.resumable
            && resumable.sent.acknowledge(sequence_id)
        {
            out.admit(self.wire.framing);
            let pushed = out.became_dirty();
            drop(out);
            if pushed == Pushed::Dirty {
                self.flush();
            }
        }
    }

    /// Tells the client how far its messages have come.
    pub fn acknowledge(&self, ack: &HubMessage<'_>) {
        self.send_unnumbered(self.framed(ack));
    }

    /// The client has ended the connection by its socket's own means: `reply` is the last that it is sent.
    pub fn leave(&self, reply: Bytes) {
        let mut out = self.lock();
        if matches!(out.phase, Phase::Open | Phase::Entering) {
            out.phase = Phase::Closing;
            out.bytes += reply.len();
            out.queue.push_back(reply);
        }
        drop(out);
        self.flush();
    }

    fn framed(&self, message: &HubMessage<'_>) -> Bytes {
        let mut out = Vec::new();
        let encode = |out: &mut Vec<u8>| self.wire.encoding.encode(message, out);
        self.wire.framing.frame(&mut out, encode);
        out.into()
    }
}
