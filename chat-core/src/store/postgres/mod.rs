//! The production database: PostgreSQL, through sqlx.
//!
//! What it does is in stored functions, whose text with its reasons is in `migrations/postgres`: a batch of changes is one
//! call, which is one transaction and one round trip, and so is each read, which is one snapshot. Several nodes use one
//! database, each with several lanes: a room's row is locked from before a change takes its place until it is committed.

mod accounts;
mod changes;
mod commit;
mod database;
mod deliveries;
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
mod users;
mod webhooks;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::open::OpenError;
use super::{
    Accounts, Attempt, Backlog, BoxError, Change, Claim, ClaimId, Claimed, CommitContext,
    Committed, Credentials, EndedSession, Job, Joined, Membership, NewAccount, NewSession,
    NewWebhook, NodeId, Position, Reader, Refusal, Rotated, Rotation, Store, StoreError,
    SweepContext, TokenHash, UserRefusal, WebhookOwner, WebhookSweep, Webhooks,
};
use crate::model::{
    Delivery, DeliveryId, Event, Invite, InviteId, Member, Message, MessageId, Room, RoomId, Seq,
    Session, SessionId, Timestamp, User, UserId, Webhook, WebhookId, WebhookSecret,
};
use crate::protocol::rest::{Changes, Page};

/// Batches that are committed at once, each on a connection of its own: while one waits for the disk, the next is computed.
const LANES: usize = 4;
/// Connections that write: the lanes', and a few for logins and sessions.
const WRITERS: usize = LANES + 4;
/// Connections that read.
const READERS: usize = 8;

/// A chat database on a PostgreSQL server. Clones share its connections: at most 16.
#[derive(Clone, Debug)]
pub struct Postgres(Arc<database::Database>);

impl Postgres {
    /// Connects to the database of a URL, `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…`; what the URL leaves out is
    /// taken as libpq does. A server that isn't there yet is waited for, 10 seconds at most. The schema is left as it is: see
    /// [`migrate`](Self::migrate), without which calls are [`Unavailable`](StoreError::Unavailable).
    ///
    /// # Errors
    /// The URL can't be read, or the server can't be reached or refuses the connection.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        let database = open::open(url, WRITERS, READERS).await?;
        Ok(Self(Arc::new(database)))
    }

    /// Brings the database to this version's schema. Several may do so at once, and beside servers of the version before;
    /// where it is done, or a newer version has done more, nothing happens.
    ///
    /// # Errors
    /// The server can't be reached, or a step could not be taken: those before it are kept.
    pub async fn migrate(&self) -> Result<(), OpenError> {
        open::migrate(&self.0).await
    }

    /// Whether the database has the schema that this version needs, or a newer one. [`Store::ping`] asks the same.
    ///
    /// # Errors
    /// It hasn't, or it didn't answer: [`Unavailable`](StoreError::Unavailable).
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        open::check_schema(&self.0).await
    }

    /// How its database is connected to.
    pub(crate) fn connect_options(&self) -> sqlx::postgres::PgConnectOptions {
        self.0.options().clone()
    }

    /// A connection beside the store's own.
    pub(crate) async fn connection(&self) -> Result<sqlx::postgres::PgConnection, BoxError> {
        Ok(database::connect(self.0.options()).await?)
    }

    /// Closes the connections, once writes under way are done; later calls, of any clone, are
    /// [`Unavailable`](StoreError::Unavailable).
    pub async fn close(&self) {
        self.0.close().await;
    }
}

#[async_trait]
impl Store for Postgres {
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
        open::check_schema(&self.0).await
    }

    fn lanes(&self) -> usize {
        LANES
    }
}

#[async_trait]
impl Accounts for Postgres {
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
impl Webhooks for Postgres {
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
