//! Events that become deliveries, and what becomes of those.

use std::collections::{BTreeMap, BTreeSet};

use super::database::Database;
use super::webhooks::{DeliveryRow, WebhookRow};
use crate::model::{Delivery, DeliveryId, DeliveryState, Event, RoomId, Seq, Timestamp, WebhookId};
use crate::store::webhooks::place::Place;
use crate::store::{Attempt, AttemptOutcome, Backlog, ClaimId, Claimed, WebhookSweep};

impl Database {
    pub(super) fn offer(&mut self, events: &[Event], at: Timestamp) -> u64 {
        let mut rooms: BTreeMap<RoomId, BTreeMap<Seq, &Event>> = BTreeMap::new();
        for event in events {
            let room = rooms.entry(event.room_id()).or_default();
            room.insert(event.seq(), event);
        }
        rooms
            .into_iter()
            .map(|(room, events)| self.offer_room(room, &events, at))
            .sum()
    }

    fn offer_room(&mut self, room: RoomId, events: &BTreeMap<Seq, &Event>, at: Timestamp) -> u64 {
        let concerned = |row: &&WebhookRow| {
            row.webhook.enabled && row.webhook.room_id.is_none_or(|of| of == room)
        };
        let webhooks: Vec<WebhookRow> = self.webhooks.values().filter(concerned).cloned().collect();
        let Some((&first, _)) = events.first_key_value() else {
            return 0;
        };
        if webhooks.is_empty() {
            return 0;
        }
        let place = self.places.entry(room);
        let place = place.or_insert_with(|| Place::before(first));
        place.take(events.keys().copied(), at);
        let due = place.due(at);
        let mut made = 0;
        for hook in &webhooks {
            for event in events.values().filter(|event| hook.wants(event)) {
                made += u64::from(self.deliver(hook.webhook.id, event, at));
            }
            self.promote(hook.webhook.id, room, due);
        }
        if events
            .values()
            .any(|event| matches!(event, Event::RoomDeleted { .. }))
        {
            for row in self.webhooks.values_mut() {
                row.room_deleted |= row.webhook.room_id == Some(room);
            }
            self.places.remove(&room);
        }
        made
    }

    /// Makes a delivery; false if it is there already.
    fn deliver(&mut self, webhook_id: WebhookId, event: &Event, at: Timestamp) -> bool {
        let known = self.deliveries.values().any(|row| {
            row.webhook_id == webhook_id
                && row.delivery.room_id == event.room_id()
                && row.delivery.seq == event.seq()
        });
        if known {
            return false;
        }
        let id = DeliveryId(self.next_id());
        let delivery = Delivery {
            id,
            room_id: event.room_id(),
            kind: event.kind(),
            seq: event.seq(),
            state: DeliveryState::Pending,
            attempts: 0,
            last_status: None,
            last_error: None,
            next_attempt_at: None,
            created_at: at,
        };
        let row = DeliveryRow {
            webhook_id,
            delivery,
            event: Some(event.clone()),
            claim: None,
            finished_at: None,
        };
        self.deliveries.insert(id, row);
        true
    }

    /// Has the room's first untried delivery to a webhook be due, and no other, unless one is under way.
    fn promote(&mut self, webhook: WebhookId, room: RoomId, due: Timestamp) {
        let untried = || {
            self.deliveries
                .values()
                .filter(move |row| row.is_untried(webhook, room))
        };
        if untried().any(|row| row.claim.is_some()) {
            return;
        }
        let first = untried().map(|row| row.delivery.seq).min();
        for row in self.deliveries.values_mut() {
            if row.is_untried(webhook, room) {
                row.delivery.next_attempt_at = (Some(row.delivery.seq) == first).then_some(due);
            }
        }
    }

    pub(super) fn claim(
        &mut self,
        id: ClaimId,
        at: Timestamp,
        until: Timestamp,
        limit: i64,
        busy: &BTreeSet<WebhookId>,
    ) -> Vec<Claimed> {
        let mut due: Vec<(Timestamp, DeliveryId)> = self
            .deliveries
            .iter()
            .filter(|(_, row)| {
                let hook = self.webhooks.get(&row.webhook_id);
                hook.is_some_and(|hook| hook.webhook.enabled) && !busy.contains(&row.webhook_id)
            })
            .filter_map(|(&id, row)| Some((row.delivery.next_attempt_at?, id)))
            .filter(|(due, _)| *due <= at)
            .collect();
        due.sort_unstable();
        due.truncate(usize::try_from(limit).unwrap_or(0));
        let mut claimed = Vec::new();
        for (_, delivery) in due {
            let Some(row) = self.deliveries.get_mut(&delivery) else {
                continue;
            };
            let Some(hook) = self.webhooks.get(&row.webhook_id) else {
                continue;
            };
            let Some(event) = row.event.clone() else {
                continue;
            };
            row.claim = Some(id);
            row.delivery.next_attempt_at = Some(until);
            let old = hook.old_secret.iter().filter(|(_, until)| *until > at);
            claimed.push(Claimed {
                id: delivery,
                webhook_id: row.webhook_id,
                url: hook.webhook.url.clone(),
                secrets: std::iter::once(&hook.secret)
                    .chain(old.map(|(secret, _)| secret))
                    .cloned()
                    .collect(),
                event,
                attempts: row.delivery.attempts,
                created_at: row.delivery.created_at,
            });
        }
        claimed
    }

