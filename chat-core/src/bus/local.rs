//! The bus of nodes that live in one process.

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::{BusError, EventBus, Subscription};
use crate::model::Event;

/// Events that a slow subscriber may fall behind; what it misses then it fills from the store.
const BACKLOG: usize = 4_096;

/// Connects nodes of one process. Clones are the same bus.
#[derive(Clone, Debug)]
pub struct LocalBus(broadcast::Sender<Event>);

impl LocalBus {
    /// A bus without subscribers.
    #[must_use]
    pub fn new() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }
}

impl Default for LocalBus {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl EventBus for LocalBus {
    async fn publish(&self, events: &[Event]) -> Result<(), BusError> {
        for event in events {
            // Without subscribers there is nobody to tell.
            let _ = self.0.send(event.clone());
        }
        Ok(())
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, BusError> {
        Ok(Box::new(LocalSubscription(self.0.subscribe())))
    }
}

#[derive(Debug)]
struct LocalSubscription(broadcast::Receiver<Event>);

#[async_trait]
impl Subscription for LocalSubscription {
    async fn next(&mut self) -> Result<Vec<Event>, BusError> {
        loop {
            match self.0.recv().await {
                Ok(event) => {
                    let mut events = vec![event];
                    while let Ok(event) = self.0.try_recv() {
                        events.push(event);
                    }
                    return Ok(events);
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(e @ broadcast::error::RecvError::Closed) => {
                    return Err(BusError::Unavailable(Box::new(e)));
                }
            }
        }
    }
}
