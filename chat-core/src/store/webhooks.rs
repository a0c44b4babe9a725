//! Webhooks and their deliveries: the third storage trait, and what the backends have in common behind it.

#[cfg(any(feature = "sqlite", feature = "testing"))]
pub(super) mod place;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use super::{Refusal, StoreError};
use crate::model::{
    Delivery, DeliveryId, Event, EventKind, RoomId, Timestamp, UserId, Webhook, WebhookId,
    WebhookSecret,
};
use crate::protocol::rest::Page;

/// How long an event waits for those before it that its node hasn't seen yet, before it is delivered out of order: longer
/// than it takes another node to publish what a dead one has left.
pub const OFFER_HOLD: Duration = Duration::from_secs(6);

/// Whose webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookOwner {
    /// A room's, as one of its admins asks for them. Who isn't in the room: [`Refusal::NotFound`]; who is and isn't an
    /// admin: [`Refusal::Forbidden`].
    Room {
        /// The room.
        room_id: RoomId,
        /// Who asks.
        by: UserId,
    },
    /// The operator's, which get the events of all rooms.
    Operator,
}

/// A webhook to be made.
#[derive(Clone, Debug)]
pub struct NewWebhook<'a> {
    /// Whose.
    pub owner: WebhookOwner,
    /// Where to.
    pub url: &'a str,
    /// Which events; `None`: all.
    pub events: Option<&'a [EventKind]>,
    /// What its deliveries are signed with.
    pub secret: &'a WebhookSecret,
    /// When.
    pub at: Timestamp,
    /// How many a room may have. The operator's aren't limited.
    pub limit: i64,
}

/// Who attempts deliveries: random, one for each taking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimId(pub i64);

/// Deliveries to be taken.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// For whom.
    pub id: ClaimId,
    /// What is due now.
    pub at: Timestamp,
    /// Until when nobody else takes them.
    pub until: Timestamp,
    /// At most so many.
    pub limit: i64,
    /// Webhooks to leave out: their host has as many requests as it may.
    pub busy: &'a [WebhookId],
}

/// A delivery that was taken, with what an attempt needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The delivery.
    pub id: DeliveryId,
    /// The webhook.
    pub webhook_id: WebhookId,
    /// Where to.
    pub url: String,
    /// What to sign with: the secret, and the one before it while that holds.
    pub secrets: Vec<WebhookSecret>,
    /// What to tell.
    pub event: Event,
    /// Attempts before this one.
    pub attempts: i64,
    /// When the event came to the webhook.
    pub created_at: Timestamp,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The delivery.
    pub delivery: DeliveryId,
    /// What follows.
    pub outcome: AttemptOutcome,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// Why it failed.
    pub error: Option<String>,
}

/// What follows from an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The receiver has it.
    Delivered,
    /// It is to be tried again then.
    Again(Timestamp),
    /// It isn't tried any more.
    Dead,
    /// As [`AttemptOutcome::Dead`], and the webhook is disabled.
    Gone,
    /// There was no attempt: others may take it.
    Released,
}

/// What waits to be delivered, to webhooks that are enabled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Deliveries that aren't over.
    pub pending: i64,
    /// When the oldest of those came that weren't tried yet.
    pub oldest_untried: Option<Timestamp>,
}

/// How one step of [`Webhooks::sweep_webhooks`] goes.
#[derive(Clone, Copy, Debug)]
pub struct WebhookSweep {
    /// The time now.
    pub at: Timestamp,
    /// Deliveries that were over before this go. Until then a copy of their event is known.
    pub forget_before: Timestamp,
    /// Rows to touch at most.
    pub max_rows: i64,
}

/// Webhooks and their deliveries, in the same database as the [`Store`](super::Store).
///
/// A webhook gets each event of its room after the place at which it was made; the operator's get every event that is
/// offered after they were made. A delivery is known by its webhook and the event's `(room, seq)`: an event offered again is
/// the same delivery.
#[async_trait]
pub trait Webhooks: Send + Sync + fmt::Debug {
    /// Makes a webhook; answers it without its secret. [`Refusal::WebhooksPerRoom`] if the room has as many as allowed.
    async fn create_webhook(
        &self,
        webhook: &NewWebhook<'_>,
    ) -> Result<Result<Webhook, Refusal>, StoreError>;

