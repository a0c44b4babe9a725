//! A storage backend of one's own: the audited store writes a line for every event that it has committed, and leaves the
//! keeping to another store. It passes the contract suite as every backend does (`examples/tests/own_store.rs`).

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chat_core::model::{
    Event, Invite, InviteId, Member, Message, MessageId, Room, RoomId, Seq, Timestamp, User, UserId,
};
use chat_core::protocol::rest::{Changes, Page};
use chat_core::service::Chat;
use chat_core::store::{
    Change, CommitContext, Committed, EndedSession, Job, Joined, Membership, NodeId, Position,
    Reader, Refusal, Store, StoreError, SweepContext, TokenHash, UserRefusal,
};

/// Takes the lines of the audit.
pub(crate) trait Audit: Send + Sync + fmt::Debug {
    /// One event that is committed.
    fn line(&self, at: Timestamp, event: &Event);
}

/// Keeps nothing itself: what `inner` has committed is told to `audit`.
#[derive(Clone, Debug)]
pub(crate) struct Audited {
    inner: Arc<dyn Store>,
    audit: Arc<dyn Audit>,
}

impl Audited {
    /// An audit over `inner`.
    pub(crate) fn new(inner: impl Store + 'static, audit: impl Audit + 'static) -> Self {
        Self {
            inner: Arc::new(inner),
            audit: Arc::new(audit),
        }
    }
}

#[async_trait]
impl Store for Audited {
    async fn commit(
        &self,
        ctx: &CommitContext,
        changes: &[Change],
    ) -> Result<Vec<Result<Committed, Refusal>>, StoreError> {
        let results = self.inner.commit(ctx, changes).await?;
        // Only what is durable is told.
        for event in results
            .iter()
            .flatten()
            .flat_map(|committed| &committed.events)
        {
            self.audit.line(ctx.at, event);
        }
        Ok(results)
    }

    async fn memberships(&self, user: UserId) -> Result<Vec<Membership>, StoreError> {
        self.inner.memberships(user).await
    }

    async fn rooms(
        &self,
        user: UserId,
        after: Option<RoomId>,
        limit: i64,
    ) -> Result<Page<Room>, StoreError> {
        self.inner.rooms(user, after, limit).await
    }

    async fn room(&self, caller: UserId, room: RoomId) -> Result<Option<Room>, StoreError> {
        self.inner.room(caller, room).await
    }

    async fn members(
        &self,
        caller: UserId,
        room: RoomId,
        after: Option<UserId>,
        limit: i64,
    ) -> Result<Option<Page<Member>>, StoreError> {
        self.inner.members(caller, room, after, limit).await
    }

    async fn invites(
        &self,
        caller: UserId,
        room: RoomId,
        at: Timestamp,
        after: Option<InviteId>,
        limit: i64,
    ) -> Result<Result<Page<Invite>, Refusal>, StoreError> {
        self.inner.invites(caller, room, at, after, limit).await
    }

    async fn invite_room(&self, token_hash: &TokenHash) -> Result<Option<RoomId>, StoreError> {
        self.inner.invite_room(token_hash).await
    }

    async fn messages(
        &self,
        caller: UserId,
        room: RoomId,
        position: Position,
        limit: i64,
    ) -> Result<Option<Page<Message>>, StoreError> {
        self.inner.messages(caller, room, position, limit).await
    }

    async fn message(
        &self,
        caller: UserId,
        room: RoomId,
        message: MessageId,
    ) -> Result<Option<Message>, StoreError> {
        self.inner.message(caller, room, message).await
    }

    async fn changes(
        &self,
        reader: Reader,
        room: RoomId,
        since: Seq,
        from: Seq,
        limit: i64,
    ) -> Result<Option<Changes>, StoreError> {
        self.inner.changes(reader, room, since, from, limit).await
    }

    async fn joined(&self, users: &[UserId]) -> Result<Vec<Joined>, StoreError> {
        self.inner.joined(users).await
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Membership>, StoreError> {
        self.inner.heads(rooms).await
    }

    async fn user(&self, caller: UserId, user: UserId) -> Result<Option<User>, StoreError> {
        self.inner.user(caller, user).await
    }

    async fn identify(
        &self,
        issuer: &str,
        subject: &str,
        name: &str,
        at: Timestamp,
    ) -> Result<Option<UserId>, StoreError> {
        self.inner.identify(issuer, subject, name, at).await
    }

    async fn rename_user(
        &self,
        user: UserId,
        username: &str,
    ) -> Result<Result<User, UserRefusal>, StoreError> {
        self.inner.rename_user(user, username).await
    }

    async fn delete_user(
        &self,
        user: UserId,
        erase_messages: bool,
        at: Timestamp,
    ) -> Result<Option<Vec<EndedSession>>, StoreError> {
        self.inner.delete_user(user, erase_messages, at).await
    }

    async fn jobs(&self, limit: i64) -> Result<Vec<Job>, StoreError> {
        self.inner.jobs(limit).await
    }

    async fn end_session(&self, session: &EndedSession) -> Result<(), StoreError> {
        self.inner.end_session(session).await
    }

    async fn ended_sessions(&self, since: Timestamp) -> Result<Vec<EndedSession>, StoreError> {
        self.inner.ended_sessions(since).await
    }

    async fn secret(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.inner.secret(name, fresh).await
    }

    async fn outbox(&self, node: NodeId, limit: i64) -> Result<Vec<Event>, StoreError> {
        self.inner.outbox(node, limit).await
    }

    async fn outbox_delete(&self, published: &[(RoomId, Seq)]) -> Result<(), StoreError> {
        self.inner.outbox_delete(published).await
    }

    async fn lease(&self, node: NodeId, until: Timestamp) -> Result<(), StoreError> {
        self.inner.lease(node, until).await
    }

    async fn take_over(&self, node: NodeId, at: Timestamp) -> Result<u64, StoreError> {
        self.inner.take_over(node, at).await
    }

    async fn sweep(&self, ctx: &SweepContext) -> Result<bool, StoreError> {
        self.inner.sweep(ctx).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }
}

/// An audit on the terminal.
#[derive(Debug)]
struct Terminal;

#[allow(clippy::print_stderr)] // what an example shows
impl Audit for Terminal {
    fn line(&self, at: Timestamp, event: &Event) {
        eprintln!(
            "{at} room {} seq {} {:?}",
            event.room_id(),
            event.seq(),
            event.kind()
        );
    }
}

#[allow(dead_code)] // a test of this example brings its own
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    use chat_core::auth::Caller;
    use chat_core::store::sqlite::Sqlite;

    let store = Audited::new(Sqlite::open("audited.db").await?, Terminal);
    let chat = Chat::builder()
        .store(store)
        .authenticator(Nobody)
        .start()
        .await?;
    let user_id = chat.identify("example".into(), "ann".into(), "ann").await?;
    let ann = Caller {
        user_id,
        session: None,
        expires_at: None,
    };
    let room = chat.create_room(&ann, "tea").await?;
    chat.send(user_id, room.id, "is kept, and audited").await?;
    Ok(())
}

/// This example takes no requests.
#[derive(Debug)]
struct Nobody;

#[async_trait]
impl chat_core::auth::Authenticator for Nobody {
    async fn authenticate(
        &self,
        _: &http::request::Parts,
    ) -> Result<chat_core::auth::Identity, chat_core::auth::AuthError> {
        Err(chat_core::auth::AuthError::Unauthenticated)
    }
}
