//! The use cases: authorise, write, deliver. [`Chat`] is what an embedder calls and what the stock server serves.

pub mod accounts;
mod background;
mod builder;
mod error;
#[cfg(feature = "testing")]
mod faults;
mod fields;
mod host;
mod messages;
pub mod rates;
mod relay;
mod rooms;
#[cfg(all(test, feature = "testing"))]
mod tests;
pub mod webhooks;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::accounts::AccountService;
pub use self::builder::{ChatBuilder, StartError};
pub use self::error::Error;
#[cfg(feature = "testing")]
pub use self::faults::Fault;
pub use self::messages::Sent;
use self::rates::RateLimits;
pub use self::relay::RelayStats;
use self::relay::Subscribed;
use self::webhooks::Outgoing;
use self::writer::Writer;
pub use self::writer::{COMMIT_DURATION, WriterStats};
use crate::auth::EndedSessions;
use crate::auth::{AuthError, Authenticator, Caller, Identity};
use crate::bus::{EventBus, Health};
use crate::fanout::{Connection, End, Fanout, FanoutStats};
use crate::model::{Clock, Timestamp, UserId};
use crate::protocol::hub::ClosingReason;
use crate::random::Random;
use crate::store::{Change, EndedSession, Outcome, Store, StoreError};

/// Users whose `(issuer, subject)` is remembered; beyond it the store is asked again.
const IDENTITIES: usize = 100_000;
/// How long [`Chat::drain_on`] spreads the goodbyes.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the last connections may take to close after a drain's own time.
const DRAIN_LAST: Duration = Duration::from_secs(5);
/// How long whoever asks why the chat isn't ready waits to hear of an old schema: less than a probe does.
const SCHEMA_LOOK: Duration = Duration::from_millis(500);

/// A running chat: rooms, messages and connections over one store. Cheap to clone; the last clone's end stops it.
///
/// ```no_run
/// use chat_core::auth::Authenticator;
/// use chat_core::service::Chat;
/// use chat_core::store::sqlite::Sqlite;
/// # async fn example(my_authenticator: impl Authenticator + 'static) -> Result<(), Box<dyn std::error::Error>> {
/// let chat = Chat::builder().store(Sqlite::open("chat.db").await?).authenticator(my_authenticator).start().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Chat(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    authenticator: Arc<dyn Authenticator>,
    fanout: Arc<Fanout>,
    writer: Writer,
    writer_stats: Arc<WriterStats>,
    /// Where this node publishes what it commits.
    relay_stats: Option<Arc<RelayStats>>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    rates: Arc<RateLimits>,
    ended: Arc<EndedSessions>,
    accounts: Option<AccountService>,
    outgoing: Option<Outgoing>,
    identities: Mutex<BTreeMap<(String, String), UserId>>,
    jobs: Arc<Notify>,
    /// How far the subscription to the bus is, where there is a bus.
    subscribed: Option<watch::Receiver<Subscribed>>,
    draining: AtomicBool,
    queue_bytes: usize,
    #[cfg(feature = "testing")]
    fault: Option<Fault>,
    bus: Option<Arc<dyn EventBus>>,
    /// The background work; it ends with the value.
    #[allow(dead_code)]
    tasks: JoinSet<()>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Makes known on all nodes that sessions ended.
    async fn end(&self, sessions: Vec<EndedSession>) -> Result<(), Error> {
        let (store, clock) = (self.store.as_ref(), self.clock.as_ref());
        Ok(self.ended.end(store, clock, sessions).await?)
    }
}

impl Chat {
    /// Starts from here: a builder that wants at least a store and an authenticator.
    pub fn builder() -> ChatBuilder {
        ChatBuilder::default()
    }

    fn store(&self) -> &dyn Store {
        self.0.store.as_ref()
    }

    fn writer(&self) -> &Writer {
        &self.0.writer
    }

    fn rates(&self) -> &RateLimits {
        &self.0.rates
    }

    fn random(&self) -> &dyn Random {
        self.0.random.as_ref()
    }

