//! A connection whose input and output travel in requests of their own: Server-Sent Events and long polling.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use chat_core::auth::Caller;
use chat_core::fanout::Connection;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::inbox::Inbox;
use super::transport::{PollAnswer, Polls, Ticket, Waiting};

/// Tokens of its user that a connection remembers: those of its requests go on counting once it was renewed by another.
const TOKENS: usize = 4;

/// What requests and the session of a connection share.
#[derive(Debug)]
pub(super) struct Channel {
    /// What is posted.
    pub(super) inbox: Inbox,
    /// One POST is taken at a time, in their order.
    pub(super) posting: tokio::sync::Mutex<()>,
    /// One poll waits for output at a time.
    polling: tokio::sync::Mutex<()>,
    /// A GET has chosen the transport.
    pub(super) claimed: CancellationToken,
    /// Nothing is taken or given any more.
    pub(super) over: CancellationToken,
    /// A client that polls has learnt that the connection is over, or ended it.
    left: Notify,
    /// What a waiting poll must look at has changed.
    changed: Notify,
    state: Mutex<State>,
    /// Its place among all such connections.
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug, Default)]
struct State {
    polls: Polls,
    /// The answer to the handshake, before anything that the connection sends.
    first: Option<Bytes>,
    /// Once the handshake is done.
    connection: Option<Arc<Connection>>,
    /// The handshake was refused, or the session has ended: nothing follows.
    ended: bool,
    tokens: Vec<(Fingerprint, Caller)>,
}

/// What tells one token from another, and can't be used in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(super) fn of(token: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, token.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }
}

/// What a poll has taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    first: Option<Bytes>,
    chunks: Vec<Bytes>,
}

impl Taken {
    pub(super) fn bytes(&self) -> impl Iterator<Item = &Bytes> {
        self.first.iter().chain(&self.chunks)
    }

    fn is_empty(&self) -> bool {
        self.first.is_none() && self.chunks.is_empty()
    }
}

