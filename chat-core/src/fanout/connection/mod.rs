//! One client's connection as the fan-out sees it: a bounded queue of bytes, and how it ends.

mod authority;
mod resume;
mod time;
mod write;

use std::collections::VecDeque;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::authority::Authority;
use self::resume::Resumable;
pub use self::write::DirectWrite;
use super::frame::{Framing, Wire};
use crate::auth::Caller;
use crate::model::UserId;
use crate::protocol::hub::{Closing, ClosingReason, target};
use crate::protocol::signalr::{EncodeError, Encoding};

/// How long the peer's own close is waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a poll that fetches the last records is waited for.
const FETCH_TIMEOUT: Duration = Duration::from_secs(15);

/// How the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// On purpose: `Closing` says why, then the Close record.
    Closing(ClosingReason),
    /// The client asked for it: a Close record in return.
    Client,
    /// The client broke the protocol or fell silent: a Close record with an error.
    Error,
}

/// A client's connection. Made by its session, entered into the [`Fanout`](super::Fanout), which pushes events into it.
pub struct Connection {
    number: u64,
    public_id: String,
    user_id: UserId,
    wire: Wire,
    queue_bytes: usize,
    direct: Option<Box<dyn DirectWrite>>,
    authority: Mutex<Authority>,
    outgoing: Mutex<Outgoing>,
    /// Wakes the session's task: a write blocked, the queue of a plain transport filled, calls ended, or the end came.
    wake: Notify,
    /// Wakes who writes a plain transport.
    queued: Notify,
    /// Wakes who waits for room in the queue.
    drained: Notify,
    /// Calls of this connection that the writer has not answered.
    in_flight: AtomicU32,
    /// The segment being built that holds a completion for this connection.
    pub(super) stamp: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Registered, but `Connected` isn't queued yet: what arrives waits.
    Entering,
    Open,
    /// The last record is queued; nothing more is taken.
    Closing,
    Closed,
}

