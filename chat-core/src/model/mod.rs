//! Ids and domain types, the clock, and the limits: what every other layer speaks of.
//!
//! These types are also the wire types: the same [`Message`] is a REST answer, a hub event's argument and an entry of
//! `changes`. JSON member names are `camelCase`, absent fields are left out, and readers ignore fields they don't know.

mod event;
mod id;
pub mod limits;
mod time;
mod webhook;

use serde::{Deserialize, Serialize};

pub use self::event::{Event, EventKind, LeaveReason};
pub(crate) use self::id::deserialize_integer;
pub use self::id::{
    DeliveryId, InviteId, MAX_INTEGER, MessageId, RoomId, Seq, SessionId, UserId, WebhookId,
};
#[cfg(any(test, feature = "testing"))]
pub use self::time::ManualClock;
pub use self::time::{Clock, SystemClock, Timestamp};
pub use self::webhook::{Delivery, DeliveryState, Webhook, WebhookSecret};

/// The username that a deleted account shows.
pub const DELETED_USERNAME: &str = "deleted user";

/// What a member may do in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Renames and deletes the room, invites, removes members, and gives roles.
    Admin,
    /// Reads and writes.
    Member,
}

/// An account, as its owner (with `email`) or another user (without) sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The account's id.
    pub id: UserId,
    /// Unique, compared case-insensitively; `deleted user` for a deleted account.
    pub username: String,
    /// Only ever shown to its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// When the account was made.
    pub created_at: Timestamp,
}

/// A room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Room {
    /// The room's id.
    pub id: RoomId,
    /// 1–64 characters.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many members it has now.
    pub member_count: i64,
    /// The place of its last change.
    pub seq: Seq,
    /// The caller's role in it; absent in events, which go to all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// A user's membership of a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Who.
    pub user_id: UserId,
    /// Their username now.
    pub username: String,
    /// What they may do.
    pub role: Role,
    /// When they last came in.
    pub joined_at: Timestamp,
}

/// A message, as it is now. A deleted one keeps its place with `deletedAt` and empty content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The message's id.
    pub id: MessageId,
    /// The room it is in.
    pub room_id: RoomId,
    /// Its place in the room's order.
    pub seq: Seq,
    /// The place of its last change; equal to `seq` when new.
    pub changed_seq: Seq,
    /// Who wrote it; kept when the account is deleted.
    pub sender_id: UserId,
    /// 1–4,000 characters, byte for byte as sent; empty when deleted.
    pub content: String,
    /// When the server stored it.
    pub sent_at: Timestamp,
    /// When it was last edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<Timestamp>,
    /// When it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// The id its sender gave it, under which a repeated send returns the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<String>,
}

/// An invitation into a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Invite {
    /// The invite's id.
    pub id: InviteId,
    /// The room it admits to.
    pub room_id: RoomId,
    /// The unguessable text that admits; shown once, when the invite is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops admitting.
    pub expires_at: Timestamp,
    /// How many it admits; absent: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<i64>,
    /// How many it has admitted.
    pub uses: i64,
}

/// A login of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The session's id; an access token's `sid`.
    pub id: SessionId,
    /// What the login called the device; empty when it didn't say.
    pub device: String,
    /// When it logged in.
    pub created_at: Timestamp,
    /// When it last logged in or refreshed its tokens.
    pub last_used_at: Timestamp,
    /// Whether it is the session that asks.
    pub current: bool,
}
