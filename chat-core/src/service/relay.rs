//! From the outbox to the bus, and from the bus to the fan-out.
//!
//! The relay is the only publisher. It publishes this node's own rows as they are committed and deletes them once the bus has
//! acknowledged. A node holds a lease; when a node's lapses, another takes over its rows. So an event that was committed
//! reaches the bus, perhaps twice, whoever dies.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::background::Look;
use super::webhooks::Outgoing;
use crate::auth::EndedSessions;
use crate::bus::{BusError, EventBus, Hint, News, Subscription};
use crate::fanout::{Delivery, Fanout};
use crate::model::{Clock, Event};
use crate::store::{Membership, NodeId, Store, StoreError};

/// How long a lease holds.
const LEASE: Duration = Duration::from_secs(3);
/// How often it is renewed, and others' lapsed ones are looked for.
const LEASE_EVERY: Duration = Duration::from_secs(1);
/// Rows published at once.
const BATCH: i64 = 500;
/// The wait after the first failure; it doubles up to [`BACKOFF_MAX`].
const BACKOFF: Duration = Duration::from_millis(50);
/// The longest wait after a failure.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// How far a node's subscription to the bus is. One that is lost later is begun anew, and what was missed meanwhile is filled
/// from the database: the node goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subscribed {
    /// The first attempt is under way.
    Trying,
    /// The bus could not be reached so far: why, in words for whoever runs it.
    Failed(Arc<str>),
    /// It was subscribed to.
    Yes,
}

/// What the relay has counted since it began.
#[derive(Debug, Default)]
pub struct RelayStats {
    published: AtomicU64,
    failures: AtomicU64,
    /// Since when rows wait, at most.
    waiting: Mutex<Option<Instant>>,
}

impl RelayStats {
    /// Events that the bus has acknowledged; some of them twice, where that was in doubt.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Batches that could not be published, or read, at once.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How long the oldest row of this node's outbox waits, at most: for so long there was none that had not been seen gone.
    #[must_use]
    pub fn waiting(&self) -> Duration {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn wait(&self, since: impl FnOnce(Option<Instant>) -> Option<Instant>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting = since(*waiting);
    }
}

/// What the relay works with.
#[derive(Clone, Debug)]
pub(super) struct Relay {
    pub(super) node: NodeId,
    pub(super) store: Arc<dyn Store>,
    pub(super) bus: Arc<dyn EventBus>,
    pub(super) fanout: Arc<Fanout>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ended: Arc<EndedSessions>,
    pub(super) jobs: Arc<Notify>,
    pub(super) look: Arc<Look>,
    /// Where what is published becomes deliveries too.
    pub(super) outgoing: Option<Outgoing>,
    /// Whether there are connections to tell of events.
    pub(super) has_connections: bool,
    /// Whether jobs are done here.
    pub(super) changes_rooms: bool,
    /// Woken by the writer after each commit.
    pub(super) committed: Arc<Notify>,
    pub(super) subscribed: watch::Sender<Subscribed>,
    pub(super) stats: Arc<RelayStats>,
    #[cfg(feature = "testing")]
    pub(super) fault: Option<super::Fault>,
}

impl Relay {
    /// Publishes what this node has in the outbox; runs until dropped.
    pub(super) async fn publish(self) {
        let mut backoff = BACKOFF;
        // It is reached with the subscription.
        let mut subscribed = self.subscribed.subscribe();
        let _ = subscribed.wait_for(|s| *s == Subscribed::Yes).await;
        let mut highest = 0;
        loop {
            let published = match self.publish_some(&mut highest).await {
                Ok(published) => {
                    backoff = BACKOFF;
                    published
                }
                Err(e) => {
                    self.stats.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(error = e.as_ref(), "events wait in the outbox");
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                    true
                }
            };
            if !published {
                tokio::select! {
                    biased;
                    () = self.committed.notified() => {}
                    // Rows that were taken over come without a commit.
                    () = tokio::time::sleep(LEASE_EVERY) => {}
                }
            }
        }
    }

    /// Publishes a batch of rows; false if there were none.
    async fn publish_some(
        &self,
        #[cfg_attr(not(feature = "testing"), allow(unused_variables))] highest: &mut i64,
    ) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        let looked = Instant::now();
        let events = self.store.outbox(self.node, BATCH).await?;
        if events.is_empty() {
            self.stats.wait(|_| None);
            return Ok(false);
        }
        self.stats.wait(|since| since.or(Some(looked)));
        let published: Vec<_> = events.iter().map(|e| (e.room_id(), e.seq())).collect();
        #[cfg(feature = "testing")]
        let events = super::faults::before_publish(self.fault, events, *highest);
        if let Some(outgoing) = &self.outgoing
            && !self.bus.has_groups()
        {
            outgoing.offer(&events, self.clock.now()).await?;
        }
        self.bus.publish(&events).await?;
        #[cfg(feature = "testing")]
        super::faults::after_publish(&events, highest);
        self.store.outbox_delete(&published).await?;
        let count = published.len() as u64;
        self.stats.published.fetch_add(count, Ordering::Relaxed);
        if published.len() < BATCH as usize {
            // What is there now came later.
            self.stats.wait(|_| Some(looked));
        }
        Ok(true)
    }

