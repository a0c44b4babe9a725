//! The tables: plain ordered maps, cloned whole where a crash must be survived.

use std::collections::{BTreeMap, BTreeSet};

use super::webhooks::{DeliveryRow, WebhookRow};
use crate::model::{
    DeliveryId, Event, LeaveReason, Member, Message, MessageId, Role, Room, RoomId, Seq, SessionId,
    Timestamp, User, UserId, WebhookId,
};
use crate::store::webhooks::place::Place;
use crate::store::{Job, NodeId, TokenHash};

/// Everything that the store knows.
#[derive(Clone, Default)]
pub(super) struct Database {
    /// The last id given out. All kinds share one counter, so that an id of one kind is never valid as another by luck.
    last_id: i64,
    pub(super) users: BTreeMap<UserId, UserRow>,
    /// Folded addresses of accounts.
    pub(super) emails: BTreeMap<String, UserId>,
    /// Folded usernames of accounts.
    pub(super) usernames: BTreeMap<String, UserId>,
    /// Users of hosts by `(issuer, subject)`; deleted ones stay.
    pub(super) subjects: BTreeMap<(String, String), UserId>,
    pub(super) rooms: BTreeMap<RoomId, RoomRow>,
    /// Everyone who is or was in a room; kept when the room is purged.
    pub(super) members: BTreeMap<(RoomId, UserId), MemberRow>,
    /// The other way round: each room that a user is or was in.
    pub(super) rooms_of: BTreeSet<(UserId, RoomId)>,
    /// The room and the id of each invite, by its token's hash.
    pub(super) invites: BTreeMap<TokenHash, InviteRow>,
    /// By age.
    pub(super) jobs: BTreeMap<i64, Job>,
    pub(super) ended_sessions: BTreeMap<String, Timestamp>,
    pub(super) secrets: BTreeMap<String, Vec<u8>>,
    pub(super) outbox: BTreeMap<(RoomId, Seq), (NodeId, Event)>,
    pub(super) leases: BTreeMap<NodeId, Timestamp>,
    pub(super) sessions: BTreeMap<SessionId, SessionRow>,
    /// Every refresh token that a session has had, so that a reuse is seen.
    pub(super) refresh_tokens: BTreeMap<TokenHash, SessionId>,
    /// When an account last logged in from an address.
    pub(super) addresses: BTreeMap<(UserId, TokenHash), Timestamp>,
    pub(super) webhooks: BTreeMap<WebhookId, WebhookRow>,
    pub(super) places: BTreeMap<RoomId, Place>,
    pub(super) deliveries: BTreeMap<DeliveryId, DeliveryRow>,
}

#[derive(Clone)]
pub(super) struct UserRow {
    pub(super) username: String,
    pub(super) created_at: Timestamp,
    pub(super) deleted: bool,
    /// What an account has and a host's user doesn't.
    pub(super) login: Option<Login>,
}

#[derive(Clone)]
pub(super) struct Login {
    pub(super) email: String,
    pub(super) password_hash: String,
}

#[derive(Clone)]
pub(super) struct RoomRow {
    pub(super) name: String,
    pub(super) created_at: Timestamp,
    pub(super) head: Seq,
    pub(super) member_count: i64,
    pub(super) deleted: bool,
    /// The highest place at which something that retention removed had changed.
    pub(super) pruned: Seq,
    /// By place.
    pub(super) messages: BTreeMap<Seq, MessageRow>,
    pub(super) message_places: BTreeMap<MessageId, Seq>,
    /// The places of what was sent under a `clientMessageId`.
    pub(super) sent: BTreeMap<(UserId, String), Seq>,
    /// What changed last at which place: the index that `changes` reads.
    pub(super) changed: BTreeMap<Seq, Changed>,
}

#[derive(Clone)]
pub(super) struct MessageRow {
    pub(super) message: Message,
    /// What a repeated send is compared with, whatever became of the message.
    pub(super) first_content: TokenHash,
}

/// What stands at a place of a room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Changed {
    /// The message created at that place.
    Message(Seq),
    Member(UserId),
    Name,
    /// All that someone wrote was deleted.
    MessagesDeleted(UserId),
    /// Everyone got this role.
    Roles(Role),
}

