//! Webhooks: made and looked after by a room's admins, fed from the outbox.

mod address;
mod consume;
mod feed;
mod target;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::sync::{Notify, Semaphore};

pub use self::address::is_public;
pub use self::consume::GROUP;
pub(super) use self::feed::{Feed, Wanted};
pub use self::target::{Target, TargetError, resolve};
use super::fields::page_limit;
use super::{Chat, Error};
use crate::auth::Caller;
use crate::bus::{BusError, DeadLetter, EventBus};
use crate::model::{
    Delivery, DeliveryId, Event, EventKind, RoomId, Timestamp, Webhook, WebhookId, WebhookSecret,
};
use crate::protocol::rest::{CreateWebhook, DeliveriesQuery, ListQuery, Page};
use crate::random::Random;
use crate::store::{NewWebhook, StoreError, WebhookOwner, Webhooks};

/// Bytes of a secret: as long as what it keys.
const SECRET_BYTES: usize = 32;
/// Names looked up at once for those who make webhooks; more wait.
const LOOKUPS: usize = 8;
/// How long the secret before still signs.
const OLD_SECRET: std::time::Duration = std::time::Duration::from_secs(24 * 3_600);

/// Whether webhooks may go to addresses that aren't public.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrivateTargets {
    /// They may not: whoever makes a webhook can't reach what stands beside the server.
    #[default]
    Refused,
    /// They may: where those who make webhooks are trusted with the network.
    Allowed,
}

/// A chat's outgoing webhooks: what a deliverer works with.
#[derive(Clone, Debug)]
pub struct Outgoing {
    store: Arc<dyn Webhooks>,
    private: PrivateTargets,
    limit: i64,
    pub(super) wanted: Wanted,
    pub(super) offered: Arc<Notify>,
    /// What carries events, and dead letters away.
    bus: Option<Arc<dyn EventBus>>,
    behind: Arc<AtomicU64>,
    lookups: Arc<Semaphore>,
}

impl Outgoing {
    /// Webhooks kept here, at most `limit` a room.
    #[must_use]
    pub fn new(store: Arc<dyn Webhooks>, private: PrivateTargets, limit: i64) -> Self {
        Self {
            store,
            private,
            limit,
            wanted: Wanted::default(),
            offered: Arc::default(),
            bus: None,
            behind: Arc::default(),
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }

    /// The same, with what carries the events to consumers and dead letters away.
    #[must_use]
    pub fn carried_by(mut self, bus: Option<Arc<dyn EventBus>>) -> Self {
        self.bus = bus;
        self
    }

    /// Where they are kept.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Webhooks> {
        &self.store
    }

    /// Whether they may go to private addresses.
    #[must_use]
    pub const fn private(&self) -> PrivateTargets {
        self.private
    }

    /// Woken when this process has made deliveries.
    #[must_use]
    pub fn offered(&self) -> &Notify {
        &self.offered
    }

    /// How many events the bus carries for this process's share of the consumers' group that aren't deliveries yet; 0 where
    /// publishers make those.
    #[must_use]
    pub fn behind(&self) -> u64 {
        self.behind.load(Ordering::Relaxed)
    }

    fn set_behind(&self, behind: u64) {
        self.behind.store(behind, Ordering::Relaxed);
    }

    /// Puts dead deliveries on the bus, where it has a place for them.
    ///
    /// # Errors
    /// The bus can't be reached.
    pub async fn bury(&self, letters: &[DeadLetter]) -> Result<(), BusError> {
        match &self.bus {
            Some(bus) => bus.bury(letters).await,
            None => Ok(()),
        }
    }

    /// Makes the deliveries of events: once, however often they come.
    ///
    /// # Errors
    /// The database can't be used.
    pub async fn offer(&self, events: &[Event], at: Timestamp) -> Result<(), StoreError> {
        if self.store.offer(events, at).await? > 0 {
            self.offered.notify_one();
        }
        Ok(())
    }

    /// Makes a webhook for an owner, by the rules of [`Chat::create_webhook`]; its secret is in the answer.
    ///
    /// # Errors
    /// `validation_failed`, `not_found`, `forbidden`, `limit_reached`, `unavailable`.
    pub async fn create(
        &self,
        owner: WebhookOwner,
        webhook: CreateWebhook,
        random: &dyn Random,
        at: Timestamp,
    ) -> Result<Webhook, Error> {
        let CreateWebhook { url, events } = webhook;
        let events = events.map(checked_events).transpose()?;
        self.check_url(&url).await?;
        let secret = fresh_secret(random);
        // Before it is there, so that no event after it is left out.
        self.wanted.some();
        let new = NewWebhook {
            owner,
            url: &url,
            events: events.as_deref(),
            secret: &secret,
            at,
            limit: self.limit,
        };
        let webhook = self.store.create_webhook(&new).await??;
        Ok(Webhook {
            secret: Some(secret),
            ..webhook
        })
    }

