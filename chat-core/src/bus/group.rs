//! Reading a bus as a group: consumers that share the events, and what can't be delivered.

use std::fmt;

use async_trait::async_trait;
use serde::Serialize;

use super::BusError;
use crate::model::{DeliveryId, Event, WebhookId};

/// A reader of a group. Each event goes to one of the group's readers, a room's in their order; one that isn't
/// [`done`](Self::done) when its reader goes is read again by another.
#[async_trait]
pub trait Group: Send + fmt::Debug {
    /// Waits for the next events, at least one. Dropping the future loses none.
    ///
    /// # Errors
    /// The reader is over; join again.
    async fn next(&mut self) -> Result<Vec<Event>, BusError>;

    /// Says that all that [`next`](Self::next) has given is dealt with: it need not be read again.
    ///
    /// # Errors
    /// The reader is over; join again. What was given may be read again.
    fn done(&mut self) -> Result<(), BusError>;

    /// How many events of this reader's share of the bus the group isn't done with, as far as is known.
    fn behind(&self) -> u64;
}

/// A delivery to a webhook that isn't tried any more by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// How often it was tried.
    pub attempts: i64,
    /// The status of the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_status: Option<u16>,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What it is about.
    pub event: Event,
}
