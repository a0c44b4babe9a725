//! The way events take from one node to the others.
//!
//! The bus is the fast way and the database the truth: a bus may lose, double, delay or swap events, and every reader runs
//! them through the fan-out's order, which fills holes from the store. It must not invent any.

#[cfg(feature = "testing")]
mod faulty;
mod local;

use std::fmt;

use async_trait::async_trait;

#[cfg(feature = "testing")]
pub use self::faulty::{BusFaults, FaultyBus};
pub use self::local::LocalBus;
use crate::model::Event;

/// Why the bus couldn't be used. What was to be published stays in the outbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// It can't be reached, or didn't acknowledge.
    #[error("the event bus is not available")]
    Unavailable(#[source] crate::store::BoxError),
}

/// Carries events between the nodes of a cluster.
#[async_trait]
pub trait EventBus: Send + Sync + fmt::Debug {
    /// Publishes events in this order. When it returns, the bus has them: their outbox rows may go.
    ///
    /// # Errors
    /// Some of them may be published all the same; they will be again.
    async fn publish(&self, events: &[Event]) -> Result<(), BusError>;

    /// All that is published from now on, this node's own included.
    ///
    /// # Errors
    /// The bus can't be reached.
    async fn subscribe(&self) -> Result<Box<dyn Subscription>, BusError>;
}

/// What [`EventBus::subscribe`] gives.
#[async_trait]
pub trait Subscription: Send + fmt::Debug {
    /// Waits for the next events. Dropping the future loses none.
    ///
    /// # Errors
    /// The subscription is over; subscribe again.
    async fn next(&mut self) -> Result<Vec<Event>, BusError>;
}
