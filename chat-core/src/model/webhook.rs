//! Outgoing webhooks: who is told what happens, and what became of each telling.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{DeliveryId, EventKind, RoomId, Seq, Timestamp, WebhookId};

/// The text that a webhook's deliveries are signed with: `whsec_` and the key in base64. It is shown once, to whoever made
/// it, and never by `{:?}`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String))]
pub struct WebhookSecret(pub String);

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret")
    }
}

/// An address that is told of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// The webhook's id.
    pub id: WebhookId,
    /// The room whose events it gets; absent for the operator's own, which get those of all rooms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_id: Option<RoomId>,
    /// Where events are posted to.
    pub url: String,
    /// The tags of the events wanted; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<EventKind>>,
    /// What its deliveries are signed with; shown once, when it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<WebhookSecret>,
    /// False once its receiver answered 410: nothing is delivered any more.
    pub enabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// One event on its way to one webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// The delivery's id.
    pub id: DeliveryId,
    /// The room of the event.
    pub room_id: RoomId,
    /// The event's tag.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The event's place in its room.
    pub seq: Seq,
    /// What became of it so far.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: i64,
    /// The status of the last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_status: Option<u16>,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it is tried next; absent while it waits for those before it, and once it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// When the event came to the webhook.
    pub created_at: Timestamp,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum DeliveryState {
    /// It is to be tried, for the first time or again.
    Pending,
    /// The receiver has it.
    Delivered,
    /// It was tried as often as it is, and isn't any more by itself.
    Dead,
}

impl DeliveryState {
    /// The state as it is written: `pending`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_written_on_the_wire_and_not_in_a_log() {
        let secret = WebhookSecret("whsec_AAAA".to_owned());
        assert_eq!(
            serde_json::to_string(&secret).expect("written"),
            "\"whsec_AAAA\""
        );
        assert!(!format!("{secret:?}").contains("AAAA"));
    }

    #[test]
    fn tags_are_written_as_serde_writes_them() {
        for kind in EventKind::ALL {
            let written = serde_json::to_string(&kind).expect("written");
            assert_eq!(written, format!("{:?}", kind.as_str()));
            assert_eq!(EventKind::named(kind.as_str()), Some(kind));
        }
        for state in [
            DeliveryState::Pending,
            DeliveryState::Delivered,
            DeliveryState::Dead,
        ] {
            let written = serde_json::to_string(&state).expect("written");
            assert_eq!(written, format!("{:?}", state.as_str()));
        }
    }
}
