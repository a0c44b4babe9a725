//! One visible change of a room.

use serde::{Deserialize, Serialize};

use super::{Member, Message, Role, Room, RoomId, Seq, UserId};

/// Why a member is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum LeaveReason {
    /// They left.
    Left,
    /// An admin removed them.
    Removed,
    /// Their account was deleted.
    AccountDeleted,
}

/// One visible change of a room: it takes the room's next `seq` and is pushed once to all members.
///
/// In `changes` and on the bus the tag stands inline: `{"type":"messageCreated","id":…}`. On the hub the tag is the
/// event's name ([`EventKind::target`]) and the rest its one argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Event {
    /// A message was sent. Its place is `changedSeq`.
    MessageCreated(Message),
    /// A message has other content. Its place is `changedSeq`.
    MessageEdited(Message),
    /// A message is gone. Its place is `changedSeq`.
    MessageDeleted(Message),
    /// All that this sender wrote here before `seq` is gone.
    MessagesDeleted {
        /// The room.
        room_id: RoomId,
        /// The change's place.
        seq: Seq,
        /// Whose messages.
        sender_id: UserId,
    },
    /// Someone came in.
    MemberJoined {
        /// The room.
        room_id: RoomId,
        /// The change's place.
        seq: Seq,
        /// Who.
        member: Member,
    },
    /// A member has another role or username.
    MemberChanged {
        /// The room.
        room_id: RoomId,
        /// The change's place.
        seq: Seq,
        /// The member as it is now.
        member: Member,
    },
    /// All members now have this role.
    MembersChanged {
        /// The room.
        room_id: RoomId,
        /// The change's place.
        seq: Seq,
        /// The role of everyone.
        role: Role,
    },
    /// Someone is out.
    MemberLeft {
        /// The room.
        room_id: RoomId,
        /// The change's place.
        seq: Seq,
        /// Who.
        user_id: UserId,
        /// Why.
        reason: LeaveReason,
    },
    /// The room has another name.
    RoomChanged {
        /// The room.
        room_id: RoomId,
        /// The change's place.
        seq: Seq,
        /// The room as it is now, without a role.
        room: Room,
    },
    /// The room is gone, and everyone out of it.
    RoomDeleted {
        /// The room.
        room_id: RoomId,
        /// The change's place, the room's last.
        seq: Seq,
    },
}

/// The tag of an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum EventKind {
    /// [`Event::MessageCreated`]
    MessageCreated,
    /// [`Event::MessageEdited`]
    MessageEdited,
    /// [`Event::MessageDeleted`]
    MessageDeleted,
    /// [`Event::MessagesDeleted`]
    MessagesDeleted,
    /// [`Event::MemberJoined`]
    MemberJoined,
    /// [`Event::MemberChanged`]
    MemberChanged,
    /// [`Event::MembersChanged`]
    MembersChanged,
    /// [`Event::MemberLeft`]
    MemberLeft,
    /// [`Event::RoomChanged`]
    RoomChanged,
    /// [`Event::RoomDeleted`]
    RoomDeleted,
}

impl EventKind {
    /// The name of the hub event.
    #[must_use]
    pub const fn target(self) -> &'static str {
        match self {
            Self::MessageCreated => "MessageCreated",
            Self::MessageEdited => "MessageEdited",
            Self::MessageDeleted => "MessageDeleted",
            Self::MessagesDeleted => "MessagesDeleted",
            Self::MemberJoined => "MemberJoined",
            Self::MemberChanged => "MemberChanged",
            Self::MembersChanged => "MembersChanged",
            Self::MemberLeft => "MemberLeft",
            Self::RoomChanged => "RoomChanged",
            Self::RoomDeleted => "RoomDeleted",
        }
    }
}

impl Event {
    /// The room that changed.
    #[must_use]
    pub const fn room_id(&self) -> RoomId {
        match self {
            Self::MessageCreated(m) | Self::MessageEdited(m) | Self::MessageDeleted(m) => m.room_id,
            Self::MessagesDeleted { room_id, .. }
            | Self::MemberJoined { room_id, .. }
            | Self::MemberChanged { room_id, .. }
            | Self::MembersChanged { room_id, .. }
            | Self::MemberLeft { room_id, .. }
            | Self::RoomChanged { room_id, .. }
            | Self::RoomDeleted { room_id, .. } => *room_id,
        }
    }

    /// The change's place in its room: a message's `changedSeq`, else `seq`.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        match self {
            Self::MessageCreated(m) | Self::MessageEdited(m) | Self::MessageDeleted(m) => {
                m.changed_seq
            }
            Self::MessagesDeleted { seq, .. }
            | Self::MemberJoined { seq, .. }
            | Self::MemberChanged { seq, .. }
            | Self::MembersChanged { seq, .. }
            | Self::MemberLeft { seq, .. }
            | Self::RoomChanged { seq, .. }
            | Self::RoomDeleted { seq, .. } => *seq,
        }
    }

    /// The event's tag.
    #[must_use]
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::MessageCreated(_) => EventKind::MessageCreated,
            Self::MessageEdited(_) => EventKind::MessageEdited,
            Self::MessageDeleted(_) => EventKind::MessageDeleted,
            Self::MessagesDeleted { .. } => EventKind::MessagesDeleted,
            Self::MemberJoined { .. } => EventKind::MemberJoined,
            Self::MemberChanged { .. } => EventKind::MemberChanged,
            Self::MembersChanged { .. } => EventKind::MembersChanged,
            Self::MemberLeft { .. } => EventKind::MemberLeft,
            Self::RoomChanged { .. } => EventKind::RoomChanged,
            Self::RoomDeleted { .. } => EventKind::RoomDeleted,
        }
    }
}
