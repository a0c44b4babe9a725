//! What a database must do: the two storage traits, and what each of their methods promises.
//!
//! [`Store`] holds rooms, members, invites, messages, users and the outbox; every role needs it. [`Accounts`] holds logins
//! and sessions; only a server that signs people in itself needs it, and an embedder with users of its own doesn't.
//!
//! A method is one atomic act of the domain, never row access that callers combine: [`Store::commit`] checks membership,
//! finds duplicates, takes the `seq`s and writes the outbox in one transaction. Rules are conditions, and a change that
//! breaks one is a [`Refusal`] of that change alone. Text rules (lengths, characters) are checked above, in `service`.
//!
//! Every backend passes one suite, `contract` (feature `testing`), and so can an embedder's own.

#[cfg(feature = "testing")]
pub mod contract;
#[cfg(feature = "testing")]
pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod rows;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod webhooks;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::model::limits::{INVITE_EXPIRES_SECONDS, Limits};
use crate::model::{
    Event, Invite, InviteId, Member, Message, MessageId, Role, Room, RoomId, Seq, Session,
    SessionId, Timestamp, User, UserId,
};
use crate::protocol::rest::{Changes, Page};

pub use self::webhooks::{
    Attempt, AttemptOutcome, Backlog, Claim, ClaimId, Claimed, NewWebhook, OFFER_HOLD,
    WebhookOwner, WebhookSweep, Webhooks,
};

/// Why the database couldn't do what it was asked, or can't say whether it did.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It can't be reached, is full, or is locked: nothing was changed. Worth trying again.
    #[error("the database is not available")]
    Unavailable(#[source] BoxError),
    /// The transaction's COMMIT got no answer: it may have been kept or not. Reading tells.
    #[error("the database did not say whether it committed")]
    Uncertain(#[source] BoxError),
    /// It answered something that this version does not understand, or broke a rule of its own schema.
    #[error("the database failed")]
    Failed(#[source] BoxError),
    /// Its schema is older than this version needs. Worth trying again: someone is to migrate it.
    #[error(
        "the database's schema has version {found}, and this program needs {needed}: run `chat-server migrate`"
    )]
    OldSchema {
        /// The version it has; 0 where there is nothing yet.
        found: i64,
        /// The version that is needed.
        needed: i64,
    },
}

/// The error of a backend, behind [`StoreError`].
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl StoreError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_) | Self::Uncertain(_) | Self::OldSchema { .. }
        )
    }
}

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

/// The SHA-256 of a secret: how tokens are kept.
pub type TokenHash = [u8; 32];

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
    /// its messages, its invites and the room itself go in [`Store::sweep`]. Who was in it stays known to [`Store::user`].
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
    /// or deleted: [`Refusal::NotFound`]. `room_id` is what [`Store::invite_room`] said of the token; with another room's it
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
    /// A step of a user's renaming ([`Job`]): → [`Event::MemberChanged`] if the user is in the room; [`Outcome::Done`]. The
    /// job is done with it. It is never refused, and without such a job it does nothing, so that two nodes may run one.
    RefreshMember {
        /// The room.
        room_id: RoomId,
        /// The member whose username changed.
        user_id: UserId,
    },
    /// A step of an account's deletion ([`Job`]): like [`Change::RemoveMember`] by oneself with reason `accountDeleted`; for
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

/// Who reads `changes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// A user, who must be in the room.
    Member(UserId),
    /// A node that fills a hole: it may read any room, and of a deleted one reads [`Event::RoomDeleted`] alone.
    Node,
}

/// Which page of a room's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The newest.
    Newest,
    /// The one that ends just before this message's place.
    Before(MessageId),
    /// The one that begins just after this message's place.
    After(MessageId),
    /// The one that begins just after this place; 0: from the start.
    AfterSeq(Seq),
}

/// A user's membership as a connection enters with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The room.
    pub room_id: RoomId,
    /// Where it stands.
    pub head: Seq,
}

/// Where a user joined a room that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Joined {
    /// Who.
    pub user_id: UserId,
    /// The room.
    pub room_id: RoomId,
    /// The place of the user's last `MemberJoined`.
    pub seq: Seq,
}

