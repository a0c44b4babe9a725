//! What a database must do: the storage traits, and what each of their methods promises.
//!
//! [`Store`] holds rooms, members, invites, messages, users and the outbox; every role needs it. [`Accounts`] holds logins
//! and sessions; only a server that signs people in itself needs it, and an embedder with users of its own doesn't.
//!
//! A method is one atomic act of the domain, never row access that callers combine: [`Store::commit`] checks membership,
//! finds duplicates, takes the `seq`s and writes the outbox in one transaction. Rules are conditions, and a change that
//! breaks one is a [`Refusal`] of that change alone. Text rules (lengths, characters) are checked above, in `service`.
//!
//! Every backend passes one suite, `contract` (feature `testing`), and so can an embedder's own.

mod accounts;
mod change;
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

use crate::model::limits::INVITE_EXPIRES_SECONDS;
use crate::model::{
    Event, Invite, InviteId, Member, Message, MessageId, Room, RoomId, Seq, Timestamp, User, UserId,
};
use crate::protocol::rest::{Changes, Page};

pub use self::accounts::{Accounts, Credentials, NewAccount, NewSession, Rotated, Rotation};
pub use self::change::{Change, CommitContext, Committed, NodeId, Outcome, Refusal};
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

/// The SHA-256 of a secret: how tokens are kept.
pub type TokenHash = [u8; 32];

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
    /// The session: a decimal [`SessionId`](crate::model::SessionId), or what the host's authenticator calls it.
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
