//! The connections of this node that were opened by a token: one token opens one connection, once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chat_core::auth::Caller;
use chat_core::fanout::Connection;
use chat_core::model::{Timestamp, UserId};
use chat_core::protocol::signalr::negotiate::Transport;
use chat_core::service::Error;
use tokio::sync::Semaphore;

use super::channel::{Channel, Fingerprint};
use super::refusal::Refusal;
use super::slot::{Slot, Turn};
use super::token::Claims;
use super::transport::{Ask, Standing, Step, decide};

/// How often those that are over, and whose tokens have run out, are forgotten.
const SWEEP: Duration = Duration::from_secs(1);

/// The connections, by their public ids.
#[derive(Clone, Debug)]
pub(super) struct Registry {
    entries: Arc<Mutex<Entries>>,
    /// Places for connections that hold no socket all the time.
    channels: Arc<Semaphore>,
}

#[derive(Debug)]
struct Entries {
    by_id: BTreeMap<String, Entry>,
    sweep_at: Timestamp,
}

#[derive(Debug)]
struct Entry {
    user_id: UserId,
    /// The session that negotiated, until the connection knows its own.
    session: Option<String>,
    connection: Option<Arc<Connection>>,
    over: Over,
    /// Until then the token could still be presented.
    expires_at: Timestamp,
}

/// What carries it.
#[derive(Clone, Debug)]
enum Over {
    /// Nothing: no GET came yet.
    Nothing(Arc<Channel>),
    WebSocket,
    /// WebSockets, one after another.
    WebSockets(Arc<Slot>),
    Channel(Transport, Arc<Channel>),
    /// The connection is gone.
    Ended,
}

impl Entry {
    fn is_of(&self, caller: &Caller) -> bool {
        let session = caller.session.as_deref();
        self.user_id == caller.user_id
            && match &self.connection {
                Some(connection) => connection.has_had(session),
                None => self.session.as_deref() == session,
            }
    }

    fn standing(&self) -> Standing {
        match &self.over {
            Over::Nothing(_) => Standing::Fresh,
            Over::WebSocket | Over::WebSockets(_)
                if self.connection.as_ref().is_some_and(|c| c.is_closing()) =>
            {
                Standing::Closing(Transport::WebSockets)
            }
            Over::WebSocket => Standing::Active(Transport::WebSockets),
            Over::WebSockets(_) => Standing::Resumable,
            Over::Channel(transport, channel) if channel.is_closing() => {
                Standing::Closing(*transport)
            }
            Over::Channel(transport, _) => Standing::Active(*transport),
            Over::Ended => Standing::Unknown,
        }
    }

    fn channel(&self) -> Option<&Arc<Channel>> {
        match &self.over {
            Over::Nothing(channel) | Over::Channel(_, channel) => Some(channel),
            Over::WebSocket | Over::WebSockets(_) | Over::Ended => None,
        }
    }
}

/// What a request was let in to.
#[derive(Debug)]
pub(super) enum Granted {
    /// To open the connection over a WebSocket; what was posted before is its first input.
    WebSocket(Place, Option<Arc<Channel>>),
    /// To go on over a new WebSocket.
    Resume(Arc<Slot>, Turn),
    /// To open it as a stream of events.
    Stream(Place, Arc<Channel>),
    /// To open it as polls, with the first.
    Polls(Place, Arc<Channel>),
    /// To poll.
    Poll(Arc<Channel>),
    /// To post.
    Post(Arc<Channel>),
    /// To post before a GET came, for the first time: without one it is over soon.
    FirstPost(Arc<Channel>, Duration),
    /// The connection was ended.
    End(Arc<Channel>),
}

/// The place of an open connection; dropped when it ends.
#[derive(Debug)]
pub(super) struct Place {
    registry: Registry,
    connection_id: String,
}

impl Place {
    /// The connection is made: it says whose it is from now on.
    pub(super) fn attach(&self, connection: &Arc<Connection>) {
        if let Some(entry) = self.registry.lock().by_id.get_mut(&self.connection_id) {
            entry.connection = Some(Arc::clone(connection));
            entry.session = None;
        }
    }

