//! One visible change of a room.

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};

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
/// event's name and the rest its one argument: see `EventKind::target`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Event {
    /// A message was sent. Its place is `changedSeq`.
    MessageCreated(Message),
    /// A message has other content. Its place is `changedSeq`.
    MessageEdited(Message),
    /// A message is gone. Its place is `changedSeq`.
    MessageDeleted(Message),
    /// All that this sender wrote here before `seq` is gone.
    #[serde(rename_all = "camelCase")]
    MessagesDeleted {
        /// The room.
        room_id: RoomId,
        /// The change's place.
        seq: Seq,
        /// Whose messages.
        sender_id: UserId,
    },
    /// Someone came in.
    #[serde(rename_all = "camelCase")]
    MemberJoined {
        /// The room.
        room_id: RoomId,
        /// The change's place.
        seq: Seq,
        /// Who.
        member: Member,
    },
    /// A member has another role or username.
    #[serde(rename_all = "camelCase")]
    MemberChanged {
        /// The room.
        room_id: RoomId,
        /// The change's place.
        seq: Seq,
        /// The member as it is now.
        member: Member,
    },
    /// All members now have this role.
    #[serde(rename_all = "camelCase")]
    MembersChanged {
        /// The room.
        room_id: RoomId,
        /// The change's place.
        seq: Seq,
        /// The role of everyone.
        role: Role,
    },
    /// Someone is out.
    #[serde(rename_all = "camelCase")]
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
    #[serde(rename_all = "camelCase")]
    RoomChanged {
        /// The room.
        room_id: RoomId,
        /// The change's place.
        seq: Seq,
        /// The room as it is now, without a role.
        room: Room,
    },
    /// The room is gone, and everyone out of it.
    #[serde(rename_all = "camelCase")]
    RoomDeleted {
        /// The room.
        room_id: RoomId,
        /// The change's place, the room's last.
        seq: Seq,
    },
}

/// The tag of an event.
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
    /// Every tag.
    pub const ALL: [Self; 10] = [
        Self::MessageCreated,
        Self::MessageEdited,
        Self::MessageDeleted,
        Self::MessagesDeleted,
        Self::MemberJoined,
        Self::MemberChanged,
        Self::MembersChanged,
        Self::MemberLeft,
        Self::RoomChanged,
        Self::RoomDeleted,
    ];

    /// The tag as it is written: `messageCreated`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MessageCreated => "messageCreated",
            Self::MessageEdited => "messageEdited",
            Self::MessageDeleted => "messageDeleted",
            Self::MessagesDeleted => "messagesDeleted",
            Self::MemberJoined => "memberJoined",
            Self::MemberChanged => "memberChanged",
            Self::MembersChanged => "membersChanged",
            Self::MemberLeft => "memberLeft",
            Self::RoomChanged => "roomChanged",
            Self::RoomDeleted => "roomDeleted",
        }
    }

    /// The tag that is written so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

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

/// An event as the hub writes it: its members without the tag, which is the hub event's name. Made by
/// [`Event::argument`].
#[derive(Clone, Copy, Debug)]
pub struct Argument<'a>(&'a Event);

impl Event {
    /// The one argument of this event's hub event.
    #[must_use]
    pub const fn argument(&self) -> Argument<'_> {
        Argument(self)
    }
}

impl Serialize for Argument<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        /// Writes the members that all but message events begin with, then those named.
        macro_rules! members {
            ($room_id:ident, $seq:ident $(, $name:literal: $value:ident)*) => {{
                let mut out = s.serialize_struct("Event", 2 $(+ { let _ = $name; 1 })*)?;
                out.serialize_field("roomId", $room_id)?;
                out.serialize_field("seq", $seq)?;
                $(out.serialize_field($name, $value)?;)*
                out.end()
            }};
        }
        match self.0 {
            Event::MessageCreated(m) | Event::MessageEdited(m) | Event::MessageDeleted(m) => {
                m.serialize(s)
            }
            Event::MessagesDeleted {
                room_id,
                seq,
                sender_id,
            } => members!(room_id, seq, "senderId": sender_id),
            Event::MemberJoined {
                room_id,
                seq,
                member,
            }
            | Event::MemberChanged {
                room_id,
                seq,
                member,
            } => {
                members!(room_id, seq, "member": member)
            }
            Event::MembersChanged { room_id, seq, role } => members!(room_id, seq, "role": role),
            Event::MemberLeft {
                room_id,
                seq,
                user_id,
                reason,
            } => {
                members!(room_id, seq, "userId": user_id, "reason": reason)
            }
            Event::RoomChanged { room_id, seq, room } => members!(room_id, seq, "room": room),
            Event::RoomDeleted { room_id, seq } => members!(room_id, seq),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Member, Message, MessageId, Timestamp};

    fn one_of_each() -> Vec<Event> {
        let (room_id, seq, user_id) = (RoomId(7), Seq(3), UserId(9));
        let at = Timestamp::from_millis(1_769_860_800_007);
        let message = Message {
            id: MessageId(1),
            room_id,
            seq,
            changed_seq: seq,
            sender_id: user_id,
            content: "hi".into(),
            sent_at: at,
            edited_at: None,
            deleted_at: None,
            client_message_id: Some("c1".into()),
        };
        let member = Member {
            user_id,
            username: "ann".into(),
            role: Role::Member,
            joined_at: at,
        };
        let room = Room {
            id: room_id,
            name: "tea".into(),
            created_at: at,
            member_count: 2,
            seq,
            role: None,
        };
        vec![
            Event::MessageCreated(message.clone()),
            Event::MessageEdited(message.clone()),
            Event::MessageDeleted(message),
            Event::MessagesDeleted {
                room_id,
                seq,
                sender_id: user_id,
            },
            Event::MemberJoined {
                room_id,
                seq,
                member: member.clone(),
            },
            Event::MemberChanged {
                room_id,
                seq,
                member,
            },
            Event::MembersChanged {
                room_id,
                seq,
                role: Role::Admin,
            },
            Event::MemberLeft {
                room_id,
                seq,
                user_id,
                reason: LeaveReason::AccountDeleted,
            },
            Event::RoomChanged { room_id, seq, room },
            Event::RoomDeleted { room_id, seq },
        ]
    }

    #[test]
    fn the_argument_is_the_event_without_its_tag() {
        for event in one_of_each() {
            let mut tagged = serde_json::to_value(&event).expect("written");
            assert_eq!(
                tagged["type"],
                serde_json::to_value(event.kind()).expect("written")
            );
            tagged.as_object_mut().expect("an object").remove("type");
            assert_eq!(
                serde_json::to_value(event.argument()).expect("written"),
                tagged
            );
        }
    }

    #[test]
    fn an_event_reads_back_as_written() {
        for event in one_of_each() {
            let text = serde_json::to_string(&event).expect("written");
            assert_eq!(serde_json::from_str::<Event>(&text).expect("read"), event);
        }
    }
}
