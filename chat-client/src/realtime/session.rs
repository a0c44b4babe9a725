//! One connection that stands: what is under way on it, and its timers.

use std::collections::BTreeMap;

use chat_core::model::{Clock, RoomId};
use chat_core::protocol::hub::{self, ClosingReason, Method};
use chat_core::protocol::signalr::EncodeError;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant};

use super::driver::{End, RealtimeOptions};
use super::request::{Call, RawResult, Request};
use super::sends::{NewSend, SendKey};
use super::sync::Fetch;
use super::wire::Wire;
use crate::error::{Disconnect, Error, Result};
use crate::login::TokenInUse;

/// Calls of the application under way at once, beside sends.
const CALLS: usize = 64;
/// The pause before a failed renewal of the token is tried again.
const RENEWAL_PAUSE: Duration = Duration::from_secs(5);

/// A connection, from the handshake to its end.
pub(crate) struct Session {
    pub(crate) wire: Wire,
    pub(crate) calls: Calls,
    pub(crate) renewal: Renewal,
    /// When `Connected` came; only then is anything asked of the server.
    pub(crate) connected_at: Option<Instant>,
    /// Why the server said it would end the connection.
    pub(crate) closing: Option<ClosingReason>,
    opened_at: Instant,
    last_written: Instant,
    last_heard: Instant,
    /// Whether input is read at all: not while the application is behind.
    reading: bool,
}

impl Session {
    /// Begins right after the handshake, with a Ping where there are any: the server's time-out counts from the first one.
    pub(crate) fn new(wire: Wire, token: TokenInUse, clock: &dyn Clock, now: Instant) -> Self {
        let mut session = Self {
            wire,
            calls: Calls::default(),
            renewal: Renewal::of(token, clock, now),
            connected_at: None,
            closing: None,
            opened_at: now,
            last_written: now,
            last_heard: now,
            reading: true,
        };
        if session.wire.is_kept_alive() {
            session.ping(now);
        }
        session
    }

    /// The access token that the connection runs under.
    pub(crate) fn token(&self) -> String {
        self.renewal.token.token.clone()
    }

    /// How long the connection has stood, if it did.
    pub(crate) fn stood_for(&self, now: Instant) -> Option<Duration> {
        self.connected_at.map(|at| now.duration_since(at))
    }

    pub(crate) fn write(&mut self, record: Vec<u8>, now: Instant) {
        self.last_written = now;
        self.wire.write(record);
    }

    fn ping(&mut self, now: Instant) {
        let ping = self.wire.encoding.ping();
        self.write(ping.to_vec(), now);
    }

    pub(crate) fn heard(&mut self, now: Instant) {
        self.last_heard = now;
    }

    /// Reads on, or not. Silence counts only while reading.
    pub(crate) fn set_reading(&mut self, reading: bool, now: Instant) {
        if reading && !self.reading {
            self.last_heard = now;
        }
        self.reading = reading;
    }

    pub(crate) const fn is_reading(&self) -> bool {
        self.reading
    }

    /// When a timer of the connection itself falls due.
    pub(crate) fn wake_at(&self, options: &RealtimeOptions) -> Instant {
        let is_kept_alive = self.wire.is_kept_alive();
        [
            is_kept_alive.then(|| self.last_written + options.keep_alive),
            (is_kept_alive && self.reading).then(|| self.last_heard + options.server_timeout),
            (self.connected_at.is_none()).then(|| self.opened_at + options.handshake_timeout),
            self.calls.expires_at(),
            self.renewal.at,
        ]
        .into_iter()
        .flatten()
        .min()
        // Nothing is due: looking again does no harm.
        .unwrap_or_else(|| Instant::now() + options.server_timeout)
    }

    /// Carries out the timers that are due, but for those of calls.
    pub(crate) fn on_time(&mut self, options: &RealtimeOptions, now: Instant) -> Result<(), End> {
        let is_kept_alive = self.wire.is_kept_alive();
        if is_kept_alive && self.reading && now >= self.last_heard + options.server_timeout {
            return Err(End::lost(Disconnect::Silent(options.server_timeout)));
        }
        if self.connected_at.is_none() && now >= self.opened_at + options.handshake_timeout {
            return Err(End::lost(Disconnect::Silent(options.handshake_timeout)));
        }
        if is_kept_alive && now >= self.last_written + options.keep_alive {
            self.ping(now);
        }
        Ok(())
    }

    /// Writes a message to be sent.
    pub(crate) fn send(&mut self, key: SendKey, send: &NewSend, now: Instant) -> Result<(), End> {
        let argument = hub::SendMessage {
            room_id: send.room_id,
            content: send.content.clone(),
            client_message_id: Some(send.client_message_id.clone()),
        };
        // A send's deadline is its own.
        let id = self.calls.add(Pending::Send(key), None);
        let mut record = Vec::new();
        let target = Method::SendMessage.target();
        let encoded = (self.wire.encoding).invocation(Some(&id), target, &argument, &mut record);
        self.write_encoded(encoded, record, now)
    }

    /// Asks for what a room missed.
    pub(crate) fn fetch(&mut self, fetch: Fetch, limit: Duration, now: Instant) -> Result<(), End> {
        let pending = Pending::Fetch(fetch.room_id);
        let request = Request::Changes(hub::GetChanges {
            room_id: fetch.room_id,
            since: fetch.since,
            from: Some(fetch.from),
            limit: Some(*chat_core::model::limits::PAGE_LIMIT.end()),
        });
        self.request(&request, pending, limit, now)
    }

