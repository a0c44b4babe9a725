//! The bus of nodes that live in one process.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::{Batch, BusError, EventBus, Hint, Interest, News, Subscription};
use crate::model::Event;

/// Events that a slow subscriber may fall behind; what it misses then it reads from the store.
const BACKLOG: usize = 4_096;

#[derive(Clone, Debug)]
enum Record {
    Event(Event),
    Hint(Hint),
}

/// Connects nodes of one process. Clones are the same bus.
#[derive(Clone, Debug)]
pub struct LocalBus(broadcast::Sender<Record>);

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
            let _ = self.0.send(Record::Event(event.clone()));
        }
        Ok(())
    }

    async fn hint(&self, hint: Hint) -> Result<(), BusError> {
        let _ = self.0.send(Record::Hint(hint));
        Ok(())
    }

    async fn subscribe(
        &self,
        interest: Option<Arc<dyn Interest>>,
    ) -> Result<Box<dyn Subscription>, BusError> {
        let records = self.0.subscribe();
        Ok(Box::new(LocalSubscription { records, interest }))
    }
}

struct LocalSubscription {
    records: broadcast::Receiver<Record>,
    interest: Option<Arc<dyn Interest>>,
}

impl fmt::Debug for LocalSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSubscription").finish_non_exhaustive()
    }
}

impl Batch<'_> {
    fn record(&mut self, record: Record) {
        match record {
            Record::Event(event) => self.event(event),
            Record::Hint(hint) => self.news.push(News::Hint(hint)),
        }
    }
}

#[async_trait]
impl Subscription for LocalSubscription {
    async fn next(&mut self) -> Result<Vec<News>, BusError> {
        loop {
            let mut batch = match self.records.recv().await {
                Ok(record) => {
                    let mut batch = Batch::new(self.interest.as_ref());
                    batch.record(record);
                    batch
                }
                Err(broadcast::error::RecvError::Lagged(_)) => return Ok(vec![News::Missed]),
                Err(e @ broadcast::error::RecvError::Closed) => {
                    return Err(BusError::Unavailable(Box::new(e)));
                }
            };
            loop {
                match self.records.try_recv() {
                    Ok(record) => batch.record(record),
                    Err(broadcast::error::TryRecvError::Lagged(_)) => {
                        batch.news.push(News::Missed);
                    }
                    Err(
                        broadcast::error::TryRecvError::Empty
                        | broadcast::error::TryRecvError::Closed,
                    ) => break,
                }
            }
            if !batch.news.is_empty() {
                return Ok(batch.news);
            }
        }
    }
}