    /// A page of webhooks without secrets, ordered by id, after `after`.
    async fn webhooks(
        &self,
        owner: WebhookOwner,
        after: Option<WebhookId>,
        limit: i64,
    ) -> Result<Result<Page<Webhook>, Refusal>, StoreError>;

    /// Removes a webhook, and with it its deliveries. One that is another's or isn't there: [`Refusal::NotFound`], here and
    /// below.
    async fn delete_webhook(
        &self,
        owner: WebhookOwner,
        webhook: WebhookId,
    ) -> Result<Result<(), Refusal>, StoreError>;

    /// Gives a webhook another secret; the one before signs too until `old_until`. Answers the webhook without it.
    async fn set_webhook_secret(
        &self,
        owner: WebhookOwner,
        webhook: WebhookId,
        secret: &WebhookSecret,
        old_until: Timestamp,
    ) -> Result<Result<Webhook, Refusal>, StoreError>;

    /// A page of a webhook's deliveries, newest first, before `before`.
    async fn deliveries(
        &self,
        owner: WebhookOwner,
        webhook: WebhookId,
        before: Option<DeliveryId>,
        limit: i64,
    ) -> Result<Result<Page<Delivery>, Refusal>, StoreError>;

    /// Has a delivery tried once more, at `at`: a dead one, or one that waits to be tried again. One that is delivered, under
    /// way, or waits for its first attempt is left as it is. [`Refusal::WebhookDisabled`] if its webhook is.
    async fn retry_delivery(
        &self,
        owner: WebhookOwner,
        webhook: WebhookId,
        delivery: DeliveryId,
        at: Timestamp,
    ) -> Result<Result<(), Refusal>, StoreError>;

    /// Has all dead deliveries of a webhook tried once more, at `at`; answers how many.
    async fn replay_webhook(
        &self,
        owner: WebhookOwner,
        webhook: WebhookId,
        at: Timestamp,
    ) -> Result<Result<u64, Refusal>, StoreError>;

    /// Whether there is a webhook that is enabled.
    async fn has_webhooks(&self) -> Result<bool, StoreError>;

    /// Makes the deliveries of events, in one durable transaction; answers how many are new. Events come in any order and
    /// any number of times.
    ///
    /// Of a room's deliveries to a webhook that weren't tried yet, the one at the lowest place is due, and the others wait
    /// for it. Where an event is offered before one at a lower place, the room's first attempts are held until that one
    /// comes, but no longer than [`OFFER_HOLD`].
    async fn offer(&self, events: &[Event], at: Timestamp) -> Result<u64, StoreError>;

    /// Takes deliveries that are due, those due first before others. What is taken by one is taken by no other until
    /// [`Claim::until`], and is due again then. Those of a disabled webhook aren't due.
    async fn claim(&self, claim: &Claim<'_>) -> Result<Vec<Claimed>, StoreError>;

    /// Notes what became of deliveries that `claim` took. Those that it doesn't hold any more are left as they are. After a
    /// first attempt, whatever became of it, the room's next delivery to that webhook is due. The event of a delivered one is
    /// forgotten.
    async fn finish(
        &self,
        claim: ClaimId,
        attempts: &[Attempt],
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// What waits.
    async fn backlog(&self) -> Result<Backlog, StoreError>;

    /// One bounded step of cleaning: removes the deliveries of removed webhooks and those that were over long ago, has those
    /// of disabled ones be dead, and removes the webhooks of a deleted room once its `roomDeleted` is delivered or dead.
    /// Answers whether there is more to do; repeated until there isn't, it comes to an end.
    async fn sweep_webhooks(&self, ctx: &WebhookSweep) -> Result<bool, StoreError>;
}