    /// Makes a call of the application's.
    pub(crate) fn call(&mut self, call: Call, limit: Duration, now: Instant) -> Result<(), End> {
        let pending = Pending::Call {
            is_change: call.request.is_change(),
            reply: call.reply,
        };
        self.request(&call.request, pending, limit, now)
    }

    fn request(
        &mut self,
        request: &Request,
        pending: Pending,
        limit: Duration,
        now: Instant,
    ) -> Result<(), End> {
        let id = self.calls.add(pending, Some(now + limit));
        let mut record = Vec::new();
        let encoded = request.encode(self.wire.encoding, &id, &mut record);
        self.write_encoded(encoded, record, now)
    }

    /// Renews the connection's authority in place.
    pub(crate) fn authenticate(
        &mut self,
        token: TokenInUse,
        limit: Duration,
        now: Instant,
    ) -> Result<(), End> {
        let argument = hub::Authenticate {
            access_token: token.token.clone(),
        };
        let id = (self.calls).add(Pending::Authenticate(token), Some(now + limit));
        let mut record = Vec::new();
        let target = Method::Authenticate.target();
        let encoded = (self.wire.encoding).invocation(Some(&id), target, &argument, &mut record);
        self.write_encoded(encoded, record, now)
    }

    fn write_encoded(
        &mut self,
        encoded: Result<(), EncodeError>,
        record: Vec<u8>,
        now: Instant,
    ) -> Result<(), End> {
        encoded.map_err(|e| End::lost(Disconnect::Protocol(e.to_string())))?;
        self.write(record, now);
        Ok(())
    }

    /// Tells the application's calls that no answer comes.
    pub(crate) fn fail_calls(self, reason: &Error) -> Wire {
        for (pending, _) in self.calls.pending.into_values() {
            pending.fail(reason);
        }
        self.wire
    }
}

/// What waits for a completion.
pub(crate) enum Pending {
    Send(SendKey),
    Fetch(RoomId),
    Authenticate(TokenInUse),
    Call {
        is_change: bool,
        reply: oneshot::Sender<Option<Result<RawResult>>>,
    },
}

impl Pending {
    pub(crate) fn fail(self, reason: &Error) {
        if let Self::Call { reply, .. } = self {
            let _ = reply.send(Some(Err(reason.clone())));
        }
    }
}

/// The calls under way, by the ids that they went out with.
#[derive(Default)]
pub(crate) struct Calls {
    last_id: u64,
    pending: BTreeMap<u64, (Pending, Option<Instant>)>,
    applications: usize,
}

impl Calls {
    fn add(&mut self, pending: Pending, expires_at: Option<Instant>) -> String {
        self.last_id += 1;
        self.applications += usize::from(matches!(pending, Pending::Call { .. }));
        self.pending.insert(self.last_id, (pending, expires_at));
        self.last_id.to_string()
    }

    /// The call that a completion is about, if anyone still waits for it.
    pub(crate) fn take(&mut self, id: &str) -> Option<Pending> {
        self.remove(id.parse().ok()?)
    }

    fn remove(&mut self, id: u64) -> Option<Pending> {
        let (pending, _) = self.pending.remove(&id)?;
        self.applications -= usize::from(matches!(pending, Pending::Call { .. }));
        Some(pending)
    }

    /// Whether the application may make one more.
    pub(crate) const fn has_room(&self) -> bool {
        self.applications < CALLS
    }

    /// Whether something of the application's waits for an answer: then the input must be read, whatever else.
    pub(crate) fn is_awaited(&self) -> bool {
        self.pending
            .values()
            .any(|(pending, _)| !matches!(pending, Pending::Fetch(_)))
    }

    fn expires_at(&self) -> Option<Instant> {
        self.pending.values().filter_map(|(_, at)| *at).min()
    }

    /// The calls whose answer didn't come in time.
    pub(crate) fn expired(&mut self, now: Instant) -> Vec<Pending> {
        let ids: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, (_, at))| at.is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        ids.into_iter().filter_map(|id| self.remove(id)).collect()
    }
}

/// When and with what the connection's authority is renewed.
pub(crate) struct Renewal {
    pub(crate) token: TokenInUse,
    /// When to fetch the next token.
    pub(crate) at: Option<Instant>,
    /// Fetching it.
    pub(crate) fetching: Option<BoxFuture<'static, Result<TokenInUse>>>,
}

impl Renewal {
    pub(crate) fn of(token: TokenInUse, clock: &dyn Clock, now: Instant) -> Self {
        Self {
            at: token.renew_at.map(|at| now + at.since(clock.now())),
            token,
            fetching: None,
        }
    }

    /// The token fetched, once it is there. Cancel safe.
    pub(crate) async fn fetched(&mut self) -> Result<TokenInUse> {
        let Some(fetching) = &mut self.fetching else {
            return std::future::pending().await;
        };
        let result = fetching.await;
        self.fetching = None;
        result
    }

    pub(crate) fn later(&mut self, now: Instant) {
        self.at = Some(now + RENEWAL_PAUSE);
    }
}
