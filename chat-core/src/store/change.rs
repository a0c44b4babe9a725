//! What is written in batches: the acts that change a room, and what each of them did.

use super::TokenHash;
use crate::model::limits::Limits;
use crate::model::{
    Event, Invite, InviteId, Member, Message, MessageId, Role, Room, RoomId, Timestamp, UserId,
};

/// Why a change was refused. Nothing of it was written; the other changes of its batch are not concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The caller isn't in the room, or what the change names isn't there. The caller can't tell which.
    NotFound,
    /// The caller is in the room, and its role doesn't allow it.
    Forbidden,
    /// A `clientMessageId` was first sent with another content.
    ClientMessageIdReused,
    /// The last admin can't step down while others are in the room.
    LastAdmin,
    /// The invite is used up, expired, revoked, or older than an admin's removal of the caller.
    InviteGone,
    /// The user is in as many rooms as allowed.
    RoomsPerUser,
    /// The room has as many members as allowed.
    MembersPerRoom,
    /// The room has as many open invites as allowed.
    InvitesPerRoom,
    /// The room has as many webhooks as allowed.
    WebhooksPerRoom,
    /// The webhook is disabled: nothing is delivered to it any more.
    WebhookDisabled,
}

/// What every batch is committed with.
#[derive(Clone, Debug)]
pub struct CommitContext {
    /// The time of the batch: what its messages, joins and edits show.
    pub at: Timestamp,
    /// The counts to hold.
    pub limits: Limits,
    /// The node to write outbox rows for, one an event; `None`: no outbox (nothing outside the process wants events).
    pub outbox: Option<NodeId>,
}

/// One node of a cluster, for as long as it runs: unique, random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub i64);