impl Channel {
    pub(super) fn new(permit: OwnedSemaphorePermit) -> Arc<Self> {
        Arc::new(Self {
            inbox: Inbox::default(),
            posting: tokio::sync::Mutex::default(),
            polling: tokio::sync::Mutex::default(),
            claimed: CancellationToken::new(),
            over: CancellationToken::new(),
            left: Notify::new(),
            changed: Notify::new(),
            state: Mutex::default(),
            _permit: permit,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- whose it is ----

    /// A request with this token was let in.
    pub(super) fn remember(&self, token: Fingerprint, caller: &Caller) {
        let mut state = self.lock();
        if state.tokens.iter().any(|(known, _)| *known == token) {
            return;
        }
        // The first one stays: it is the one that clients keep.
        if state.tokens.len() == TOKENS {
            state.tokens.remove(1);
        }
        state.tokens.push((token, caller.clone()));
    }

    /// Whose request with this token was let in before.
    pub(super) fn recall(&self, token: Fingerprint) -> Option<Caller> {
        let state = self.lock();
        let known = state.tokens.iter().find(|(known, _)| *known == token);
        known.map(|(_, caller)| caller.clone())
    }

    // ---- the session's side ----

    /// The handshake is accepted: its answer goes out to a poll, then what the connection sends.
    pub(super) fn attach(&self, answer: Option<Bytes>, connection: &Arc<Connection>) {
        let mut state = self.lock();
        state.first = answer;
        state.connection = Some(Arc::clone(connection));
        drop(state);
        self.changed.notify_waiters();
    }

    /// The handshake is refused: its answer is all that goes out.
    pub(super) fn refuse(&self, answer: Option<Bytes>) {
        let mut state = self.lock();
        state.first = answer;
        state.ended = true;
        drop(state);
        self.inbox.close();
        self.changed.notify_waiters();
    }

    /// The session has ended: nothing follows what is here.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.connection = None;
        drop(state);
        self.inbox.close();
        self.changed.notify_waiters();
    }

    /// Nothing is taken or given any more.
    pub(super) fn close(&self) {
        self.end();
        self.over.cancel();
        self.left.notify_one();
    }

    /// Whether its last record is on its way.
    pub(super) fn is_closing(&self) -> bool {
        let state = self.lock();
        state.ended || state.connection.as_ref().is_some_and(|c| c.is_closing())
    }

    /// Waits until no poll has come for as long as `patience`.
    pub(super) async fn abandoned(&self, patience: Duration) {
        loop {
            let until = self.lock().polls.rests_until(patience);
            match until {
                Some(at) if at <= Instant::now() => return,
                Some(at) => sleep_until(at).await,
                // A poll that ends before the next look leaves at least what is left of the time then.
                None => sleep(patience).await,
            }
        }
    }

    /// Waits until the client knows that the connection is over.
    pub(super) async fn left(&self) {
        self.left.notified().await;
    }

    // ---- polls ----

    /// A poll begins.
    pub(super) fn poll(self: &Arc<Self>) -> Poll {
        let ticket = self.lock().polls.begin();
        self.changed.notify_waiters();
        Poll {
            channel: Arc::clone(self),
            ticket,
        }
    }

    /// Takes what there is.
    fn waiting(
        &self,
        first: &mut Option<Bytes>,
        connection: Option<&Arc<Connection>>,
        ended: bool,
    ) -> Waiting<Taken> {
        if self.over.is_cancelled() {
            return Waiting::Over;
        }
        let mut taken = Taken {
            first: first.take(),
            chunks: Vec::new(),
        };
        let is_over = connection.map_or(ended, |c| c.take(&mut taken.chunks));
        if !taken.is_empty() {
            Waiting::Records(taken)
        } else if is_over {
            Waiting::Over
        } else {
            Waiting::Nothing
        }
    }
}

/// A poll that goes on until it is dropped.
#[derive(Debug)]
pub(super) struct Poll {
    channel: Arc<Channel>,
    ticket: Ticket,
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.channel.lock().polls.end(self.ticket, Instant::now());
    }
}

impl Poll {
    /// Waits for what it is answered, at most for `patience`.
    pub(super) async fn answer(&self, patience: Duration) -> PollAnswer<Taken> {
        let channel = &self.channel;
        let due = Instant::now() + patience;
        // One that waited before is superseded, and leaves at once.
        let _turn = channel.polling.lock().await;
        loop {
            let mut changed = std::pin::pin!(channel.changed.notified());
            changed.as_mut().enable();
            let connection = {
                let mut state = channel.lock();
                let state = &mut *state;
                let is_due = Instant::now() >= due;
                let answer = state.polls.answer(self.ticket, is_due, || {
                    channel.waiting(&mut state.first, state.connection.as_ref(), state.ended)
                });
                match answer {
                    Some(answer) => return answer,
                    None => state.connection.clone(),
                }
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = async {
                    match connection {
                        Some(connection) => connection.queued().await,
                        None => std::future::pending().await,
                    }
                } => {}
                () = channel.over.cancelled() => {}
                () = sleep_until(due) => {}
            }
        }
    }

    /// What it was answered is out: its client has what it took.
    pub(super) fn delivered(&self, taken: &Taken) {
        let connection = self.channel.lock().connection.clone();
        if let Some(connection) = connection
            && !taken.chunks.is_empty()
            && connection.written(taken.chunks.iter().map(Bytes::len).sum())
        {
            connection.shut();
        }
    }

    /// What it took never went out: the next poll takes it.
    pub(super) fn put_back(&self, taken: &mut Taken) {
        let mut state = self.channel.lock();
        if let Some(first) = taken.first.take() {
            state.first = Some(first);
        }
        let chunks = std::mem::take(&mut taken.chunks);
        if let Some(connection) = &state.connection
            && !chunks.is_empty()
        {
            connection.put_back(chunks);
        }
        drop(state);
        self.channel.changed.notify_waiters();
    }

    /// Its client knows now that the connection is over.
    pub(super) fn told_over(&self) {
        self.channel.left.notify_one();
    }
}
