//! The embedded database: SQLite in one file, through sqlx.
//!
//! One connection writes, in WAL mode with `synchronous=FULL`, so that a commit is on disk before it is answered; a few read,
//! each read one statement and so one snapshot. The schema with its reasons is in `migrations/sqlite`.

mod accounts;
mod changes;
mod commit;
mod database;
mod deliveries;
mod edits;
mod fault;
mod invites;
mod members;
mod messages;
mod open;
mod outbox;
mod rooms;
mod rows;
mod secrets;
mod sends;
mod sessions;
mod sweep;
#[cfg(test)]
mod tests;
mod users;
mod webhooks;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

pub use self::open::OpenError;
use super::{
    Accounts, Attempt, Backlog, Change, Claim, ClaimId, Claimed, CommitContext, Committed,
    Credentials, EndedSession, Job, Joined, Membership, NewAccount, NewSession, NewWebhook, NodeId,
    Position, Reader, Refusal, Rotated, Rotation, Store, StoreError, SweepContext, TokenHash,
    UserRefusal, WebhookOwner, WebhookSweep, Webhooks,
};
use crate::model::{
    Delivery, DeliveryId, Event, Invite, InviteId, Member, Message, MessageId, Room, RoomId, Seq,
    Session, SessionId, Timestamp, User, UserId, Webhook, WebhookId, WebhookSecret,
};
use crate::protocol::rest::{Changes, Page};

/// A chat database in one file. Clones share it.
#[derive(Clone, Debug)]
pub struct Sqlite(Arc<database::Database>);

impl Sqlite {
    /// Has the next so many COMMITs be done, and their answers lost.
    #[cfg(test)]
    pub(crate) fn lose_answers(&self, commits: usize) {
        let unanswered = &self.0.unanswered;
        unanswered.store(commits, std::sync::atomic::Ordering::Relaxed);
    }