/// A session of a host or of the server that was ended, under the text that its tokens carry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndedSession {
    /// The session: a decimal [`SessionId`], or what the host's authenticator calls it.
    pub session: String,
    /// When it ended.
    pub at: Timestamp,
}

/// A durable step of renaming or deleting a user, one a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// The room.
    pub room_id: RoomId,
    /// The user.
    pub user_id: UserId,
    /// What to do there.
    pub kind: JobKind,
}

/// What a [`Job`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// [`Change::RefreshMember`]
    Renamed,
    /// [`Change::RemoveAccount`]
    Deleted {
        /// Whether the user's messages go too.
        erase_messages: bool,
    },
}

impl Job {
    /// The change that does it.
    #[must_use]
    pub const fn change(&self) -> Change {
        let Self {
            room_id,
            user_id,
            kind,
        } = *self;
        match kind {
            JobKind::Renamed => Change::RefreshMember { room_id, user_id },
            JobKind::Deleted { erase_messages } => Change::RemoveAccount {
                room_id,
                user_id,
                delete_messages: erase_messages,
            },
        }
    }
}

/// Why a user wasn't made or renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserRefusal {
    /// Another account has the address.
    EmailTaken,
    /// Another account has the username.
    UsernameTaken,
    /// There is no such user, or it is deleted.
    NotFound,
}

/// How long after its expiry an invite stays known ([`Refusal::InviteGone`]); then [`Store::sweep`] removes it, and it is
/// unknown. As long as the longest one lives.
pub const INVITE_KEPT: Duration = Duration::from_secs(INVITE_EXPIRES_SECONDS.end().unsigned_abs());

/// How one step of [`Store::sweep`] goes.
#[derive(Clone, Copy, Debug)]
pub struct SweepContext {
    /// The time now: expired sessions, and ended ones that no token can name any more, go.
    pub at: Timestamp,
    /// Messages sent before this are removed for good; their rooms' `changes` from before are incomplete. `None`: keep.
    pub retain_from: Option<Timestamp>,
    /// Ended sessions older than this are forgotten: no access token can be so old.
    pub forget_ended_before: Timestamp,
    /// Rows to touch at most, so that commits get their turn.
    pub max_rows: i64,
}