    /// Renews this node's lease, and takes over the rows of nodes whose lease lapsed; runs until dropped.
    pub(super) async fn hold_lease(self) {
        loop {
            if let Err(e) = self.renew().await {
                tracing::warn!(
                    error = &e as &dyn std::error::Error,
                    "the lease of this node was not renewed"
                );
            }
            tokio::time::sleep(LEASE_EVERY).await;
        }
    }

    async fn renew(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.store.lease(self.node, now.plus(LEASE)).await?;
        let taken = self.store.take_over(self.node, now).await?;
        if taken > 0 {
            tracing::info!(rows = taken, "took over the outbox of a node that is gone");
            self.committed.notify_one();
        }
        Ok(())
    }

    /// Begins to read what other nodes publish; until then nothing of the bus is used.
    async fn begin(&self) -> Result<Box<dyn Subscription>, BusError> {
        let before = self.subscribed.borrow().clone();
        if before != Subscribed::Yes {
            self.bus.reach().await?;
        }
        let interest = self.has_connections.then(|| Arc::clone(&self.fanout) as _);
        let subscription = self.bus.subscribe(interest).await?;
        if before != Subscribed::Trying {
            // Whoever entered before it may have missed something.
            self.look.now();
            self.ended.hurry();
        }
        self.subscribed.send_replace(Subscribed::Yes);
        Ok(subscription)
    }

    /// Delivers what other nodes publish; runs until dropped.
    pub(super) async fn subscribe(self) {
        let mut backoff = BACKOFF;
        loop {
            match self.begin().await {
                Ok(mut subscription) => {
                    backoff = BACKOFF;
                    let over = loop {
                        match subscription.next().await {
                            Ok(news) => self.take(news),
                            Err(e) => break e,
                        }
                    };
                    tracing::warn!(
                        error = &over as &dyn std::error::Error,
                        "the event bus ended the subscription: subscribing again"
                    );
                }
                Err(e) => {
                    self.subscribed.send_if_modified(|state| {
                        let never = *state != Subscribed::Yes;
                        if never {
                            *state = Subscribed::Failed(reason(&e).into());
                        }
                        never
                    });
                    tracing::warn!(
                        error = &e as &dyn std::error::Error,
                        "the event bus can't be read"
                    );
                }
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Takes news in their order; events that follow one another are one batch.
    fn take(&self, news: Vec<News>) {
        let mut events = Vec::new();
        for news in news {
            if let News::Event(event) = news {
                events.push(remote(event));
                continue;
            }
            if !events.is_empty() {
                self.fanout.deliver(std::mem::take(&mut events));
            }
            match news {
                News::Event(_) => {}
                News::Head { room_id, seq, own } => {
                    self.fanout.head(Membership { room_id, head: seq }, own);
                }
                News::Joined(joined) => self.fanout.heal_joins(&[joined]),
                News::Hint(Hint::EndedSessions) => self.ended.hurry(),
                // A node that changes no rooms would only pass it on, for ever.
                News::Hint(Hint::Jobs) if self.changes_rooms => self.jobs.notify_one(),
                News::Hint(Hint::Jobs) => {}
                News::Missed => {
                    self.look.now();
                    self.ended.hurry();
                }
            }
        }
        if !events.is_empty() {
            self.fanout.deliver(events);
        }
    }

    /// Tells the other nodes when sessions ended here; runs until dropped.
    pub(super) async fn tell_ended(self) {
        loop {
            self.ended.ended_here().await;
            self.tell(Hint::EndedSessions).await;
        }
    }

    /// Has other nodes do the jobs that came up on this one, which changes no rooms; runs until dropped.
    pub(super) async fn tell_jobs(self) {
        loop {
            self.jobs.notified().await;
            self.tell(Hint::Jobs).await;
        }
    }

    async fn tell(&self, hint: Hint) {
        if let Err(e) = self.bus.hint(hint).await {
            // Each node looks from time to time by itself.
            tracing::debug!(
                error = &e as &dyn std::error::Error,
                ?hint,
                "the other nodes can't be hurried"
            );
        }
    }
}

/// What a node says of a bus that it never reached. What lies behind an error is for the log.
fn reason(error: &BusError) -> String {
    match error {
        BusError::Unavailable(_) => "the event bus was not reached yet".to_owned(),
        BusError::Unusable(_) => error.to_string(),
    }
}

const fn remote(event: Event) -> Delivery {
    Delivery::Event {
        event,
        completes: None,
        room: None,
    }
}
