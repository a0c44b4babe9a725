//! The hub's methods and events: names, arguments and results.
//!
//! Each client → server method takes one argument object and completes with one result; each server → client event has
//! one argument. How they are framed is [`signalr`](super::signalr)'s.

#[cfg(feature = "openapi")]
pub mod description;

use serde::{Deserialize, Serialize};

use super::rest::optional_integer;
#[cfg(any(doc, feature = "openapi"))]
use super::rest::{Changes, Page};
#[cfg(any(doc, feature = "openapi"))]
use crate::model::Message;
use crate::model::{MessageId, Room, RoomId, Seq, Timestamp, UserId};

/// Declares each method once: its name, what it takes and what it answers.
macro_rules! methods {
    ($( #[doc = $summary:literal] $name:ident($argument:ty) -> $form:ident($answer:ty), )*) => {
        /// A client → server method. Names are exact.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Method {
            $( #[doc = $summary] $name, )*
        }

        impl Method {
            /// All methods.
            pub const ALL: [Self; [$( stringify!($name), )*].len()] = [$( Self::$name, )*];

            /// The name on the wire.
            #[must_use]
            pub const fn target(self) -> &'static str {
                match self {
                    $( Self::$name => stringify!($name), )*
                }
            }

            const fn answers(self) -> Answers {
                match self {
                    $( Self::$name => Answers::$form, )*
                }
            }

            /// What it takes and answers, and what is said of it.
            #[cfg(feature = "openapi")]
            fn signature(self, schemas: &mut description::Schemas) -> description::Signature {
                match self {
                    $( Self::$name => description::Signature {
                        name: self.target(),
                        summary: $summary.trim().to_owned(),
                        argument: schemas.add::<$argument>(),
                        answer: Some((self.answers(), schemas.add::<$answer>())),
                    }, )*
                }
            }
        }
    };
}

/// Declares each event without a `seq` once: its name, and what it tells.
macro_rules! connection_events {
    ($( #[doc = $summary:literal] $constant:ident: $name:ident, )*) => {
        /// Names of the server → client events that have no `seq`. Those with one are named by
        /// [`EventKind::target`](crate::model::EventKind::target).
        pub mod target {
            $( #[doc = $summary] pub const $constant: &str = stringify!($name); )*
        }

        #[cfg(feature = "openapi")]
        fn connection_events(schemas: &mut description::Schemas) -> Vec<description::Signature> {
            vec![$( description::Signature {
                name: target::$constant,
                summary: $summary.trim().to_owned(),
                argument: schemas.add::<$name>(),
                answer: None,
            }, )*]
        }
    };
}

methods! {
    /// Sends a message. The result is the message as it was stored, with its id.
    SendMessage(SendMessage) -> Result(Message),
    /// Gives a message other content. By its author.
    EditMessage(EditMessage) -> Result(Message),
    /// Deletes a message. By its author or an admin.
    DeleteMessage(DeleteMessage) -> Result(Message),
    /// Reads a page of a room's history.
    GetMessages(GetMessages) -> Result(Page<Message>),
    /// Reads what changed in a room since a place.
    GetChanges(GetChanges) -> Result(Changes),
    /// Streams a room's messages, oldest first, without deleted ones.
    StreamHistory(StreamHistory) -> Stream(Message),
    /// Renews the connection's authority in place, by a fresh access token of the same user.
    Authenticate(Authenticate) -> Result(Authenticated),
    /// Asks for the server's time.
    Ping(Ping) -> Result(Pong),
}

connection_events! {
    /// The first event of a connection: whose it is, and where all of the user's rooms stand.
    CONNECTED: Connected,
    /// The user joined or created a room; to all of the user's connections.
    ROOM_JOINED: RoomJoined,
    /// Where those rooms stand that moved since the connection was last told, every 5 s.
    HEADS: Heads,
    /// The server is about to end the connection on purpose.
    CLOSING: Closing,
}

/// How a method answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// By one result.
    Result,
    /// By a stream of items.
    Stream,
}

impl Method {
    /// The method of that name.
    #[must_use]
    pub fn from_target(target: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.target() == target)
    }

    /// Whether it is called as a stream.
    #[must_use]
    pub const fn is_stream(self) -> bool {
        matches!(self.answers(), Answers::Stream)
    }
}

/// Sends a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SendMessage {
    /// Where to.
    pub room_id: RoomId,
    /// 1–4,000 characters, not only white space.
    pub content: String,
    /// 1–64 visible ASCII characters; sending it again returns the first result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<String>,
}

/// Gives a message other content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct EditMessage {
    /// The room.
    pub room_id: RoomId,
    /// The message.
    pub message_id: MessageId,
    /// The new content.
    pub content: String,
}

/// Deletes a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct DeleteMessage {
    /// The room.
    pub room_id: RoomId,
    /// The message.
    pub message_id: MessageId,
}

/// Reads a page of history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct GetMessages {
    /// The room.
    pub room_id: RoomId,
    /// The page that ends just before this message's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<MessageId>,
    /// The page that begins just after this message's place; 0: from the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<MessageId>,
    /// Items wanted, 1–100, default 50.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional_integer"
    )]
    pub limit: Option<i64>,
}

/// Reads what changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct GetChanges {
    /// The room.
    pub room_id: RoomId,
    /// The place after which changes are wanted.
    pub since: Seq,
    /// Where the catch-up began; default `since`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Seq>,
    /// Items wanted, 1–100, default 50.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional_integer"
    )]
    pub limit: Option<i64>,
}

/// Streams a room's messages, oldest first, without deleted ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct StreamHistory {
    /// The room.
    pub room_id: RoomId,
    /// The place after which messages are wanted; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Seq>,
}

/// Renews the connection's authority in place.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Authenticate {
    /// A fresh access token of the same user.
    pub access_token: String,
}

impl std::fmt::Debug for Authenticate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticate").finish_non_exhaustive()
    }
}

/// The result of `Authenticate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Authenticated {
    /// Seconds that the token still lives.
    pub expires_in: i64,
}

/// Asks for the server's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ping {}

/// The result of `Ping`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Pong {
    /// The server's time.
    pub server_time: Timestamp,
}

/// Where a room stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Head {
    /// The room.
    pub id: RoomId,
    /// The place of its last change.
    pub seq: Seq,
}

/// The first event of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Connected {
    /// Whose connection it is.
    pub user_id: UserId,
    /// Its public id.
    pub connection_id: String,
    /// The server's time.
    pub server_time: Timestamp,
    /// All of the user's rooms, and where they stand.
    pub rooms: Vec<Head>,
}

/// The user joined or created a room; to all of the user's connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoomJoined {
    /// The room; its `seq` is the join's place.
    pub room: Room,
}

/// Where those rooms stand that moved since the connection was last told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Heads {
    /// The rooms.
    pub rooms: Vec<Head>,
}

/// The server is about to end the connection on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Closing {
    /// Why.
    pub reason: ClosingReason,
}

/// Why the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum ClosingReason {
    /// The server stops; come back, to another one perhaps.
    Draining,
    /// The connection didn't take what was sent; come back and resume.
    Slow,
    /// The access token ran out; come back with a fresh one.
    TokenExpired,
    /// The session ended: log in again.
    SessionEnded,
}

impl ClosingReason {
    /// Whether the Close record that follows says `allowReconnect`.
    #[must_use]
    pub const fn can_reconnect(self) -> bool {
        !matches!(self, Self::SessionEnded)
    }
}