/// Rooms, members, invites, messages, users and the outbox.
///
/// All methods may be called at once from many tasks. Dropping a call's future before it is done leaves the database in
/// the state before or after the call, nothing between.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Commits a batch in one durable transaction: when it returns, what it answers survives a crash.
    ///
    /// Changes take effect in order, each as if alone after those before it; changes of one room take consecutive `seq`s
    /// in that order. The answers stand in the order of `changes`. Where `ctx.outbox` is set, each event is written to
    /// the outbox in the same transaction.
    ///
    /// # Errors
    /// Nothing was changed, or with [`StoreError::Uncertain`] perhaps all.
    async fn commit(
        &self,
        ctx: &CommitContext,
        changes: &[Change],
    ) -> Result<Vec<Result<Committed, Refusal>>, StoreError>;

    /// The rooms that a user is in, with their heads, in one snapshot; ordered by room id.
    async fn memberships(&self, user: UserId) -> Result<Vec<Membership>, StoreError>;

    /// Where each of these users joined the rooms that it is in, in any order: a node compares it with what it was told.
    async fn joined(&self, users: &[UserId]) -> Result<Vec<Joined>, StoreError>;

    /// A page of a user's rooms with its role in each, ordered by room id, after `after`.
    async fn rooms(
        &self,
        user: UserId,
        after: Option<RoomId>,
        limit: i64,
    ) -> Result<Page<Room>, StoreError>;

    /// A room with the caller's role; `None` if the caller isn't in it.
    async fn room(&self, caller: UserId, room: RoomId) -> Result<Option<Room>, StoreError>;

    /// A page of a room's members, ordered by user id; `None` if the caller isn't in it.
    async fn members(
        &self,
        caller: UserId,
        room: RoomId,
        after: Option<UserId>,
        limit: i64,
    ) -> Result<Option<Page<Member>>, StoreError>;

    /// A page of the invites that still admit someone at `at`, ordered by id, without tokens.
    ///
    /// The inner error is [`Refusal::NotFound`] or [`Refusal::Forbidden`].
    async fn invites(
        &self,
        caller: UserId,
        room: RoomId,
        at: Timestamp,
        after: Option<InviteId>,
        limit: i64,
    ) -> Result<Result<Page<Invite>, Refusal>, StoreError>;

    /// The room that a token is for, whatever the invite's state; `None` if it is unknown or the room is deleted.
    async fn invite_room(&self, token_hash: &TokenHash) -> Result<Option<RoomId>, StoreError>;

    /// A page of a room's messages, oldest first, without deleted ones; `None` if the caller isn't in the room or the
    /// position's message isn't one of it (a deleted one still is, one that retention removed isn't). `has_more` tells
    /// exactly whether there is another message beyond the page, in the direction of paging ([`Position::Newest`] pages
    /// backwards).
    async fn messages(
        &self,
        caller: UserId,
        room: RoomId,
        position: Position,
        limit: i64,
    ) -> Result<Option<Page<Message>>, StoreError>;

    /// One message; `None` if the caller isn't in the room, or the message isn't there or is deleted.
    async fn message(
        &self,
        caller: UserId,
        room: RoomId,
        message: MessageId,
    ) -> Result<Option<Message>, StoreError>;

    /// The current state of all that changed after `since`, ordered by the place of its last change; rows, head and
    /// membership are read in one snapshot. `None` if the reader may not read the room, or it never was.
    ///
    /// A message created after `from` is `messageCreated` (`messageDeleted` if gone), else `messageEdited` or
    /// `messageDeleted`. A member appears once: joined after `from` → `memberJoined`, else `memberChanged`, gone →
    /// `memberLeft`. The room appears once, as `roomChanged` at its last renaming. `messagesDeleted` and
    /// `membersChanged` stand at their own places; a message that fell to a bulk deletion is `messageDeleted` at its own
    /// last place, or left out. Of several bulk deletions of one sender, and of several changes of everyone's role, those
    /// before the last may be left out too, since it says all that they did. Rooms and members in items are as they are
    /// now: `room.seq` is the head. `complete` is false if retention removed something that changed after `from`, or if
    /// `since` is beyond the head (no items then, and `seq` is the head). `from` is at most `since`. With more to come `seq`
    /// is the place of the last item, and there is another.
    async fn changes(
        &self,
        reader: Reader,
        room: RoomId,
        since: Seq,
        from: Seq,
        limit: i64,
    ) -> Result<Option<Changes>, StoreError>;

    /// The heads of those rooms that exist (a deleted one stands at its `RoomDeleted` until it is purged).
    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Membership>, StoreError>;

    /// The public profile of someone who is or was in a room with the caller (or of the caller, then with `email`): for a
    /// member of the room, anyone who ever was in it; for a former member, anyone who came before it left. A deleted room
    /// counts as left by everyone, and is not forgotten when it is purged. A deleted user has
    /// [`DELETED_USERNAME`](crate::model::DELETED_USERNAME).
    async fn user(&self, caller: UserId, user: UserId) -> Result<Option<User>, StoreError>;

    /// The user of a host's `(issuer, subject)`, made at first sight with that name; an existing one keeps its name.
    /// `None` if that user was deleted. Names of such users follow no rule and need not be unique. Of many first sights at
    /// once one makes the user, and all answer it.
    async fn identify(
        &self,
        issuer: &str,
        subject: &str,
        name: &str,
        at: Timestamp,
    ) -> Result<Option<UserId>, StoreError>;

    /// Renames a user, and makes a [`Job`] for each of its rooms, one however often it is renamed before that is done. For a
    /// registered account the name is unique case-insensitively. The same name: no job. Answers the user with `email`.
    async fn rename_user(
        &self,
        user: UserId,
        username: &str,
    ) -> Result<Result<User, UserRefusal>, StoreError>;

    /// Deletes an account: its name, address, password and sessions go in one transaction with making a [`Job`] for each
    /// room it is in (with `erase_messages`: each it ever was in and that isn't deleted); renamings that wait are dropped. Its
    /// id stays, as a tombstone; its address and name are free again. Answers the sessions that ended, which are noted for
    /// [`Store::ended_sessions`], or `None` if there is no such user or it is deleted already.
    async fn delete_user(
        &self,
        user: UserId,
        erase_messages: bool,
        at: Timestamp,
    ) -> Result<Option<Vec<EndedSession>>, StoreError>;

    /// Up to `limit` jobs that wait to be done, oldest first.
    async fn jobs(&self, limit: i64) -> Result<Vec<Job>, StoreError>;

    /// Notes a session as ended, so that all nodes see it. Noted again it is still one, of the later time.
    async fn end_session(&self, session: &EndedSession) -> Result<(), StoreError>;

    /// The sessions that ended at or after `since`.
    async fn ended_sessions(&self, since: Timestamp) -> Result<Vec<EndedSession>, StoreError>;

    /// The secret of that name, which all nodes share: the one that is there, or `fresh`, now kept.
    async fn secret(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>, StoreError>;

    /// Outbox rows of `node`, at most `limit`, each room's in `seq` order.
    async fn outbox(&self, node: NodeId, limit: i64) -> Result<Vec<Event>, StoreError>;

    /// Deletes outbox rows, which the bus has acknowledged.
    async fn outbox_delete(&self, published: &[(RoomId, Seq)]) -> Result<(), StoreError>;

    /// Renews the lease of `node` until `until`.
    async fn lease(&self, node: NodeId, until: Timestamp) -> Result<(), StoreError>;

    /// Gives `node` the outbox rows of other nodes whose lease ran out before `at`, and of those that have none; answers how
    /// many.
    async fn take_over(&self, node: NodeId, at: Timestamp) -> Result<u64, StoreError>;

    /// One bounded step of cleaning: scrubs the content of bulk-deleted messages, purges deleted rooms, removes what is past
    /// retention, expired and ended sessions, and invites that expired [`INVITE_KEPT`] ago. Answers whether there is more to
    /// do; repeated until there isn't, it comes to an end.
    async fn sweep(&self, ctx: &SweepContext) -> Result<bool, StoreError>;

    /// Answers when the database does.
    async fn ping(&self) -> Result<(), StoreError>;

    /// How many batches it can well commit at once; [`Store::commit`] orders those that concern one room.
    fn lanes(&self) -> usize {
        1
    }
}