#[derive(Clone)]
pub(super) struct MemberRow {
    pub(super) role: Role,
    pub(super) joined_at: Timestamp,
    /// The place of the first join.
    pub(super) first_joined: Seq,
    /// The place of the last join.
    pub(super) joined: Seq,
    /// The place of the last change.
    pub(super) changed: Seq,
    /// Where and why it ended; `None` for someone in the room.
    pub(super) left: Option<(Seq, LeaveReason)>,
    /// The place of an admin's last removal: older invites don't admit.
    pub(super) removed: Seq,
}

#[derive(Clone)]
pub(super) struct InviteRow {
    pub(super) invite: crate::model::Invite,
    /// Where the room stood when it was made: it is older than a removal at a later place.
    pub(super) made_at_seq: Seq,
    pub(super) revoked: bool,
}

#[derive(Clone)]
pub(super) struct SessionRow {
    pub(super) user_id: UserId,
    pub(super) device: String,
    pub(super) created_at: Timestamp,
    pub(super) last_used_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) refresh_hash: TokenHash,
    /// The token before, if any.
    pub(super) replaced: Option<Replaced>,
}

#[derive(Clone)]
pub(super) struct Replaced {
    pub(super) refresh_hash: TokenHash,
    pub(super) at: Timestamp,
    /// Its successor, which only it opens.
    pub(super) sealed_successor: Vec<u8>,
}

impl Database {
    pub(super) fn next_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }

    /// A room that isn't deleted.
    pub(super) fn live_room(&self, id: RoomId) -> Option<&RoomRow> {
        self.rooms.get(&id).filter(|room| !room.deleted)
    }

    /// The membership of someone who is in a room.
    pub(super) fn present(&self, room: RoomId, user: UserId) -> Option<&MemberRow> {
        self.live_room(room)?;
        self.members
            .get(&(room, user))
            .filter(|row| row.left.is_none())
    }

    /// Everyone in a room, by id.
    pub(super) fn present_in(
        &self,
        room: RoomId,
    ) -> impl Iterator<Item = (UserId, &MemberRow)> + '_ {
        self.members
            .range((room, UserId(i64::MIN))..=(room, UserId(i64::MAX)))
            .filter(|(_, row)| row.left.is_none())
            .map(|(&(_, user), row)| (user, row))
    }

    /// The rooms that a user is in, by id.
    pub(super) fn rooms_of(&self, user: UserId) -> impl Iterator<Item = RoomId> + '_ {
        self.ever_rooms_of(user)
            .filter(move |&room| self.present(room, user).is_some())
    }

    /// The rooms that a user is or was in, by id.
    pub(super) fn ever_rooms_of(&self, user: UserId) -> impl Iterator<Item = RoomId> + '_ {
        self.rooms_of
            .range((user, RoomId(i64::MIN))..=(user, RoomId(i64::MAX)))
            .map(|&(_, room)| room)
    }

    pub(super) fn username(&self, user: UserId) -> String {
        self.users
            .get(&user)
            .map(|row| row.username.clone())
            .unwrap_or_default()
    }

    pub(super) fn member(&self, room: RoomId, user: UserId) -> Option<Member> {
        let row = self.members.get(&(room, user))?;
        Some(Member {
            user_id: user,
            username: self.username(user),
            role: row.role,
            joined_at: row.joined_at,
        })
    }

    /// A room as its caller sees it; in events nobody's.
    pub(super) fn room_view(&self, id: RoomId, caller: Option<UserId>) -> Option<Room> {
        let row = self.live_room(id)?;
        let role = match caller {
            Some(user) => Some(self.present(id, user)?.role),
            None => None,
        };
        Some(Room {
            id,
            name: row.name.clone(),
            created_at: row.created_at,
            member_count: row.member_count,
            seq: row.head,
            role,
        })
    }

    /// A user, with `email` for itself.
    pub(super) fn user_view(&self, id: UserId, owner: bool) -> Option<User> {
        let row = self.users.get(&id)?;
        Some(User {
            id,
            username: row.username.clone(),
            email: row
                .login
                .as_ref()
                .filter(|_| owner)
                .map(|login| login.email.clone()),
            created_at: row.created_at,
        })
    }
}