struct Outgoing {
    queue: VecDeque<Bytes>,
    /// Bytes queued or being written.
    bytes: usize,
    phase: Phase,
    /// The front of the queue is the rest of a chunk that was begun: it must stay whole.
    partial: bool,
    /// A flusher is writing, with the queue's chunks taken out.
    writing: bool,
    /// When the socket last refused; the session's task waits for it.
    blocked_since: Option<Instant>,
    /// On a flusher's list already.
    dirty: bool,
    /// Someone waits for room in the queue.
    awaited: bool,
    /// It is closed because it didn't keep up.
    slow: bool,
    last_ping: Instant,
    /// When the client was last heard, once it has pinged.
    heard: Option<Instant>,
    close_by: Option<Instant>,
    /// It outlives its sockets.
    resumable: Option<Box<Resumable>>,
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// Queued, and the connection must be put on a flusher's list.
    Dirty,
    /// Queued behind what is being written already, or not taken because the connection ends.
    Quiet,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.public_id)
            .field("user", &self.user_id)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// A connection of `caller` that is not entered yet. `number` is this node's own for it, `public_id` what clients see;
    /// at most `queue_bytes` wait in it. Without `direct` its session takes the bytes by [`Connection::take`].
    #[must_use]
    pub fn new(
        number: u64,
        public_id: String,
        caller: &Caller,
        wire: Wire,
        queue_bytes: usize,
        direct: Option<Box<dyn DirectWrite>>,
    ) -> Self {
        Self {
            number,
            public_id,
            user_id: caller.user_id,
            wire,
            queue_bytes,
            direct,
            authority: Mutex::new(Authority::of(caller)),
            outgoing: Mutex::new(Outgoing {
                queue: VecDeque::new(),
                bytes: 0,
                phase: Phase::Entering,
                partial: false,
                writing: false,
                blocked_since: None,
                dirty: false,
                awaited: false,
                slow: false,
                last_ping: Instant::now(),
                heard: None,
                close_by: None,
                resumable: None,
            }),
            wake: Notify::new(),
            queued: Notify::new(),
            drained: Notify::new(),
            in_flight: AtomicU32::new(0),
            stamp: AtomicU64::new(0),
        }
    }

    /// This node's number for it.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The id that clients see.
    #[must_use]
    pub fn public_id(&self) -> &str {
        &self.public_id
    }

    /// Whose it is.
    #[must_use]
    pub const fn user_id(&self) -> UserId {
        self.user_id
    }

    /// What its bytes look like.
    #[must_use]
    pub const fn wire(&self) -> Wire {
        self.wire
    }

    fn lock(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- what goes out ----

    /// Queues whole framed records and flushes at once: for what a session itself answers.
    pub fn send(&self, framed: Bytes) {
        if self.push([framed]) == Pushed::Dirty {
            self.flush();
        }
    }

    /// Queues the completion of a call with its result and flushes.
    pub fn complete(&self, id: &str, result: &impl Serialize) {
        let mut out = Vec::new();
        self.wire.completion(id, result, &mut out);
        self.send(out.into());
    }

    /// Queues the completion of a call that failed and flushes.
    pub fn complete_error(&self, id: &str, error: &str) {
        let mut out = Vec::new();
        self.wire.completion_error(id, error, &mut out);
        self.send(out.into());
    }

    /// Queues one record of this connection's own, in its encoding, and flushes.
    pub fn send_record(
        &self,
        write: impl FnOnce(Encoding, &mut Vec<u8>) -> Result<(), EncodeError>,
    ) {
        let mut out = Vec::new();
        self.wire.record(&mut out, write);
        self.send(out.into());
    }

    /// Queues what belongs to the transport and isn't numbered (Ping, Ack, pongs), and flushes. It overtakes what waits to be
    /// acknowledged.
    pub fn send_unnumbered(&self, framed: Bytes) {
        let mut out = self.lock();
        if !matches!(out.phase, Phase::Open | Phase::Entering) || out.is_away() {
            return;
        }
        out.bytes += framed.len();
        out.queue.push_back(framed);
        let pushed = out.became_dirty();
        drop(out);
        if pushed == Pushed::Dirty {
            self.flush();
        }
    }

    /// Queues whole framed records, in order. Over its bound the connection is closed as slow.
    pub(super) fn push(&self, chunks: impl IntoIterator<Item = Bytes>) -> Pushed {
        let mut out = self.lock();
        if !matches!(out.phase, Phase::Open | Phase::Entering) {
            return Pushed::Quiet;
        }
        for chunk in chunks {
            out.bytes += chunk.len();
            match &mut out.resumable {
                None => out.queue.push_back(chunk),
                Some(resumable) => resumable.wait(chunk),
            }
        }
        out.admit(self.wire.framing);
        if out.is_over(self.queue_bytes) {
            out.drop_queue();
            self.finish(&mut out, End::Closing(ClosingReason::Slow));
        }
        out.became_dirty()
    }

    /// Puts `Connected` in front of what arrived while entering, and lets the queue flow.
    pub(super) fn open(&self, connected: Bytes) -> Pushed {
        let mut out = self.lock();
        if out.phase == Phase::Entering {
            out.phase = Phase::Open;
            out.bytes += connected.len();
            match &mut out.resumable {
                None => out.queue.push_front(connected),
                Some(resumable) => resumable.wait_first(connected),
            }
            out.admit(self.wire.framing);
        }
        out.became_dirty()
    }

    /// Ends the connection: its last records are queued behind what waits, and nothing after them is taken.
    pub fn close(&self, end: End) {
        let mut out = self.lock();
        if matches!(out.phase, Phase::Closing | Phase::Closed) {
            return;
        }
        self.finish(&mut out, end);
        out.dirty = true;
        drop(out);
        self.flush();
        self.wake.notify_one();
    }

    fn finish(&self, out: &mut Outgoing, end: End) {
        out.slow = end == End::Closing(ClosingReason::Slow);
        if out.is_away() {
            // There is no one to tell: whoever comes back finds it gone.
            out.shut();
            self.wake.notify_one();
            return;
        }
        out.release();
        let mut bytes = Vec::new();
        let Wire { encoding, framing } = self.wire;
        if let End::Closing(reason) = end {
            self.wire
                .event(target::CLOSING, &Closing { reason }, &mut bytes);
        }
        let (error, allow_reconnect) = match end {
            End::Closing(reason) => (None, reason.can_reconnect()),
            End::Client => (None, false),
            End::Error => (Some("Connection closed with an error."), true),
        };
        framing.frame(&mut bytes, |out| {
            encoding.close(error, allow_reconnect, out);
        });
        framing.end(&mut bytes, 1000);
        out.bytes += bytes.len();
        out.queue.push_back(bytes.into());
        out.phase = Phase::Closing;
        let patience = match framing {
            Framing::LongPolling => FETCH_TIMEOUT,
            _ => CLOSE_TIMEOUT,
        };
        out.close_by = Some(Instant::now() + patience);
        self.wake.notify_one();
    }

    /// Wakes who waits for room in the queue: hardly ever someone, and each look at the waiters costs a lock.
    fn tell_drained(&self, out: &mut Outgoing) {
        if std::mem::take(&mut out.awaited) {
            self.drained.notify_waiters();
        }
    }

    /// Waits until something is queued for a transport without [`DirectWrite`], or the end came. For one waiter.
    pub async fn queued(&self) {
        self.queued.notified().await;
    }

    /// Waits until no more than `bytes` wait to be written, or the connection is over.
    pub async fn drained_to(&self, bytes: usize) {
        loop {
            let mut drained = pin!(self.drained.notified());
            drained.as_mut().enable();
            {
                let mut out = self.lock();
                if out.bytes <= bytes || out.phase == Phase::Closed {
                    return;
                }
                out.awaited = true;
            }
            drained.await;
        }
    }

    // ---- the session's task ----

    /// Waits until the session's task has something to do.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Whether the last record is queued.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        matches!(self.lock().phase, Phase::Closing | Phase::Closed)
    }

    /// Whether the connection is over: its socket may be dropped.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().phase == Phase::Closed
    }

    /// Whether it was closed because it didn't keep up.
    pub(super) fn was_slow(&self) -> bool {
        self.lock().slow
    }

    /// The socket is gone: nothing is taken any more.
    pub fn shut(&self) {
        self.lock().shut();
        self.wake.notify_one();
        self.queued.notify_one();
        self.drained.notify_waiters();
    }

    /// A whole record came from the client; `ping` if it was one.
    pub fn heard(&self, ping: bool) {
        let mut out = self.lock();
        if ping || out.heard.is_some() {
            out.heard = Some(Instant::now());
        }
    }

    /// A call was given to the writer.
    pub fn call_started(&self) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
    }

    /// The writer answered a call.
    pub(crate) fn call_ended(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.wake.notify_one();
    }

    /// Calls that the writer has not answered.
    #[must_use]
    pub fn calls_in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }
}

impl Outgoing {
    fn became_dirty(&mut self) -> Pushed {
        if self.dirty
            || self.is_away()
            || self.writing
            || self.blocked_since.is_some()
            || self.phase == Phase::Entering
        {
            return Pushed::Quiet;
        }
        self.dirty = true;
        Pushed::Dirty
    }

    /// Drops what waits, but for the rest of a chunk that the peer has the beginning of.
    fn drop_queue(&mut self) {
        if let Some(resumable) = &mut self.resumable {
            self.bytes -= resumable.drop_waiting();
        }
        let keep = usize::from(self.partial && !self.writing);
        while self.queue.len() > keep {
            if let Some(chunk) = self.queue.pop_back() {
                self.bytes -= chunk.len();
            }
        }
    }

    fn shut(&mut self) {
        self.phase = Phase::Closed;
        self.queue = VecDeque::new();
        self.bytes = 0;
        self.blocked_since = None;
        self.resumable = None;
    }
}
