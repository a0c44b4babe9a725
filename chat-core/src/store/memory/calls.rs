//! The two traits: each method a read or a write of the database.

use async_trait::async_trait;

use super::accounts::{OwnedRotation, OwnedSession};
use super::{Call, Memory};
use crate::model::{
    Event, Invite, InviteId, Member, Message, MessageId, Room, RoomId, Seq, Session, SessionId,
    Timestamp, User, UserId,
};
use crate::protocol::rest::{Changes, Page};
use crate::store::{
    Accounts, Change, CommitContext, Committed, Credentials, EndedSession, Job, Joined, Membership,
    NewAccount, NewSession, NodeId, Position, Reader, Refusal, Rotated, Rotation, Store,
    StoreError, SweepContext, TokenHash, UserRefusal,
};

#[async_trait]
impl Store for Memory {
    async fn commit(
        &self,
        ctx: &CommitContext,
        changes: &[Change],
    ) -> Result<Vec<Result<Committed, Refusal>>, StoreError> {
        if !self.takes(changes) {
            return Err(StoreError::Failed("a planted fault".into()));
        }
        let (ctx, changes) = (ctx.clone(), changes.to_vec());
        self.write(Call::Commit, move |db| db.commit(&ctx, &changes))
            .await
    }

    async fn memberships(&self, user: UserId) -> Result<Vec<Membership>, StoreError> {
        self.read(|db| db.memberships(user)).await
    }

    async fn joined(&self, users: &[UserId]) -> Result<Vec<Joined>, StoreError> {
        self.read(|db| db.joined(users)).await
    }

    async fn rooms(
        &self,
        user: UserId,
        after: Option<RoomId>,
        limit: i64,
    ) -> Result<Page<Room>, StoreError> {
        self.read(|db| db.rooms_page(user, after, limit)).await
    }

    async fn room(&self, caller: UserId, room: RoomId) -> Result<Option<Room>, StoreError> {
        self.read(|db| db.room_view(room, Some(caller))).await
    }

    async fn members(
        &self,
        caller: UserId,
        room: RoomId,
        after: Option<UserId>,
        limit: i64,
    ) -> Result<Option<Page<Member>>, StoreError> {
        self.read(|db| db.members_page(caller, room, after, limit))
            .await
    }

    async fn invites(
        &self,
        caller: UserId,
        room: RoomId,
        at: Timestamp,
        after: Option<InviteId>,
        limit: i64,
    ) -> Result<Result<Page<Invite>, Refusal>, StoreError> {
        self.read(|db| db.invites_page(caller, room, at, after, limit))
            .await
    }

    async fn invite_room(&self, token_hash: &TokenHash) -> Result<Option<RoomId>, StoreError> {
        self.read(|db| db.invite_room(token_hash)).await
    }

    async fn messages(
        &self,
        caller: UserId,
        room: RoomId,
        position: Position,
        limit: i64,
    ) -> Result<Option<Page<Message>>, StoreError> {
        self.read(|db| db.messages_page(caller, room, position, limit))
            .await
    }

    async fn message(
        &self,
        caller: UserId,
        room: RoomId,
        message: MessageId,
    ) -> Result<Option<Message>, StoreError> {
        self.read(|db| db.message(caller, room, message)).await
    }