/// One act that changes a room. Who asks is always checked in the transaction that writes.
///
/// What is checked first: that the caller is in the room ([`Refusal::NotFound`]), then that its role allows the act at all
/// ([`Refusal::Forbidden`]), then that what the change names is there ([`Refusal::NotFound`]), then the rules of the act.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// → [`Event::MessageCreated`], [`Outcome::Event`]. A `client_message_id` that this sender used in this room before,
    /// in this batch too: no event, [`Outcome::Message`] with the message as it is now (a tombstone if deleted), or
    /// [`Refusal::ClientMessageIdReused`] if its *first* content was another (a hash of the first content is kept). Leaving
    /// and coming back changes nothing in that; what retention removed is forgotten, its `client_message_id` too.
    SendMessage {
        /// The room.
        room_id: RoomId,
        /// Who; must be a member.
        sender_id: UserId,
        /// The text.
        content: String,
        /// The sender's own id for it.
        client_message_id: Option<String>,
    },
    /// → [`Event::MessageEdited`], [`Outcome::Event`]. By its author, else [`Refusal::Forbidden`]; a deleted message, or one
    /// of another room, is [`Refusal::NotFound`] to everyone. The same content: no event, [`Outcome::Message`].
    EditMessage {
        /// The room.
        room_id: RoomId,
        /// The message.
        message_id: MessageId,
        /// Who asks.
        by: UserId,
        /// The new text.
        content: String,
    },
    /// → [`Event::MessageDeleted`], [`Outcome::Event`]. By its author or an admin, else [`Refusal::Forbidden`]; a deleted
    /// message is [`Refusal::NotFound`]. The content is gone from the database with the commit; what was erased may keep
    /// the hash of its first content.
    DeleteMessage {
        /// The room.
        room_id: RoomId,
        /// The message.
        message_id: MessageId,
        /// Who asks.
        by: UserId,
    },
    /// → [`Event::MemberJoined`] of the creator, an admin, at `seq` 1; [`Outcome::Room`] with role admin. A user who is
    /// unknown or deleted: [`Refusal::NotFound`]; one in too many rooms: [`Refusal::RoomsPerUser`].
    CreateRoom {
        /// Who.
        by: UserId,
        /// The name, trimmed.
        name: String,
    },
    /// → [`Event::RoomChanged`] (its room stands at the change's place), [`Outcome::Room`] (role admin). By an admin. The
    /// same name: no event.
    RenameRoom {
        /// The room.
        room_id: RoomId,
        /// Who asks.
        by: UserId,
        /// The name, trimmed.
        name: String,
    },
    /// → [`Event::RoomDeleted`], [`Outcome::Done`]. By an admin. From then on nobody is in it and nothing in it is found;
    /// its messages, its invites and the room itself go in [`Store::sweep`](super::Store::sweep). Who was in it stays known to
    /// [`Store::user`](super::Store::user).
    DeleteRoom {
        /// The room.
        room_id: RoomId,
        /// Who asks.
        by: UserId,
    },
    /// → [`Event::MemberChanged`], [`Outcome::Member`]. By an admin; nobody demotes another admin
    /// ([`Refusal::Forbidden`]); an admin may step down unless the last ([`Refusal::LastAdmin`], also when alone). The
    /// same role: no event. A user who isn't in the room: [`Refusal::NotFound`].
    SetRole {
        /// The room.
        room_id: RoomId,
        /// Who asks.
        by: UserId,
        /// Whose role.
        user_id: UserId,
        /// The role.
        role: Role,
    },
    /// → ([`Event::MessagesDeleted`] if asked for and the user has messages that aren't deleted), [`Event::MemberLeft`],
    /// then [`Event::MembersChanged`] to admin if no admin remains, or [`Event::RoomDeleted`] if nobody does;
    /// [`Outcome::Done`]. Anyone leaves (`by == user_id`); an admin removes a member but not another admin
    /// ([`Refusal::Forbidden`]), and from then on no invite that exists admits that user again, even if another one did
    /// since. A user who isn't in the room: [`Refusal::NotFound`].
    RemoveMember {
        /// The room.
        room_id: RoomId,
        /// Who asks.
        by: UserId,
        /// Who goes.
        user_id: UserId,
        /// Whether all that the user wrote in the room is deleted as well.
        delete_messages: bool,
    },
    /// No event; [`Outcome::Invite`] without its token. By an admin; [`Refusal::InvitesPerRoom`] counts those that still
    /// admit someone at [`CommitContext::at`].
    CreateInvite {
        /// The room.
        room_id: RoomId,
        /// Who asks.
        by: UserId,
        /// The hash of the token.
        token_hash: TokenHash,
        /// When it stops admitting.
        expires_at: Timestamp,
        /// How many it admits.
        max_uses: Option<i64>,
    },
    /// No event; [`Outcome::Done`]. By an admin. One that is unknown, another room's, or revoked already:
    /// [`Refusal::NotFound`]; one that expired or was used up is still revoked.
    RevokeInvite {
        /// The room.
        room_id: RoomId,
        /// Who asks.
        by: UserId,
        /// The invite.
        invite_id: InviteId,
    },
    /// → [`Event::MemberJoined`] as a member, [`Outcome::Room`]. For someone in the room already no event, no use, and
    /// [`Outcome::Room`], whatever the invite's state. An unknown token, one of a deleted room, and a user who is unknown
    /// or deleted: [`Refusal::NotFound`]. `room_id` is what [`Store::invite_room`](super::Store::invite_room) said of the token; with another room's it
    /// is unknown. Else, in this order: [`Refusal::InviteGone`] (it stops admitting at its `expires_at` exactly),
    /// [`Refusal::RoomsPerUser`], [`Refusal::MembersPerRoom`]; a refused one costs no use.
    AcceptInvite {
        /// The room.
        room_id: RoomId,
        /// Who.
        user_id: UserId,
        /// The hash of the token.
        token_hash: TokenHash,
    },
    /// A step of a user's renaming ([`Job`](super::Job)): → [`Event::MemberChanged`] if the user is in the room; [`Outcome::Done`]. The
    /// job is done with it. It is never refused, and without such a job it does nothing, so that two nodes may run one.
    RefreshMember {
        /// The room.
        room_id: RoomId,
        /// The member whose username changed.
        user_id: UserId,
    },
    /// A step of an account's deletion ([`Job`](super::Job)): like [`Change::RemoveMember`] by oneself with reason `accountDeleted`; for
    /// a former member only [`Event::MessagesDeleted`], if asked for. [`Outcome::Done`]. The job is done with it. It is never
    /// refused, and without such a job it does nothing, so that two nodes may run one.
    RemoveAccount {
        /// The room.
        room_id: RoomId,
        /// The account.
        user_id: UserId,
        /// Whether all that the user wrote in the room is deleted as well.
        delete_messages: bool,
    },
}

impl Change {
    /// The room it changes; `None` for one that is to be made.
    #[must_use]
    pub const fn room_id(&self) -> Option<RoomId> {
        match self {
            Self::CreateRoom { .. } => None,
            Self::SendMessage { room_id, .. }
            | Self::EditMessage { room_id, .. }
            | Self::DeleteMessage { room_id, .. }
            | Self::RenameRoom { room_id, .. }
            | Self::DeleteRoom { room_id, .. }
            | Self::SetRole { room_id, .. }
            | Self::RemoveMember { room_id, .. }
            | Self::CreateInvite { room_id, .. }
            | Self::RevokeInvite { room_id, .. }
            | Self::AcceptInvite { room_id, .. }
            | Self::RefreshMember { room_id, .. }
            | Self::RemoveAccount { room_id, .. } => Some(*room_id),
        }
    }
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its events, in `seq` order; none if it changed nothing that is visible.
    pub events: Vec<Event>,
    /// What its caller is told.
    pub outcome: Outcome,
}

/// What the caller of a change is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The message of the change's one event.
    Event,
    /// The message as it is, which the change left alone.
    Message(Message),
    /// The room, with the caller's role. Its `seq` is where the change left it.
    Room(Room),
    /// The member.
    Member(Member),
    /// The invite, without its token.
    Invite(Invite),
    /// Nothing but that it is done.
    Done,
}