    /// Whether the URL may be delivered to. A name that isn't known now may be later: attempts look again.
    async fn check_url(&self, url: &str) -> Result<(), Error> {
        let checked = match Target::parse(url) {
            Ok(target) => {
                let _turn = self.lookups.acquire().await;
                target.addresses(self.private).await.map(drop)
            }
            Err(e) => Err(e),
        };
        match checked {
            Ok(()) | Err(TargetError::Unresolved) => Ok(()),
            Err(e) => Err(Error::field("url", e.code(), e.to_string())),
        }
    }
}

fn checked_events(mut events: Vec<EventKind>) -> Result<Vec<EventKind>, Error> {
    events.sort_unstable();
    events.dedup();
    if events.is_empty() {
        let detail = "must name at least one event, or be left out for all";
        return Err(Error::field("events", "too_short", detail));
    }
    Ok(events)
}

fn fresh_secret(random: &dyn Random) -> WebhookSecret {
    let mut key = [0; SECRET_BYTES];
    random.fill(&mut key);
    WebhookSecret(format!("whsec_{}", BASE64_STANDARD.encode(key)))
}

fn of(caller: &Caller, room_id: RoomId) -> WebhookOwner {
    WebhookOwner::Room {
        room_id,
        by: caller.user_id,
    }
}

impl Chat {
    /// The chat's webhooks, where [`ChatBuilder::webhooks`](super::ChatBuilder::webhooks) was given a store for them.
    #[must_use]
    pub fn outgoing(&self) -> Option<&Outgoing> {
        self.0.outgoing.as_ref()
    }

    fn webhooks_of(&self) -> Result<&Outgoing, Error> {
        self.outgoing().ok_or_else(Error::not_found)
    }

    /// Makes a webhook of a room, by an admin. Its secret is in the answer and in no other.
    ///
    /// # Errors
    /// `validation_failed` (also of a URL that leads to an address that isn't public), `not_found`, `forbidden`,
    /// `limit_reached`, `unavailable`.
    pub async fn create_webhook(
        &self,
        caller: &Caller,
        room: RoomId,
        webhook: CreateWebhook,
    ) -> Result<Webhook, Error> {
        let outgoing = self.webhooks_of()?;
        // Who may not make one has no names looked up either.
        outgoing.store.webhooks(of(caller, room), None, 1).await??;
        let owner = of(caller, room);
        let made = outgoing.create(owner, webhook, self.random(), self.now());
        made.await
    }

    /// A page of a room's webhooks, for an admin, without secrets.
    ///
    /// # Errors
    /// `validation_failed`, `not_found`, `forbidden`, `unavailable`.
    pub async fn webhooks(
        &self,
        caller: &Caller,
        room: RoomId,
        query: ListQuery,
    ) -> Result<Page<Webhook>, Error> {
        let limit = page_limit(query.limit)?;
        let after = query.after.map(WebhookId);
        let store = &self.webhooks_of()?.store;
        Ok(store.webhooks(of(caller, room), after, limit).await??)
    }

    /// Removes a webhook, by an admin.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `unavailable`.
    pub async fn delete_webhook(
        &self,
        caller: &Caller,
        room: RoomId,
        webhook: WebhookId,
    ) -> Result<(), Error> {
        let store = &self.webhooks_of()?.store;
        Ok(store.delete_webhook(of(caller, room), webhook).await??)
    }

    /// Gives a webhook another secret, by an admin; it is in the answer and in no other. For 24 h the one before signs too.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `unavailable`.
    pub async fn renew_webhook_secret(
        &self,
        caller: &Caller,
        room: RoomId,
        webhook: WebhookId,
    ) -> Result<Webhook, Error> {
        let store = &self.webhooks_of()?.store;
        let secret = fresh_secret(self.random());
        let old_until = self.now().plus(OLD_SECRET);
        let webhook = store
            .set_webhook_secret(of(caller, room), webhook, &secret, old_until)
            .await??;
        Ok(Webhook {
            secret: Some(secret),
            ..webhook
        })
    }

    /// A page of a webhook's deliveries, newest first, for an admin.
    ///
    /// # Errors
    /// `validation_failed`, `not_found`, `forbidden`, `unavailable`.
    pub async fn deliveries(
        &self,
        caller: &Caller,
        room: RoomId,
        webhook: WebhookId,
        query: DeliveriesQuery,
    ) -> Result<Page<Delivery>, Error> {
        let limit = page_limit(query.limit)?;
        let store = &self.webhooks_of()?.store;
        let owner = of(caller, room);
        let page = store.deliveries(owner, webhook, query.before, limit);
        Ok(page.await??)
    }

    /// Has a delivery tried once more, now, by an admin; one that is delivered or under way is left as it is.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `conflict` if the webhook is disabled, `unavailable`.
    pub async fn retry_delivery(
        &self,
        caller: &Caller,
        room: RoomId,
        webhook: WebhookId,
        delivery: DeliveryId,
    ) -> Result<(), Error> {
        let outgoing = self.webhooks_of()?;
        let owner = of(caller, room);
        let retried = outgoing
            .store
            .retry_delivery(owner, webhook, delivery, self.now());
        retried.await??;
        outgoing.offered.notify_one();
        Ok(())
    }
}