    /// The time now, by the injected clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    async fn write(&self, change: Change) -> Result<Outcome, Error> {
        Ok(self.writer().write(change).await?.outcome)
    }

    /// The use cases of accounts, where this server signs people in itself.
    #[must_use]
    pub fn accounts(&self) -> Option<&AccountService> {
        self.0.accounts.as_ref()
    }

    /// Who sends a request: asks the authenticator, refuses ended sessions, and maps a host's user to its id here.
    ///
    /// # Errors
    /// `unauthenticated`, `token_expired`, `unavailable`.
    pub async fn authenticate(&self, request: &http::request::Parts) -> Result<Caller, Error> {
        let identity = self.0.authenticator.authenticate(request).await?;
        self.caller(identity).await
    }

    /// Who a bare access token is of.
    ///
    /// # Errors
    /// As [`Chat::authenticate`].
    pub async fn authenticate_token(&self, token: &str) -> Result<Caller, Error> {
        let identity = self.0.authenticator.authenticate_token(token).await?;
        self.caller(identity).await
    }

    async fn caller(&self, identity: Identity) -> Result<Caller, Error> {
        let Identity {
            issuer,
            subject,
            name,
            session,
            expires_at,
        } = identity;
        if !self.0.ended.is_current() {
            return Err(AuthError::Unavailable.into());
        }
        if session.as_deref().is_some_and(|s| self.0.ended.contains(s)) {
            return Err(AuthError::Unauthenticated.into());
        }
        let user_id = if issuer == Identity::LOCAL {
            subject.parse().map_err(|_| AuthError::Unauthenticated)?
        } else {
            self.identify(issuer, subject, &name).await?
        };
        Ok(Caller {
            user_id,
            session,
            expires_at,
        })
    }

    /// Whether this session is known to be over. Those whose tokens have all run out are forgotten.
    #[must_use]
    pub fn is_session_ended(&self, session: &str) -> bool {
        self.0.ended.contains(session)
    }

    // ---- connections ----

    /// The rooms and connections of this node.
    #[must_use]
    pub fn fanout(&self) -> &Fanout {
        &self.0.fanout
    }

    /// Bytes that wait for a connection at most.
    #[must_use]
    pub fn connection_queue_bytes(&self) -> usize {
        self.0.queue_bytes
    }

    /// Takes a connection in: from here on it gets what happens in its user's rooms, `Connected` first. If this fails,
    /// or when the connection ends, [`Fanout::remove`] is due.
    ///
    /// # Errors
    /// `unavailable`; `unauthenticated` if the session ended meanwhile.
    pub async fn connect(
        &self,
        connection: &Arc<Connection>,
        caller: &Caller,
    ) -> Result<(), Error> {
        let fanout = &self.0.fanout;
        #[cfg(feature = "testing")]
        if self.0.fault == Some(Fault::StaleMembership) {
            let stale = self.store().memberships(caller.user_id).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
            fanout.register(connection);
            fanout.enter(connection, &stale, self.now());
            return Ok(());
        }
        fanout.register(connection);
        // Registered first, then asked: an end that comes between finds the connection.
        if caller
            .session
            .as_deref()
            .is_some_and(|s| self.0.ended.contains(s))
        {
            return Err(AuthError::Unauthenticated.into());
        }
        // The process may have been stopped since the caller was authenticated.
        if !self.0.ended.is_current() {
            return Err(AuthError::Unavailable.into());
        }
        let memberships = self.store().memberships(caller.user_id).await?;
        fanout.enter(connection, &memberships, self.now());
        Ok(())
    }

    /// Has a connection live by another token of its user from now on.
    ///
    /// # Errors
    /// `unauthenticated` if that token's session ended meanwhile.
    pub fn renew(&self, connection: &Connection, caller: &Caller) -> Result<(), Error> {
        connection.renew(caller);
        // Renewed first, then asked: an end that comes between finds the connection.
        if caller
            .session
            .as_deref()
            .is_some_and(|s| self.0.ended.contains(s))
        {
            connection.close(End::Closing(ClosingReason::SessionEnded));
            return Err(AuthError::Unauthenticated.into());
        }
        Ok(())
    }

    /// A secret that all nodes share, made at first use.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn secret(&self, name: &str) -> Result<Vec<u8>, Error> {
        let mut fresh = [0; 32];
        self.fill_random(&mut fresh);
        Ok(self.store().secret(name, &fresh).await?)
    }

    /// Fills `bytes` from the injected source of randomness.
    pub fn fill_random(&self, bytes: &mut [u8]) {
        self.random().fill(bytes);
    }

    // ---- operations ----

    /// Whether this node can serve: its database answers with the schema it needs, its bus (if any) was reached once, callers can
    /// be known, and it isn't draining.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn ready(&self) -> Result<(), Error> {
        if self.is_draining() {
            return Err(Error::unavailable("the server is draining"));
        }
        if !self.0.ended.is_current() {
            // It may be that they can't be read because of the schema, which then is the better answer.
            if let Ok(Err(error @ StoreError::OldSchema { .. })) =
                timeout(SCHEMA_LOOK, self.store().ping()).await
            {
                return Err(error.into());
            }
            return Err(Error::unavailable(
                "the ended sessions could not be read for 5 s",
            ));
        }
        if !self.0.authenticator.is_ready() {
            return Err(Error::unavailable(
                "the keys that access tokens are verified with aren't known yet",
            ));
        }
        let subscribed = self.0.subscribed.as_ref().map(|s| s.borrow().clone());
        match subscribed {
            None | Some(Subscribed::Yes) => {}
            Some(Subscribed::Failed(reason)) => return Err(Error::unavailable(&*reason)),
            Some(Subscribed::Trying) => {
                return Err(Error::unavailable("the event bus was not reached yet"));
            }
        }
        Ok(self.store().ping().await?)
    }

    /// Errors that the bus's client has reported, where it counts them.
    #[must_use]
    pub fn bus_client_errors(&self) -> Option<u64> {
        self.0.bus.as_ref().and_then(|bus| bus.client_errors())
    }

    /// How the bus is; `None` where this node is alone.
    #[must_use]
    pub fn bus_health(&self) -> Option<Health> {
        self.0.bus.as_ref().map(|bus| bus.health())
    }

    /// Whether the server is on its way out: new connections are to be refused.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }

    /// Goes out in order: takes no new connections, tells those there are `Closing` spread over `over`, and returns when
    /// they are gone and all that was taken is committed and answered, or `over` has passed twice.
    pub async fn drain(&self, over: Duration) {
        self.0.draining.store(true, Ordering::Release);
        let connections = self.0.fanout.connections();
        let pause = over / u32::try_from(connections.len().max(1)).unwrap_or(u32::MAX);
        let goodbye = async {
            for connection in connections {
                connection.close(End::Closing(ClosingReason::Draining));
                tokio::time::sleep(pause).await;
            }
            while self.0.fanout.stats().connections() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // A connection whose peer doesn't read must not hold up the rest.
        let _ = tokio::time::timeout(over + DRAIN_LAST, goodbye).await;
        self.0.writer.idle().await;
    }

    /// Waits for `stop`, then drains: for a server's graceful shutdown.
    pub async fn drain_on(&self, stop: impl Future<Output = ()>) {
        stop.await;
        self.drain(DRAIN).await;
    }

    /// What the writer has counted.
    #[must_use]
    pub fn writer_stats(&self) -> &WriterStats {
        &self.0.writer_stats
    }

    /// Changes that were taken and aren't answered yet.
    #[must_use]
    pub fn changes_waiting(&self) -> u64 {
        self.0.writer.pending()
    }

    /// What the way from the outbox to the bus has counted; `None` where this node publishes nothing.
    #[must_use]
    pub fn relay_stats(&self) -> Option<&RelayStats> {
        self.0.relay_stats.as_deref()
    }

    /// What the fan-out has counted.
    #[must_use]
    pub fn fanout_stats(&self) -> &FanoutStats {
        self.0.fanout.stats()
    }
}
