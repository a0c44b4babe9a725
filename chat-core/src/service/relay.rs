//! From the outbox to the bus, and from the bus to the fan-out.
//!
//! The relay is the only publisher. It publishes this node's own rows as they are committed and deletes them once the bus has
//! acknowledged. A node holds a lease; when a node's lapses, another takes over its rows. So an event that was committed
//! reaches the bus, perhaps twice, whoever dies.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::bus::EventBus;
use crate::fanout::{Delivery, Fanout};
use crate::model::{Clock, Event};
use crate::store::{NodeId, Store, StoreError};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subscribed {
    /// The first attempt is under way.
    Trying,
    /// The bus could not be reached so far.
    Failed,
    /// It was subscribed to.
    Yes,
}

/// What the relay works with.
#[derive(Clone, Debug)]
pub(super) struct Relay {
    pub(super) node: NodeId,
    pub(super) store: Arc<dyn Store>,
    pub(super) bus: Arc<dyn EventBus>,
    pub(super) fanout: Arc<Fanout>,
    pub(super) clock: Arc<dyn Clock>,
    /// Woken by the writer after each commit.
    pub(super) committed: Arc<Notify>,
    #[cfg(feature = "testing")]
    pub(super) fault: Option<super::Fault>,
}

impl Relay {
    /// Publishes what this node has in the outbox; runs until dropped.
    pub(super) async fn publish(self) {
        let mut backoff = BACKOFF;
        let mut highest = 0;
        loop {
            let published = match self.publish_some(&mut highest).await {
                Ok(published) => {
                    backoff = BACKOFF;
                    published
                }
                Err(e) => {
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
        let events = self.store.outbox(self.node, BATCH).await?;
        if events.is_empty() {
            return Ok(false);
        }
        let published: Vec<_> = events.iter().map(|e| (e.room_id(), e.seq())).collect();
        #[cfg(feature = "testing")]
        let events = super::faults::before_publish(self.fault, events, *highest);
        self.bus.publish(&events).await?;
        #[cfg(feature = "testing")]
        super::faults::after_publish(&events, highest);
        self.store.outbox_delete(&published).await?;
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

    /// Delivers what other nodes publish; runs until dropped.
    pub(super) async fn subscribe(self, state: watch::Sender<Subscribed>) {
        let mut backoff = BACKOFF;
        loop {
            match self.bus.subscribe().await {
                Ok(mut subscription) => {
                    state.send_replace(Subscribed::Yes);
                    backoff = BACKOFF;
                    while let Ok(events) = subscription.next().await {
                        self.fanout.deliver(events.into_iter().map(remote));
                    }
                    tracing::warn!("the event bus ended the subscription: subscribing again");
                }
                Err(e) => {
                    state.send_if_modified(|state| {
                        let first = *state == Subscribed::Trying;
                        if first {
                            *state = Subscribed::Failed;
                        }
                        first
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
}

const fn remote(event: Event) -> Delivery {
    Delivery::Event {
        event,
        completes: None,
        room: None,
    }
}
