//! Webhooks, and the deliveries that events become.

use super::database::Database;
use super::read::page;
use crate::model::{
    Delivery, DeliveryId, DeliveryState, Event, EventKind, RoomId, Seq, Timestamp, Webhook,
    WebhookId, WebhookSecret,
};
use crate::protocol::rest::Page;
use crate::store::{ClaimId, Refusal, WebhookOwner};

#[derive(Clone)]
pub(super) struct WebhookRow {
    pub(super) webhook: Webhook,
    pub(super) secret: WebhookSecret,
    pub(super) old_secret: Option<(WebhookSecret, Timestamp)>,
    pub(super) since: Seq,
    /// Its room's last event was offered: it goes with its last delivery.
    pub(super) room_deleted: bool,
}

#[derive(Clone)]
pub(super) struct DeliveryRow {
    pub(super) webhook_id: WebhookId,
    pub(super) delivery: Delivery,
    pub(super) event: Option<Event>,
    pub(super) claim: Option<ClaimId>,
    pub(super) finished_at: Option<Timestamp>,
}

impl DeliveryRow {
    pub(super) fn is_untried(&self, webhook: WebhookId, room: RoomId) -> bool {
        self.webhook_id == webhook
            && self.delivery.room_id == room
            && self.delivery.state == DeliveryState::Pending
            && self.delivery.attempts == 0
    }
}

impl WebhookRow {
    pub(super) fn wants(&self, event: &Event) -> bool {
        let room = self.webhook.room_id;
        let tags = self.webhook.events.as_ref();
        self.webhook.enabled
            && room.is_none_or(|room| room == event.room_id())
            && tags.is_none_or(|tags| tags.contains(&event.kind()))
            && event.seq() > self.since
    }
}

/// What a new webhook is made of, owned.
#[derive(Clone)]
pub(super) struct New {
    pub(super) owner: WebhookOwner,
    pub(super) url: String,
    pub(super) events: Option<Vec<EventKind>>,
    pub(super) secret: WebhookSecret,
    pub(super) at: Timestamp,
    pub(super) limit: i64,
}

impl Database {
    fn authorise(&self, owner: WebhookOwner) -> Result<Option<RoomId>, Refusal> {
        match owner {
            WebhookOwner::Operator => Ok(None),
            WebhookOwner::Room { room_id, by } => {
                self.require_admin(room_id, by)?;
                Ok(Some(room_id))
            }
        }
    }

    pub(super) fn owned(&self, owner: WebhookOwner, id: WebhookId) -> Result<&WebhookRow, Refusal> {
        let room = self.authorise(owner)?;
        self.webhooks
            .get(&id)
            .filter(|row| row.webhook.room_id == room)
            .ok_or(Refusal::NotFound)
    }

    fn owned_enabled(&self, owner: WebhookOwner, id: WebhookId) -> Result<bool, Refusal> {
        Ok(self.owned(owner, id)?.webhook.enabled)
    }

    pub(super) fn create_webhook(&mut self, new: &New) -> Result<Webhook, Refusal> {
        let room_id = self.authorise(new.owner)?;
        let count = self
            .webhooks
            .values()
            .filter(|row| row.webhook.room_id == room_id)
            .count();
        if room_id.is_some() && i64::try_from(count).unwrap_or(i64::MAX) >= new.limit {
            return Err(Refusal::WebhooksPerRoom);
        }
        let since = room_id
            .and_then(|room| self.live_room(room))
            .map_or(Seq::ZERO, |room| room.head);
        let webhook = Webhook {
            id: WebhookId(self.next_id()),
            room_id,
            url: new.url.clone(),
            events: new.events.clone(),
            secret: None,
            enabled: true,
            created_at: new.at,
        };
        self.webhooks.insert(
            webhook.id,
            WebhookRow {
                webhook: webhook.clone(),
                secret: new.secret.clone(),
                old_secret: None,
                since,
                room_deleted: false,
            },
        );
        Ok(webhook)
    }

    pub(super) fn webhooks_page(
        &self,
        owner: WebhookOwner,
        after: Option<WebhookId>,
        limit: i64,
    ) -> Result<Page<Webhook>, Refusal> {
        let room = self.authorise(owner)?;
        let webhooks = self.webhooks.values().map(|row| row.webhook.clone());
        let wanted = webhooks.filter(|webhook| webhook.room_id == room && Some(webhook.id) > after);
        Ok(page(wanted, limit))
    }

    pub(super) fn set_webhook_secret(
        &mut self,
        owner: WebhookOwner,
        id: WebhookId,
        secret: &WebhookSecret,
        old_until: Timestamp,
    ) -> Result<Webhook, Refusal> {
        self.owned(owner, id)?;
        let row = self.webhooks.get_mut(&id).ok_or(Refusal::NotFound)?;
        let old = std::mem::replace(&mut row.secret, secret.clone());
        row.old_secret = Some((old, old_until));
        Ok(row.webhook.clone())
    }

    pub(super) fn deliveries_page(
        &self,
        owner: WebhookOwner,
        id: WebhookId,
        before: Option<DeliveryId>,
        limit: i64,
    ) -> Result<Page<Delivery>, Refusal> {
        self.owned(owner, id)?;
        let deliveries = self.deliveries.values().rev();
        let wanted = deliveries
            .filter(|row| row.webhook_id == id)
            .map(|row| row.delivery.clone())
            .filter(|delivery| before.is_none_or(|before| delivery.id < before));
        Ok(page(wanted, limit))
    }

    pub(super) fn retry_delivery(
        &mut self,
        owner: WebhookOwner,
        id: WebhookId,
        delivery: DeliveryId,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        let enabled = self.owned_enabled(owner, id)?;
        let row = self.deliveries.get_mut(&delivery);
        let row = row
            .filter(|row| row.webhook_id == id)
            .ok_or(Refusal::NotFound)?;
        if !enabled {
            return Err(Refusal::WebhookDisabled);
        }
        let waits = match row.delivery.state {
            DeliveryState::Dead => true,
            DeliveryState::Pending => row.delivery.attempts > 0,
            DeliveryState::Delivered => false,
        };
        if waits && row.claim.is_none() {
            revive(row, at);
        }
        Ok(())
    }

    pub(super) fn replay_webhook(
        &mut self,
        owner: WebhookOwner,
        id: WebhookId,
        at: Timestamp,
    ) -> Result<u64, Refusal> {
        if !self.owned_enabled(owner, id)? {
            return Err(Refusal::WebhookDisabled);
        }
        let mut replayed = 0;
        for row in self.deliveries.values_mut() {
            if row.webhook_id == id && row.delivery.state == DeliveryState::Dead {
                revive(row, at);
                replayed += 1;
            }
        }
        Ok(replayed)
    }
}

/// Has a delivery be tried once more.
fn revive(row: &mut DeliveryRow, at: Timestamp) {
    row.delivery.state = DeliveryState::Pending;
    row.delivery.next_attempt_at = Some(at);
    row.finished_at = None;
}