    pub(super) fn finish(&mut self, claim: ClaimId, attempt: &Attempt, at: Timestamp) {
        let row = self.deliveries.get_mut(&attempt.delivery);
        let Some(row) = row.filter(|row| row.claim == Some(claim)) else {
            return;
        };
        row.claim = None;
        let (state, due) = match attempt.outcome {
            AttemptOutcome::Released => {
                row.delivery.next_attempt_at = Some(at);
                return;
            }
            AttemptOutcome::Delivered => (DeliveryState::Delivered, None),
            AttemptOutcome::Again(due) => (DeliveryState::Pending, Some(due)),
            AttemptOutcome::Dead | AttemptOutcome::Gone => (DeliveryState::Dead, None),
        };
        row.delivery.state = state;
        row.delivery.next_attempt_at = due;
        row.delivery.attempts += 1;
        row.delivery.last_status = attempt.status;
        row.delivery.last_error.clone_from(&attempt.error);
        row.finished_at = due.is_none().then_some(at);
        if state == DeliveryState::Delivered {
            row.event = None;
        }
        let (webhook, room) = (row.webhook_id, row.delivery.room_id);
        let first = row.delivery.attempts == 1;
        if attempt.outcome == AttemptOutcome::Gone
            && let Some(hook) = self.webhooks.get_mut(&webhook)
        {
            hook.webhook.enabled = false;
        }
        if first {
            let due = self.places.get(&room).map_or(at, |place| place.due(at));
            self.promote(webhook, room, due);
        }
    }

    pub(super) fn backlog(&self) -> Backlog {
        let pending = self.deliveries.values().filter(|row| {
            let hook = self.webhooks.get(&row.webhook_id);
            row.delivery.state == DeliveryState::Pending
                && hook.is_some_and(|hook| hook.webhook.enabled)
        });
        let mut backlog = Backlog::default();
        for row in pending {
            backlog.pending += 1;
            if row.delivery.attempts == 0 {
                let at = row.delivery.created_at;
                let oldest = backlog.oldest_untried.get_or_insert(at);
                *oldest = at.min(*oldest);
            }
        }
        backlog
    }

    pub(super) fn sweep_webhooks(&mut self, ctx: &WebhookSweep) -> bool {
        let limit = usize::try_from(ctx.max_rows).unwrap_or(0);
        let over = |row: &DeliveryRow| {
            !self.webhooks.contains_key(&row.webhook_id)
                || row.finished_at.is_some_and(|at| at < ctx.forget_before)
        };
        let gone: Vec<DeliveryId> = self
            .deliveries
            .iter()
            .filter(|(_, row)| over(row))
            .map(|(&id, _)| id)
            .take(limit)
            .collect();
        for id in &gone {
            self.deliveries.remove(id);
        }
        let mut dead = 0;
        for row in self.deliveries.values_mut() {
            let hook = self.webhooks.get(&row.webhook_id);
            let disabled = hook.is_some_and(|hook| !hook.webhook.enabled);
            if disabled && row.delivery.state == DeliveryState::Pending && dead < limit {
                row.delivery.state = DeliveryState::Dead;
                row.delivery.next_attempt_at = None;
                row.claim = None;
                row.finished_at = Some(ctx.at);
                let error = &mut row.delivery.last_error;
                error.get_or_insert_with(|| "the webhook is disabled".to_owned());
                dead += 1;
            }
        }
        let pending: BTreeSet<WebhookId> = self
            .deliveries
            .values()
            .filter(|row| row.delivery.state == DeliveryState::Pending)
            .map(|row| row.webhook_id)
            .collect();
        let before = self.webhooks.len();
        self.webhooks
            .retain(|id, row| !row.room_deleted || pending.contains(id));
        !gone.is_empty() || dead > 0 || self.webhooks.len() < before
    }
}
