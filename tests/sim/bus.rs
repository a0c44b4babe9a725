//! The bus of a run, with a record of all that the nodes published: from outside, the only view of every event.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chat_core::bus::{BusError, EventBus, FaultyBus, Hint, Interest, News, Subscription};
use chat_core::model::{Event, RoomId, Seq};
use chat_core::store::memory::Memory;

/// Events by their places.
pub(crate) type Published = BTreeMap<(RoomId, Seq), Event>;

/// A [`FaultyBus`] that remembers what it was given.
#[derive(Clone, Debug)]
pub(crate) struct RecordingBus {
    bus: FaultyBus,
    record: Arc<Mutex<Record>>,
}

#[derive(Debug, Default)]
struct Record {
    published: Published,
    /// The places of those whose publication succeeded.
    acknowledged: BTreeSet<(RoomId, Seq)>,
    /// Places at which two different events were published.
    clashes: Vec<(RoomId, Seq)>,
}

impl RecordingBus {
    pub(crate) fn new(bus: FaultyBus) -> Self {
        Self {
            bus,
            record: Arc::default(),
        }
    }

    /// What was published so far, also where the bus refused.
    pub(crate) fn published(&self) -> Published {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.published.clone()
    }

    /// The places of those that the bus said it has.
    pub(crate) fn acknowledged(&self) -> BTreeSet<(RoomId, Seq)> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.acknowledged.clone()
    }

    /// Places at which two different events were published.
    pub(crate) fn clashes(&self) -> Vec<(RoomId, Seq)> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.clashes.clone()
    }
}

/// A node's own way to the bus: nothing goes through while the node's connection to the database is held.
#[derive(Debug)]
pub(crate) struct NodeBus {
    pub(crate) bus: RecordingBus,
    pub(crate) store: Memory,
}

#[async_trait]
impl EventBus for NodeBus {
    async fn publish(&self, events: &[Event]) -> Result<(), BusError> {
        self.store.let_go().await;
        let published = self.bus.publish(events).await;
        self.store.let_go().await;
        published
    }

    async fn hint(&self, hint: Hint) -> Result<(), BusError> {
        self.store.let_go().await;
        self.bus.hint(hint).await
    }

    async fn subscribe(
        &self,
        interest: Option<Arc<dyn Interest>>,
    ) -> Result<Box<dyn Subscription>, BusError> {
        self.store.let_go().await;
        Ok(Box::new(NodeSubscription {
            subscription: self.bus.subscribe(interest).await?,
            store: self.store.clone(),
            arrived: Vec::new(),
        }))
    }
}

#[derive(Debug)]
struct NodeSubscription {
    subscription: Box<dyn Subscription>,
    store: Memory,
    /// What came and waits for the node.
    arrived: Vec<News>,
}

#[async_trait]
impl Subscription for NodeSubscription {
    async fn next(&mut self) -> Result<Vec<News>, BusError> {
        if self.arrived.is_empty() {
            self.arrived = self.subscription.next().await?;
        }
        self.store.let_go().await;
        Ok(std::mem::take(&mut self.arrived))
    }
}

#[async_trait]
impl EventBus for RecordingBus {
    async fn publish(&self, events: &[Event]) -> Result<(), BusError> {
        {
            let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
            for event in events {
                let place = (event.room_id(), event.seq());
                let before = record.published.insert(place, event.clone());
                if before.is_some_and(|before| before != *event) {
                    record.clashes.push(place);
                }
            }
        }
        self.bus.publish(events).await?;
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let places = events.iter().map(|e| (e.room_id(), e.seq()));
        record.acknowledged.extend(places);
        Ok(())
    }

    async fn hint(&self, hint: Hint) -> Result<(), BusError> {
        self.bus.hint(hint).await
    }

    async fn subscribe(
        &self,
        interest: Option<Arc<dyn Interest>>,
    ) -> Result<Box<dyn Subscription>, BusError> {
        self.bus.subscribe(interest).await
    }
}
