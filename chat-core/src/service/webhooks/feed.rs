//! From the outbox to deliveries, where no bus takes the events out of this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::Outgoing;
use crate::model::Clock;
use crate::store::{NodeId, Store, StoreError};

/// Events offered at once.
const BATCH: i64 = 500;
/// How often the outbox is looked at that nobody announced, and whether there are webhooks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

const UNKNOWN: u8 = 0;
const NONE: u8 = 1;
const SOME: u8 = 2;

/// Whether there are webhooks: without one no event needs a row in the outbox of a process that is alone.
///
/// It goes from unknown, which counts as yes, to no, and from either to yes, and stays there: between reading that there is
/// none and saying so one may have been made.
#[derive(Clone, Debug, Default)]
pub(in crate::service) struct Wanted(Arc<AtomicU8>);

impl Wanted {
    pub(in crate::service) fn is(&self) -> bool {
        self.0.load(Ordering::Acquire) != NONE
    }

    pub(in crate::service) fn some(&self) {
        self.0.store(SOME, Ordering::Release);
    }

    fn is_settled(&self) -> bool {
        self.0.load(Ordering::Acquire) == SOME
    }

    fn none(&self) {
        // It fails where one was made meanwhile.
        let _ = self
            .0
            .compare_exchange(UNKNOWN, NONE, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// What the feed works with.
#[derive(Debug)]
pub(in crate::service) struct Feed {
    pub(in crate::service) node: NodeId,
    pub(in crate::service) store: Arc<dyn Store>,
    pub(in crate::service) outgoing: Outgoing,
    pub(in crate::service) clock: Arc<dyn Clock>,
    /// Woken by the writer after each commit.
    pub(in crate::service) committed: Arc<Notify>,
}

impl Feed {
    /// Makes the deliveries of what this process commits, and of what the one before it has left; runs until dropped.
    pub(in crate::service) async fn run(self) {
        let mut taken_over = false;
        loop {
            if let Err(e) = self.look(&mut taken_over).await {
                tracing::warn!(
                    error = &e as &dyn std::error::Error,
                    "events wait in the outbox for the webhooks"
                );
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            tokio::select! {
                biased;
                () = self.committed.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn look(&self, taken_over: &mut bool) -> Result<(), StoreError> {
        if !self.outgoing.wanted.is_settled() {
            if self.outgoing.store.has_webhooks().await? {
                self.outgoing.wanted.some();
            } else {
                self.outgoing.wanted.none();
            }
        }
        if !*taken_over {
            // Whoever wrote them is gone: a process that shares its database with others has a bus.
            self.store.take_over(self.node, self.clock.now()).await?;
            *taken_over = true;
        }
        loop {
            let events = self.store.outbox(self.node, BATCH).await?;
            if events.is_empty() {
                return Ok(());
            }
            self.outgoing.offer(&events, self.clock.now()).await?;
            let done: Vec<_> = events.iter().map(|e| (e.room_id(), e.seq())).collect();
            self.store.outbox_delete(&done).await?;
        }
    }
}