    /// The connection outlives its socket: the next one is to be put there.
    pub(super) fn make_resumable(&self, slot: &Arc<Slot>) {
        if let Some(entry) = self.registry.lock().by_id.get_mut(&self.connection_id) {
            entry.over = Over::WebSockets(Arc::clone(slot));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.end(&self.connection_id);
    }
}

impl Registry {
    /// An empty one, for so many connections without a socket at once.
    pub(super) fn new(channels: usize) -> Self {
        Self {
            entries: Arc::new(Mutex::new(Entries {
                by_id: BTreeMap::new(),
                sweep_at: Timestamp::from_millis(0),
            })),
            channels: Arc::new(Semaphore::new(channels)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a request in to the connection that its token is for, and notes what that makes of it.
    ///
    /// # Errors
    /// What to answer instead.
    pub(super) fn ask(
        &self,
        claims: &Claims,
        ask: Ask,
        caller: &Caller,
        now: Timestamp,
        is_draining: bool,
    ) -> Result<Granted, Refusal> {
        let mut entries = self.lock();
        entries.sweep(now);
        let standing = match entries.by_id.get(&claims.connection_id) {
            Some(entry) if entry.is_of(caller) => entry.standing(),
            None if now < claims.expires_at && claims.is_of(caller) => Standing::Fresh,
            Some(_) | None => Standing::Unknown,
        };
        let step = decide(ask, standing)?;
        let known = entries.by_id.get(&claims.connection_id);
        let channel = known.and_then(Entry::channel).cloned();
        if let (Step::Resume, Some(Over::WebSockets(slot))) = (step, known.map(|k| &k.over)) {
            return Ok(Granted::Resume(Arc::clone(slot), slot.turn()));
        }
        let is_new = known.is_none();
        if is_draining && (is_new || matches!(step, Step::Open(_))) {
            return Err(Error::unavailable("the server is draining: connect again").into());
        }
        let made = || match channel.clone() {
            Some(channel) => Ok(channel),
            None => self.channel(),
        };
        let (over, granted) = match step {
            Step::Open(Transport::WebSockets) => (
                Over::WebSocket,
                Granted::WebSocket(self.place(claims), channel),
            ),
            Step::Open(transport) => {
                let channel = made()?;
                let over = Over::Channel(transport, Arc::clone(&channel));
                let place = self.place(claims);
                let granted = match transport {
                    Transport::ServerSentEvents => Granted::Stream(place, channel),
                    _ => Granted::Polls(place, channel),
                };
                (over, granted)
            }
            Step::Take => {
                let channel = made()?;
                if !is_new {
                    return Ok(Granted::Post(channel));
                }
                let left = claims.expires_at.as_millis() - now.as_millis();
                let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
                let over = Over::Nothing(Arc::clone(&channel));
                (over, Granted::FirstPost(channel, left))
            }
            Step::Poll => return Ok(Granted::Poll(made()?)),
            Step::Resume => return Err(Refusal::no_connection()),
            Step::End => (Over::Ended, Granted::End(made()?)),
        };
        let entry = entries
            .by_id
            .entry(claims.connection_id.clone())
            .or_insert_with(|| Entry {
                user_id: claims.user_id,
                session: claims.session.clone(),
                connection: None,
                over: Over::Ended,
                expires_at: claims.expires_at,
            });
        entry.over = over;
        if matches!(granted, Granted::End(_)) {
            entry.connection = None;
        }
        Ok(granted)
    }

    fn place(&self, claims: &Claims) -> Place {
        Place {
            registry: self.clone(),
            connection_id: claims.connection_id.clone(),
        }
    }

    fn channel(&self) -> Result<Arc<Channel>, Refusal> {
        let permit = Arc::clone(&self.channels).try_acquire_owned();
        let permit = permit
            .map_err(|_| Error::unavailable("too many connections are open here: connect again"))?;
        Ok(Channel::new(permit))
    }

    /// Whose request with this token was let in before, if the connection was renewed by a newer one since: clients that poll
    /// and post keep the token that they began with (signalr.md, section 2).
    pub(super) fn recall(
        &self,
        connection_id: &str,
        token: Fingerprint,
        now: Timestamp,
    ) -> Option<Caller> {
        let entries = self.lock();
        let entry = entries.by_id.get(connection_id)?;
        let is_renewed = entry.connection.as_ref()?.outlives(now);
        entry.channel().filter(|_| is_renewed)?.recall(token)
    }

    /// The connection is gone.
    pub(super) fn end(&self, connection_id: &str) {
        if let Some(entry) = self.lock().by_id.get_mut(connection_id) {
            entry.over = Over::Ended;
            entry.connection = None;
        }
    }

    /// The connection is gone, unless a GET came; whether it is.
    pub(super) fn end_unclaimed(&self, connection_id: &str) -> bool {
        match self.lock().by_id.get_mut(connection_id) {
            Some(entry) if matches!(entry.over, Over::Nothing(_)) => {
                entry.over = Over::Ended;
                true
            }
            _ => false,
        }
    }

    /// How many connections are here.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let entries = self.lock();
        let is_here = |e: &&Entry| !matches!(e.over, Over::Ended);
        entries.by_id.values().filter(is_here).count()
    }
}

impl Entries {
    fn sweep(&mut self, now: Timestamp) {
        if now >= self.sweep_at {
            self.sweep_at = now.plus(SWEEP);
            self.by_id
                .retain(|_, e| !matches!(e.over, Over::Ended) || e.expires_at > now);
        }
    }
}

#[cfg(test)]
mod tests;