/// A registration.
#[derive(Clone, Copy)]
pub struct NewAccount<'a> {
    /// As written by its owner; unique under [`fold`](crate::model::limits::fold).
    pub email: &'a str,
    /// As written by its owner; unique under [`fold`](crate::model::limits::fold).
    pub username: &'a str,
    /// A PHC string.
    pub password_hash: &'a str,
    /// When.
    pub at: Timestamp,
}

impl fmt::Debug for NewAccount<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewAccount")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// What a login is checked against.
#[derive(Clone)]
pub struct Credentials {
    /// Whose, with `email`.
    pub user: User,
    /// A PHC string.
    pub password_hash: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user.id)
            .finish_non_exhaustive()
    }
}

/// A login that succeeded.
#[derive(Clone, Debug)]
pub struct NewSession<'a> {
    /// Whose.
    pub user_id: UserId,
    /// What to call it.
    pub device: &'a str,
    /// The hash of its refresh token.
    pub refresh_hash: TokenHash,
    /// When.
    pub at: Timestamp,
    /// When the refresh token runs out.
    pub expires_at: Timestamp,
    /// The hash of the address it came from, for [`Accounts::knows_address`].
    pub address_hash: Option<TokenHash>,
    /// Sessions to keep: of more, those longest unused end.
    pub max_sessions: i64,
}

