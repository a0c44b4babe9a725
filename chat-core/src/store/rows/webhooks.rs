//! Rows of webhooks and deliveries.

use super::Truth;
use crate::model::{
    Delivery, DeliveryId, DeliveryState, Event, EventKind, RoomId, Seq, Timestamp, Webhook,
    WebhookId, WebhookSecret,
};
use crate::store::Claimed;

/// Reads [`WebhookRow`]s, up to their condition.
macro_rules! select_webhooks {
    () => {
        "SELECT id, room_id, url, events, enabled, created_at FROM webhooks WHERE "
    };
}
/// Reads [`DeliveryRow`]s, up to their condition.
macro_rules! select_deliveries {
    () => {
        "SELECT id, room_id, kind, seq, state, attempts, last_status, last_error, due_at, created_at
         FROM deliveries WHERE "
    };
}
pub(in crate::store) use {select_deliveries, select_webhooks};

/// `id, room_id, url, events, enabled, created_at`
pub(in crate::store) type WebhookRow<T> = (i64, Option<i64>, String, Option<String>, T, i64);

pub(in crate::store) fn webhook<T: Truth>(row: WebhookRow<T>) -> Webhook {
    let (id, room_id, url, events, enabled, created_at) = row;
    Webhook {
        id: WebhookId(id),
        room_id: room_id.map(RoomId),
        url,
        events: events.map(|text| read_tags(&text)),
        secret: None,
        enabled: enabled.holds(),
        created_at: Timestamp::from_millis(created_at),
    }
}

/// Tags as their column has them: a JSON array.
pub(in crate::store) fn tags(events: Option<&[EventKind]>) -> Option<String> {
    let names: Vec<_> = events?.iter().map(|kind| kind.as_str()).collect();
    Some(format!("[\"{}\"]", names.join("\",\"")))
}

/// The tags of a column. One that a newer version wrote is none of this one's events.
pub(in crate::store) fn read_tags(text: &str) -> Vec<EventKind> {
    let names: Vec<String> = serde_json::from_str(text).unwrap_or_default();
    names
        .iter()
        .filter_map(|name| EventKind::named(name))
        .collect()
}

/// `id, room_id, kind, seq, state, attempts, last_status, last_error, due_at, created_at`
pub(in crate::store) type DeliveryRow = (
    i64,
    i64,
    String,
    i64,
    String,
    i64,
    Option<i64>,
    Option<String>,
    Option<i64>,
    i64,
);

pub(in crate::store) fn delivery(row: DeliveryRow) -> Delivery {
    let (id, room_id, kind, seq, state, attempts, status, last_error, due_at, created_at) = row;
    Delivery {
        id: DeliveryId(id),
        room_id: RoomId(room_id),
        kind: EventKind::named(&kind).unwrap_or(EventKind::RoomChanged),
        seq: Seq(seq),
        state: match state.as_str() {
            "delivered" => DeliveryState::Delivered,
            "dead" => DeliveryState::Dead,
            _ => DeliveryState::Pending,
        },
        attempts,
        last_status: status.and_then(|status| u16::try_from(status).ok()),
        last_error,
        next_attempt_at: due_at.map(Timestamp::from_millis),
        created_at: Timestamp::from_millis(created_at),
    }
}

/// `id, webhook_id, url, secret, old_secret, attempts, event, created_at`
pub(in crate::store) type ClaimedRow = (i64, i64, String, String, Option<String>, i64, String, i64);

pub(in crate::store) fn claimed(row: ClaimedRow) -> Result<Claimed, serde_json::Error> {
    let (id, webhook_id, url, secret, old_secret, attempts, event, created_at) = row;
    let event: Event = serde_json::from_str(&event)?;
    Ok(Claimed {
        id: DeliveryId(id),
        webhook_id: WebhookId(webhook_id),
        url,
        secrets: std::iter::once(secret)
            .chain(old_secret)
            .map(WebhookSecret)
            .collect(),
        event,
        attempts,
        created_at: Timestamp::from_millis(created_at),
    })
}