    async fn changes(
        &self,
        reader: Reader,
        room: RoomId,
        since: Seq,
        from: Seq,
        limit: i64,
    ) -> Result<Option<Changes>, StoreError> {
        self.read(|db| db.changes(reader, room, since, from, limit))
            .await
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Membership>, StoreError> {
        self.read(|db| db.heads(rooms)).await
    }

    async fn user(&self, caller: UserId, user: UserId) -> Result<Option<User>, StoreError> {
        self.read(|db| db.user(caller, user)).await
    }

    async fn identify(
        &self,
        issuer: &str,
        subject: &str,
        name: &str,
        at: Timestamp,
    ) -> Result<Option<UserId>, StoreError> {
        let (issuer, subject, name) = (issuer.to_owned(), subject.to_owned(), name.to_owned());
        self.write(Call::Write, move |db| {
            db.identify(&issuer, &subject, &name, at)
        })
        .await
    }

    async fn rename_user(
        &self,
        user: UserId,
        username: &str,
    ) -> Result<Result<User, UserRefusal>, StoreError> {
        let username = username.to_owned();
        self.write(Call::Write, move |db| db.rename_user(user, &username))
            .await
    }

    async fn delete_user(
        &self,
        user: UserId,
        erase_messages: bool,
        at: Timestamp,
    ) -> Result<Option<Vec<EndedSession>>, StoreError> {
        self.write(Call::Write, move |db| {
            db.delete_user(user, erase_messages, at)
        })
        .await
    }

    async fn jobs(&self, limit: i64) -> Result<Vec<Job>, StoreError> {
        self.read(|db| db.jobs(limit)).await
    }

    async fn end_session(&self, session: &EndedSession) -> Result<(), StoreError> {
        let session = session.clone();
        self.write(Call::Write, move |db| db.end_session(&session))
            .await
    }

    async fn ended_sessions(&self, since: Timestamp) -> Result<Vec<EndedSession>, StoreError> {
        self.read(|db| db.ended_since(since)).await
    }

    async fn secret(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (name, fresh) = (name.to_owned(), fresh.to_vec());
        self.write(Call::Write, move |db| db.secret(&name, &fresh))
            .await
    }

    async fn outbox(&self, node: NodeId, limit: i64) -> Result<Vec<Event>, StoreError> {
        self.read(|db| db.outbox(node, limit)).await
    }

    async fn outbox_delete(&self, published: &[(RoomId, Seq)]) -> Result<(), StoreError> {
        let published = published.to_vec();
        self.write(Call::Write, move |db| db.outbox_delete(&published))
            .await
    }

    async fn lease(&self, node: NodeId, until: Timestamp) -> Result<(), StoreError> {
        self.write(Call::Write, move |db| {
            db.leases.insert(node, until);
        })
        .await
    }

    async fn take_over(&self, node: NodeId, at: Timestamp) -> Result<u64, StoreError> {
        self.write(Call::Write, move |db| db.take_over(node, at))
            .await
    }

    async fn sweep(&self, ctx: &SweepContext) -> Result<bool, StoreError> {
        let ctx = *ctx;
        self.write(Call::Write, move |db| db.sweep(&ctx)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.read(|_| ()).await
    }
}

#[async_trait]
impl Accounts for Memory {
    async fn create_account(
        &self,
        account: &NewAccount<'_>,
    ) -> Result<Result<User, UserRefusal>, StoreError> {
        let email = account.email.to_owned();
        let username = account.username.to_owned();
        let password_hash = account.password_hash.to_owned();
        let at = account.at;
        self.write(Call::Write, move |db| {
            db.create_account(&email, &username, &password_hash, at)
        })
        .await
    }

    async fn credentials_by_email(&self, email: &str) -> Result<Option<Credentials>, StoreError> {
        self.read(|db| db.credentials_by_email(email)).await
    }

    async fn credentials(&self, user: UserId) -> Result<Option<Credentials>, StoreError> {
        self.read(|db| db.credentials(user)).await
    }

    async fn set_password(
        &self,
        user: UserId,
        old_hash: &str,
        new_hash: &str,
        keep: Option<SessionId>,
        at: Timestamp,
    ) -> Result<Option<Vec<EndedSession>>, StoreError> {
        let (old, new) = (old_hash.to_owned(), new_hash.to_owned());
        self.write(Call::Write, move |db| {
            db.set_password(user, &old, &new, keep, at)
        })
        .await
    }

    async fn rehash_password(
        &self,
        user: UserId,
        old_hash: &str,
        new_hash: &str,
    ) -> Result<(), StoreError> {
        let (old, new) = (old_hash.to_owned(), new_hash.to_owned());
        self.write(Call::Write, move |db| {
            db.swap_password(user, &old, &new);
        })
        .await
    }

    async fn create_session(
        &self,
        session: &NewSession<'_>,
    ) -> Result<Option<(SessionId, Vec<EndedSession>)>, StoreError> {
        let session = OwnedSession {
            user_id: session.user_id,
            device: session.device.to_owned(),
            refresh_hash: session.refresh_hash,
            at: session.at,
            expires_at: session.expires_at,
            address_hash: session.address_hash,
            max_sessions: session.max_sessions,
        };
        self.write(Call::Write, move |db| db.create_session(&session))
            .await
    }

    async fn rotate(&self, rotation: &Rotation<'_>) -> Result<Rotated, StoreError> {
        let rotation = OwnedRotation {
            presented: rotation.presented,
            successor: rotation.successor,
            sealed_successor: rotation.sealed_successor.to_vec(),
            at: rotation.at,
            expires_at: rotation.expires_at,
            grace_from: rotation.grace_from,
        };
        self.write(Call::Write, move |db| db.rotate(&rotation))
            .await
    }

    async fn sessions(
        &self,
        user: UserId,
        at: Timestamp,
        after: Option<SessionId>,
        limit: i64,
    ) -> Result<Page<Session>, StoreError> {
        self.read(|db| db.sessions_page(user, at, after, limit))
            .await
    }

    async fn end_user_session(
        &self,
        user: UserId,
        session: SessionId,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(Call::Write, move |db| {
            db.end_user_session(user, session, at)
        })
        .await
    }

    async fn knows_address(
        &self,
        user: UserId,
        address_hash: &TokenHash,
        since: Timestamp,
    ) -> Result<bool, StoreError> {
        self.read(|db| db.knows_address(user, address_hash, since))
            .await
    }
}