/// A use of a refresh token.
#[derive(Clone, Debug)]
pub struct Rotation<'a> {
    /// The hash of the token that was presented.
    pub presented: TokenHash,
    /// The hash of its successor, if it is the current one.
    pub successor: TokenHash,
    /// The successor itself, sealed under a key that only the presented token gives.
    pub sealed_successor: &'a [u8],
    /// When.
    pub at: Timestamp,
    /// When the successor runs out.
    pub expires_at: Timestamp,
    /// A token that was replaced at or after this moment still answers with the same successor.
    pub grace_from: Timestamp,
}

/// What a use of a refresh token did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// It was the current token, and the successor of the [`Rotation`] is now.
    Fresh {
        /// The session.
        session: SessionId,
        /// Its user, with `email`.
        user: User,
    },
    /// It was the one before, replaced not long ago: here is its successor again, as it was sealed then.
    Again {
        /// The session.
        session: SessionId,
        /// Its user, with `email`.
        user: User,
        /// What the first use stored.
        sealed_successor: Vec<u8>,
        /// When that successor runs out.
        expires_at: Timestamp,
    },
    /// It was an older one, or the one before too late: somebody else has it. The session is ended by this call.
    Reused {
        /// The session that ended.
        session: SessionId,
    },
    /// It is no refresh token of a session that lives.
    Unknown,
}

/// Logins and sessions: what role `auth` needs beside [`Store`], in the same database.
#[async_trait]
pub trait Accounts: Send + Sync + fmt::Debug {
    /// Makes an account. Of two at once with one address or name, one is refused; if both are taken, for the address.
    async fn create_account(
        &self,
        account: &NewAccount<'_>,
    ) -> Result<Result<User, UserRefusal>, StoreError>;

    /// The account of an e-mail address, compared under [`fold`](crate::model::limits::fold).
    async fn credentials_by_email(&self, email: &str) -> Result<Option<Credentials>, StoreError>;

    /// The account of an id; `None` if there is none, it is deleted, or it is a host's user.
    async fn credentials(&self, user: UserId) -> Result<Option<Credentials>, StoreError>;

    /// Replaces the password's hash, if it still is `old_hash`, and ends every session but `keep`; answers those, which are
    /// noted for [`Store::ended_sessions`], or `None` if the hash was another or there is no such account.
    async fn set_password(
        &self,
        user: UserId,
        old_hash: &str,
        new_hash: &str,
        keep: Option<SessionId>,
        at: Timestamp,
    ) -> Result<Option<Vec<EndedSession>>, StoreError>;

    /// Replaces a password's hash by a stronger one of the same password, if it still is `old_hash`; no session ends.
    async fn rehash_password(
        &self,
        user: UserId,
        old_hash: &str,
        new_hash: &str,
    ) -> Result<(), StoreError>;

    /// Makes a session, and ends the longest unused of too many; answers it with those that ended, which are noted for
    /// [`Store::ended_sessions`]. Expired ones don't count. `None` if the user is unknown or deleted.
    async fn create_session(
        &self,
        session: &NewSession<'_>,
    ) -> Result<Option<(SessionId, Vec<EndedSession>)>, StoreError>;

    /// Uses a refresh token, in one compare-and-set: of many uses of the current one at once, one is
    /// [`Rotated::Fresh`] and the others [`Rotated::Again`]. A session that ended, or is at or past its expiry, is
    /// [`Rotated::Unknown`] whichever token was presented. Hashes of older tokens are kept, as many as tell a reuse for the
    /// session's life. A session that ends by reuse is noted for [`Store::ended_sessions`].
    async fn rotate(&self, rotation: &Rotation<'_>) -> Result<Rotated, StoreError>;

    /// A page of a user's sessions that live at `at`, ordered by id; `current` is false in all.
    async fn sessions(
        &self,
        user: UserId,
        at: Timestamp,
        after: Option<SessionId>,
        limit: i64,
    ) -> Result<Page<Session>, StoreError>;

    /// Ends a session of a user and notes it for [`Store::ended_sessions`]; false if there is none such.
    async fn end_user_session(
        &self,
        user: UserId,
        session: SessionId,
        at: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Whether the account logged in from this address at or after `since`, also if that session has ended.
    async fn knows_address(
        &self,
        user: UserId,
        address_hash: &TokenHash,
        since: Timestamp,
    ) -> Result<bool, StoreError>;
}
