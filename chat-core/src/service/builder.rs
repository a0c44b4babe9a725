//! Building a [`Chat`] from its parts, and starting its background work.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::accounts::{AccountParts, AccountService};
use super::background::Look;
use super::rates::RateLimits;
use super::relay::{Relay, RelayStats, Subscribed};
use super::webhooks::{Feed, Outgoing, PrivateTargets};
use super::writer::{Outbox, Parts, Writer, WriterStats};
use super::{Chat, Inner, background};
use crate::auth::{
    Authenticator, EndedSessions, KeyError, Keys, LocalAuthenticator, PasswordCost, Passwords,
    watch as watch_ended,
};
use crate::bus::EventBus;
use crate::fanout::Fanout;
use crate::model::limits::{Lifetimes, Limits, Rates};
use crate::model::{Clock, SystemClock};
use crate::random::{Random, SystemRandom};
use crate::store::{Accounts, NodeId, Store, StoreError, Webhooks};

/// Bytes that wait for a connection at most, unless told otherwise.
const QUEUE_BYTES: usize = 1024 * 1024;

/// Why a [`Chat`] didn't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No [`ChatBuilder::store`].
    #[error("a chat needs a store: give it one with ChatBuilder::store")]
    NoStore,
    /// Neither [`ChatBuilder::authenticator`] nor [`ChatBuilder::accounts`].
    #[error("a chat needs to know who calls: give it an authenticator or accounts")]
    NoAuthenticator,
    /// The keys can't sign.
    #[error("accounts need a key that signs")]
    Key(#[source] KeyError),
    /// The database can't be used.
    #[error("the chat did not start")]
    Store(#[from] StoreError),
}

/// Puts a [`Chat`] together. A store and someone who knows the callers are needed; the rest has defaults.
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until start"]
pub struct ChatBuilder {
    store: Option<Arc<dyn Store>>,
    accounts: Option<(Arc<dyn Accounts>, Arc<Keys>)>,
    authenticator: Option<Arc<dyn Authenticator>>,
    bus: Option<Arc<dyn EventBus>>,
    webhooks: Option<(Arc<dyn Webhooks>, PrivateTargets)>,
    clock: Option<Arc<dyn Clock>>,
    random: Option<Arc<dyn Random>>,
    limits: Limits,
    rates: Rates,
    lifetimes: Lifetimes,
    password_cost: PasswordCost,
    retention: Option<Duration>,
    no_connections: bool,
    no_rooms: bool,
    lanes: Option<usize>,
    cores: Option<usize>,
    queue_bytes: Option<usize>,
    #[cfg(feature = "testing")]
    fault: Option<super::Fault>,
}

impl ChatBuilder {
    /// Where rooms, messages and users are kept.
    pub fn store(mut self, store: impl Store + 'static) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Signs people in itself: accounts and sessions are kept here (in the same database as the store), access tokens
    /// signed with these keys. Without an [`ChatBuilder::authenticator`] callers are known by those tokens.
    pub fn accounts(mut self, accounts: impl Accounts + 'static, keys: Arc<Keys>) -> Self {
        self.accounts = Some((Arc::new(accounts), keys));
        self
    }

    /// Who knows the callers.
    pub fn authenticator(mut self, authenticator: impl Authenticator + 'static) -> Self {
        self.authenticator = Some(Arc::new(authenticator));
        self
    }

    /// The way to other nodes over the same database. Without one this node is alone, and no outbox is written.
    pub fn bus(mut self, bus: impl EventBus + 'static) -> Self {
        self.bus = Some(Arc::new(bus));
        self
    }

    /// Where webhooks are kept, in the same database as the store, and whether they may go to private addresses. Without
    /// it there are none. What is to be delivered is noted there; it takes a deliverer to do it.
    pub fn webhooks(mut self, webhooks: impl Webhooks + 'static, private: PrivateTargets) -> Self {
        self.webhooks = Some((Arc::new(webhooks), private));
        self
    }

    /// Where the time comes from; default: the system.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Where randomness comes from; default: the system.
    pub fn random(mut self, random: Arc<dyn Random>) -> Self {
        self.random = Some(random);
        self
    }

    /// Counts to hold.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Rates to hold.
    pub fn rates(mut self, rates: Rates) -> Self {
        self.rates = rates;
        self
    }

    /// How long tokens live.
    pub fn lifetimes(mut self, lifetimes: Lifetimes) -> Self {
        self.lifetimes = lifetimes;
        self
    }

    /// What a password's hash costs.
    pub fn password_cost(mut self, cost: PasswordCost) -> Self {
        self.password_cost = cost;
        self
    }

    /// Removes messages for good this long after they were sent; default: never.
    pub fn retention(mut self, retention: Option<Duration>) -> Self {
        self.retention = retention;
        self
    }

    /// This node takes no connections: it doesn't read other nodes' events. By default it does.
    pub fn without_connections(mut self) -> Self {
        self.no_connections = true;
        self
    }

    /// This node changes no rooms: what follows there from accounts that are renamed or deleted, and cleaning, is left to
    /// others over the same database. By default it does.
    pub fn without_rooms(mut self) -> Self {
        self.no_rooms = true;
        self
    }

    /// Tasks that commit at the same time, rooms spread over them; default 1, which is right for SQLite.
    pub fn lanes(mut self, lanes: usize) -> Self {
        self.lanes = Some(lanes);
        self
    }

    /// Tasks that write to sockets; default: one a core.
    pub fn cores(mut self, cores: usize) -> Self {
        self.cores = Some(cores);
        self
    }

    /// Bytes that wait for a connection at most before it is closed as slow; default 1 MiB.
    pub fn connection_queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = Some(bytes);
        self
    }

    /// Plants a fault, to see that a simulation finds it.
    #[cfg(feature = "testing")]
    pub fn fault(mut self, fault: Option<super::Fault>) -> Self {
        self.fault = fault;
        self
    }

    /// Starts the background work on the current tokio runtime.
    ///
    /// # Errors
    /// Something is missing, or the database can't be used.
    pub async fn start(self) -> Result<Chat, StartError> {
        let chat = self.start_unready()?;
        chat.0.store.ping().await?;
        // What ended before this node began is known before it answers its first request. The waits fail only when the
        // senders are gone, and the chat's own work holds them.
        let mut current = chat.0.ended.current();
        let _ = current.wait_for(|is| *is).await;
        if let Some(mut subscribed) = chat.0.subscribed.clone() {
            let _ = subscribed.wait_for(|s| *s != Subscribed::Trying).await;
        }
        Ok(chat)
    }

    /// Like [`start`](Self::start), without a look at the database: while it can't be used the chat is not
    /// [`ready`](Chat::ready) and answers `unavailable`, and once it can the chat begins by itself.
    ///
    /// # Errors
    /// Something is missing.
    pub fn start_unready(self) -> Result<Chat, StartError> {
        let store = self.store.ok_or(StartError::NoStore)?;
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let random = self.random.unwrap_or_else(|| Arc::new(SystemRandom));
        let ended = Arc::new(EndedSessions::new(self.lifetimes.access));
        let rates = Arc::new(RateLimits::new(&self.rates, &clock));
        let jobs = Arc::new(Notify::new());
        let cores = self
            .cores
            .or_else(|| std::thread::available_parallelism().ok().map(Into::into))
            .unwrap_or(1);
        let fanout = Arc::new(Fanout::new(cores));
        let mut authenticator = self.authenticator;
        let accounts = match self.accounts {
            None => None,
            Some((accounts, keys)) => {
                authenticator
                    .get_or_insert_with(|| Arc::new(LocalAuthenticator::new(Arc::clone(&keys))));
                let passwords = Passwords::new(self.password_cost, Arc::clone(&random), cores);
                let service = AccountService::new(AccountParts {
                    accounts,
                    store: Arc::clone(&store),
                    keys,
                    passwords: Arc::new(passwords),
                    ended: Arc::clone(&ended),
                    rates: Arc::clone(&rates),
                    jobs: Arc::clone(&jobs),
                    clock: Arc::clone(&clock),
                    random: Arc::clone(&random),
                    lifetimes: self.lifetimes,
                    limits: self.limits.clone(),
                });
                Some(service.map_err(StartError::Key)?)
            }
        };
        let authenticator = authenticator.ok_or(StartError::NoAuthenticator)?;

        let outgoing = self.webhooks.map(|(webhooks, private)| {
            let limit = self.limits.webhooks_per_room;
            Outgoing::new(webhooks, private, limit).carried_by(self.bus.clone())
        });
        let node = NodeId(random.id());
        let committed = Arc::new(Notify::new());
        let writer_stats = Arc::new(WriterStats::default());
        let (writer, lanes) = Writer::new(
            self.lanes.unwrap_or_else(|| store.lanes()),
            &Parts {
                store: Arc::clone(&store),
                fanout: Arc::clone(&fanout),
                clock: Arc::clone(&clock),
                limits: self.limits,
                outbox: (self.bus.is_some() || outgoing.is_some()).then(|| Outbox {
                    node,
                    committed: Arc::clone(&committed),
                    wanted: match (&self.bus, &outgoing) {
                        (None, Some(outgoing)) => Some(outgoing.wanted.clone()),
                        _ => None,
                    },
                }),
                stats: Arc::clone(&writer_stats),
                #[cfg(feature = "testing")]
                fault: self.fault,
            },
        );

        let mut tasks = JoinSet::new();
        for lane in lanes {
            tasks.spawn(lane);
        }
        let look = Arc::new(Look::default());
        if !self.no_connections {
            for work in fanout.flushers() {
                tasks.spawn(work);
            }
            tasks.spawn(background::fill(Arc::clone(&fanout), Arc::clone(&store)));
            tasks.spawn(background::heads(
                Arc::clone(&fanout),
                Arc::clone(&store),
                Arc::clone(&look),
            ));
            tasks.spawn(background::lost_joins(
                Arc::clone(&fanout),
                Arc::clone(&store),
                Arc::clone(&look),
                self.bus.is_some(),
            ));
            tasks.spawn(background::keep_alive(
                Arc::clone(&fanout),
                Arc::clone(&ended),
                Arc::clone(&clock),
            ));
        }
        if !self.no_rooms {
            tasks.spawn(background::jobs(
                Arc::clone(&store),
                writer.clone(),
                Arc::clone(&jobs),
            ));
            let forget_after = clock.now().since(ended.forget_before(clock.now()));
            tasks.spawn(background::sweep(
                Arc::clone(&store),
                Arc::clone(&clock),
                self.retention,
                forget_after,
            ));
        }
        if let (None, Some(outgoing)) = (&self.bus, &outgoing) {
            let feed = Feed {
                node,
                store: Arc::clone(&store),
                outgoing: outgoing.clone(),
                clock: Arc::clone(&clock),
                committed: Arc::clone(&committed),
            };
            tasks.spawn(feed.run());
        }
        let bus = self.bus;
        let relay_stats = Arc::new(RelayStats::default());
        let subscribed = bus.as_ref().map(|bus| {
            let (subscribed, state) = watch::channel(Subscribed::Trying);
            let relay = Relay {
                node,
                store: Arc::clone(&store),
                bus: Arc::clone(bus),
                fanout: Arc::clone(&fanout),
                clock: Arc::clone(&clock),
                ended: Arc::clone(&ended),
                jobs: Arc::clone(&jobs),
                look,
                outgoing: outgoing.clone(),
                has_connections: !self.no_connections,
                changes_rooms: !self.no_rooms,
                committed,
                subscribed,
                stats: Arc::clone(&relay_stats),
                #[cfg(feature = "testing")]
                fault: self.fault,
            };
            if self.no_rooms {
                tasks.spawn(relay.clone().tell_jobs());
            } else {
                tasks.spawn(relay.clone().hold_lease());
                tasks.spawn(relay.clone().publish());
            }
            tasks.spawn(relay.clone().tell_ended());
            // Other nodes' events are read once it is subscribed: a connection that enters later misses none.
            tasks.spawn(relay.subscribe());
            state
        });

        {
            let fanout = Arc::clone(&fanout);
            ended.listen(move |session| fanout.close_session(&session.session));
        }
        tasks.spawn(watch_ended(
            Arc::clone(&store),
            Arc::clone(&ended),
            Arc::clone(&clock),
        ));

        Ok(Chat(Arc::new(Inner {
            store,
            authenticator,
            fanout,
            writer,
            writer_stats,
            relay_stats: (bus.is_some() && !self.no_rooms).then_some(relay_stats),
            rates,
            ended,
            accounts,
            outgoing,
            clock,
            random,
            identities: Mutex::default(),
            jobs,
            subscribed,
            draining: AtomicBool::new(false),
            queue_bytes: self.queue_bytes.unwrap_or(QUEUE_BYTES),
            #[cfg(feature = "testing")]
            fault: self.fault,
            bus,
            tasks,
        })))
    }
}