    /// Opens the database of a path, and makes it where there is none, for its owner alone (mode 0600; SQLite's `-wal` and
    /// `-shm` files beside it take the same mode). An older schema is brought to this version's.
    ///
    /// # Errors
    /// The directory is missing or may not be used, or the file isn't a chat database that this version knows. Such a file
    /// is left as it is.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let database = open::open(path.as_ref()).await?;
        Ok(Self(Arc::new(database)))
    }

    /// Closes the database, once calls under way are done; later ones, of any clone, are
    /// [`Unavailable`](StoreError::Unavailable). The last process to close it folds the `-wal` file into the database. A
    /// value that is just dropped leaves that to the background; nothing is lost either way.
    ///
    /// # Errors
    /// A connection could not be closed in order.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.0.close().await
    }

    /// SQLite's `synchronous` of the connection that writes, 2 for `FULL`: for diagnosis, and for the test that an
    /// acknowledged message is on disk.
    ///
    /// # Errors
    /// The database didn't answer.
    pub async fn synchronous(&self) -> Result<i64, StoreError> {
        let mut transaction = self.0.begin().await?;
        let read = sqlx::query_as("PRAGMA synchronous")
            .fetch_one(transaction.connection())
            .await;
        let (level,): (i64,) = transaction.finish(read.map_err(Into::into)).await?;
        Ok(level)
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn commit(
        &self,
        ctx: &CommitContext,
        changes: &[Change],
    ) -> Result<Vec<Result<Committed, Refusal>>, StoreError> {
        commit::commit(&self.0, ctx, changes).await
    }

    async fn memberships(&self, user: UserId) -> Result<Vec<Membership>, StoreError> {
        rooms::memberships(&self.0, user).await
    }

    async fn joined(&self, users: &[UserId]) -> Result<Vec<Joined>, StoreError> {
        rooms::joined(&self.0, users).await
    }

    async fn rooms(
        &self,
        user: UserId,
        after: Option<RoomId>,
        limit: i64,
    ) -> Result<Page<Room>, StoreError> {
        rooms::read_page(&self.0, user, after, limit).await
    }

    async fn room(&self, caller: UserId, room: RoomId) -> Result<Option<Room>, StoreError> {
        rooms::read(&self.0, caller, room).await
    }

    async fn members(
        &self,
        caller: UserId,
        room: RoomId,
        after: Option<UserId>,
        limit: i64,
    ) -> Result<Option<Page<Member>>, StoreError> {
        members::read_page(&self.0, caller, room, after, limit).await
    }

    async fn invites(
        &self,
        caller: UserId,
        room: RoomId,
        at: Timestamp,
        after: Option<InviteId>,
        limit: i64,
    ) -> Result<Result<Page<Invite>, Refusal>, StoreError> {
        invites::read_page(&self.0, caller, room, at, after, limit).await
    }

    async fn invite_room(&self, token_hash: &TokenHash) -> Result<Option<RoomId>, StoreError> {
        invites::room(&self.0, token_hash).await
    }

    async fn messages(
        &self,
        caller: UserId,
        room: RoomId,
        position: Position,
        limit: i64,
    ) -> Result<Option<Page<Message>>, StoreError> {
        messages::read_page(&self.0, caller, room, position, limit).await
    }

    async fn message(
        &self,
        caller: UserId,
        room: RoomId,
        message: MessageId,
    ) -> Result<Option<Message>, StoreError> {
        messages::read(&self.0, caller, room, message).await
    }

    async fn changes(
        &self,
        reader: Reader,
        room: RoomId,
        since: Seq,
        from: Seq,
        limit: i64,
    ) -> Result<Option<Changes>, StoreError> {
        changes::read(&self.0, reader, room, since, from, limit).await
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Membership>, StoreError> {
        rooms::heads(&self.0, rooms).await
    }

    async fn user(&self, caller: UserId, user: UserId) -> Result<Option<User>, StoreError> {
        users::read(&self.0, caller, user).await
    }

    async fn identify(
        &self,
        issuer: &str,
        subject: &str,
        name: &str,
        at: Timestamp,
    ) -> Result<Option<UserId>, StoreError> {
        users::identify(&self.0, issuer, subject, name, at).await
    }

    async fn rename_user(
        &self,
        user: UserId,
        username: &str,
    ) -> Result<Result<User, UserRefusal>, StoreError> {
        users::rename(&self.0, user, username).await
    }

    async fn delete_user(
        &self,
        user: UserId,
        erase_messages: bool,
        at: Timestamp,
    ) -> Result<Option<Vec<EndedSession>>, StoreError> {
        users::delete(&self.0, user, erase_messages, at).await
    }

    async fn jobs(&self, limit: i64) -> Result<Vec<Job>, StoreError> {
        users::jobs(&self.0, limit).await
    }

    async fn end_session(&self, session: &EndedSession) -> Result<(), StoreError> {
        sessions::note_ended(&self.0, session).await
    }

    async fn ended_sessions(&self, since: Timestamp) -> Result<Vec<EndedSession>, StoreError> {
        sessions::ended(&self.0, since).await
    }

    async fn secret(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>, StoreError> {
        secrets::secret(&self.0, name, fresh).await
    }

    async fn outbox(&self, node: NodeId, limit: i64) -> Result<Vec<Event>, StoreError> {
        outbox::read(&self.0, node, limit).await
    }

    async fn outbox_delete(&self, published: &[(RoomId, Seq)]) -> Result<(), StoreError> {
        outbox::delete(&self.0, published).await
    }

    async fn lease(&self, node: NodeId, until: Timestamp) -> Result<(), StoreError> {
        outbox::lease(&self.0, node, until).await
    }

    async fn take_over(&self, node: NodeId, at: Timestamp) -> Result<u64, StoreError> {
        outbox::take_over(&self.0, node, at).await
    }

    async fn sweep(&self, ctx: &SweepContext) -> Result<bool, StoreError> {
        sweep::step(&self.0, ctx).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let _: Option<(i64,)> = self.0.row(sqlx::query("SELECT 1")).await?;
        Ok(())
    }
}

#[async_trait]
impl Accounts for Sqlite {
    async fn create_account(
        &self,
        account: &NewAccount<'_>,
    ) -> Result<Result<User, UserRefusal>, StoreError> {
        accounts::create(&self.0, account).await
    }

    async fn credentials_by_email(&self, email: &str) -> Result<Option<Credentials>, StoreError> {
        accounts::credentials_by_email(&self.0, email).await
    }

    async fn credentials(&self, user: UserId) -> Result<Option<Credentials>, StoreError> {
        accounts::credentials(&self.0, user).await
    }

    async fn set_password(
        &self,
        user: UserId,
        old_hash: &str,
        new_hash: &str,
        keep: Option<SessionId>,
        at: Timestamp,
    ) -> Result<Option<Vec<EndedSession>>, StoreError> {
        accounts::set_password(&self.0, user, old_hash, new_hash, keep, at).await
    }

    async fn rehash_password(
        &self,
        user: UserId,
        old_hash: &str,
        new_hash: &str,
    ) -> Result<(), StoreError> {
        accounts::rehash_password(&self.0, user, old_hash, new_hash).await
    }

    async fn create_session(
        &self,
        session: &NewSession<'_>,
    ) -> Result<Option<(SessionId, Vec<EndedSession>)>, StoreError> {
        sessions::create(&self.0, session).await
    }

    async fn rotate(&self, rotation: &Rotation<'_>) -> Result<Rotated, StoreError> {
        sessions::rotate(&self.0, rotation).await
    }

    async fn sessions(
        &self,
        user: UserId,
        at: Timestamp,
        after: Option<SessionId>,
        limit: i64,
    ) -> Result<Page<Session>, StoreError> {
        sessions::read_page(&self.0, user, at, after, limit).await
    }

    async fn end_user_session(
        &self,
        user: UserId,
        session: SessionId,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        sessions::end_one(&self.0, user, session, at).await
    }

    async fn knows_address(
        &self,
        user: UserId,
        address_hash: &TokenHash,
        since: Timestamp,
    ) -> Result<bool, StoreError> {
        accounts::knows_address(&self.0, user, address_hash, since).await
    }
}

#[async_trait]
impl Webhooks for Sqlite {
    async fn create_webhook(
        &self,
        webhook: &NewWebhook<'_>,
    ) -> Result<Result<Webhook, Refusal>, StoreError> {
        webhooks::create(&self.0, webhook).await
    }

    async fn webhooks(
        &self,
        owner: WebhookOwner,
        after: Option<WebhookId>,
        limit: i64,
    ) -> Result<Result<Page<Webhook>, Refusal>, StoreError> {
        webhooks::read_page(&self.0, owner, after, limit).await
    }

    async fn delete_webhook(
        &self,
        owner: WebhookOwner,
        webhook: WebhookId,
    ) -> Result<Result<(), Refusal>, StoreError> {
        webhooks::delete(&self.0, owner, webhook).await
    }

    async fn set_webhook_secret(
        &self,
        owner: WebhookOwner,
        webhook: WebhookId,
        secret: &WebhookSecret,
        old_until: Timestamp,
    ) -> Result<Result<Webhook, Refusal>, StoreError> {
        webhooks::set_secret(&self.0, owner, webhook, secret, old_until).await
    }

    async fn deliveries(
        &self,
        owner: WebhookOwner,
        webhook: WebhookId,
        before: Option<DeliveryId>,
        limit: i64,
    ) -> Result<Result<Page<Delivery>, Refusal>, StoreError> {
        webhooks::deliveries(&self.0, owner, webhook, before, limit).await
    }

    async fn retry_delivery(
        &self,
        owner: WebhookOwner,
        webhook: WebhookId,
        delivery: DeliveryId,
        at: Timestamp,
    ) -> Result<Result<(), Refusal>, StoreError> {
        webhooks::retry(&self.0, owner, webhook, delivery, at).await
    }

    async fn replay_webhook(
        &self,
        owner: WebhookOwner,
        webhook: WebhookId,
        at: Timestamp,
    ) -> Result<Result<u64, Refusal>, StoreError> {
        webhooks::replay(&self.0, owner, webhook, at).await
    }

    async fn has_webhooks(&self) -> Result<bool, StoreError> {
        webhooks::any(&self.0).await
    }

    async fn offer(&self, events: &[Event], at: Timestamp) -> Result<u64, StoreError> {
        deliveries::offer(&self.0, events, at).await
    }

    async fn claim(&self, claim: &Claim<'_>) -> Result<Vec<Claimed>, StoreError> {
        deliveries::claim(&self.0, claim).await
    }

    async fn finish(
        &self,
        claim: ClaimId,
        attempts: &[Attempt],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        deliveries::finish(&self.0, claim, attempts, at).await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        deliveries::backlog(&self.0).await
    }

    async fn sweep_webhooks(&self, ctx: &WebhookSweep) -> Result<bool, StoreError> {
        deliveries::sweep(&self.0, ctx).await
    }
}
