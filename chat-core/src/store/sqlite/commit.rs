//! A batch of changes, in one transaction.

use sqlx::sqlite::SqliteConnection;

use super::super::{Change, CommitContext, Committed, Outcome, Refusal, StoreError};
use super::database::Database;
use super::fault::Fault;
use super::sends::Send;
use super::{edits, invites, members, outbox, rooms, sends};
use crate::model::{Event, Role, Room, RoomId, Seq, Timestamp, UserId};

/// What one change answers.
pub(super) type Answer = Result<Committed, Refusal>;

/// Unwraps a refusal of a step within a change, or answers with it.
macro_rules! or_refuse {
    ($step:expr) => {
        match $step {
            Ok(value) => value,
            Err(refusal) => return Ok(Err(refusal)),
        }
    };
}
pub(super) use or_refuse;

pub(super) async fn commit(
    database: &Database,
    ctx: &CommitContext,
    changes: &[Change],
) -> Result<Vec<Answer>, StoreError> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(sends) = changes.iter().map(Send::of).collect::<Option<Vec<_>>>() {
        return sends::commit(database, ctx, &sends).await;
    }
    let mut transaction = database.begin().await?;
    let done = apply(transaction.connection(), ctx, changes).await;
    transaction.finish(done).await
}

async fn apply(
    connection: &mut SqliteConnection,
    ctx: &CommitContext,
    changes: &[Change],
) -> Result<Vec<Answer>, Fault> {
    let mut answers = Vec::with_capacity(changes.len());
    let mut rest = changes;
    while let Some(change) = rest.first() {
        let run: Vec<_> = rest.iter().map_while(Send::of).collect();
        if run.is_empty() {
            answers.push(apply_one(connection, ctx, change).await?);
            rest = &rest[1..];
        } else {
            answers.extend(sends::apply(connection, ctx, &run).await?);
            rest = &rest[run.len()..];
        }
    }
    if let Some(node) = ctx.outbox {
        outbox::insert(connection, node, &answers).await?;
    }
    Ok(answers)
}

async fn apply_one(
    c: &mut SqliteConnection,
    ctx: &CommitContext,
    change: &Change,
) -> Result<Answer, Fault> {
    match *change {
        Change::SendMessage { .. } => {
            let sends = Vec::from_iter(Send::of(change));
            let mut answers = sends::apply(c, ctx, &sends).await?;
            Ok(answers.remove(0))
        }
        Change::EditMessage {
            room_id,
            message_id,
            by,
            ref content,
        } => edits::edit(c, ctx.at, room_id, message_id, by, content).await,
        Change::DeleteMessage {
            room_id,
            message_id,
            by,
        } => edits::delete(c, ctx.at, room_id, message_id, by).await,
        Change::CreateRoom { by, ref name } => rooms::create(c, ctx, by, name).await,
        Change::RenameRoom {
            room_id,
            by,
            ref name,
        } => rooms::rename(c, room_id, by, name).await,
        Change::DeleteRoom { room_id, by } => rooms::delete(c, room_id, by).await,
        Change::SetRole {
            room_id,
            by,
            user_id,
            role,
        } => members::set_role(c, room_id, by, user_id, role).await,
        Change::RemoveMember {
            room_id,
            by,
            user_id,
            delete_messages,
        } => members::remove(c, ctx.at, room_id, by, user_id, delete_messages).await,
        Change::CreateInvite {
            room_id,
            by,
            ref token_hash,
            expires_at,
            max_uses,
        } => invites::create(c, ctx, room_id, by, token_hash, expires_at, max_uses).await,
        Change::RevokeInvite {
            room_id,
            by,
            invite_id,
        } => invites::revoke(c, ctx.at, room_id, by, invite_id).await,
        Change::AcceptInvite {
            room_id,
            user_id,
            ref token_hash,
        } => invites::accept(c, ctx, room_id, user_id, token_hash).await,
        Change::RefreshMember { room_id, user_id } => members::refresh(c, room_id, user_id).await,
        Change::RemoveAccount {
            room_id,
            user_id,
            delete_messages,
        } => members::remove_account(c, ctx.at, room_id, user_id, delete_messages).await,
    }
}

/// The answer of a change that left everything as it was.
pub(super) fn unchanged(outcome: Outcome) -> Committed {
    Committed {
        events: Vec::new(),
        outcome,
    }
}

/// The columns of a [`LockedRoom`] but its id, and the caller's role: `is_admin`, null for one who isn't in it.
type LockedRow = (String, i64, i64, i64, i64, i64, Option<i64>);

/// A room that isn't deleted, under the write lock; [`Self::save`] writes what a change did to it.
pub(super) struct LockedRoom {
    pub(super) id: RoomId,
    pub(super) name: String,
    created_at: Timestamp,
    pub(super) seq: Seq,
    pub(super) member_count: i64,
    pub(super) admin_count: i64,
    pub(super) renamed_seq: Seq,
    pub(super) deleted_seq: Option<Seq>,
}

impl LockedRoom {
    /// The room, and what a user may do in it: `None` if it isn't in it.
    pub(super) async fn load(
        connection: &mut SqliteConnection,
        id: RoomId,
        user: UserId,
    ) -> Result<Option<(Self, Option<Role>)>, Fault> {
        let row: Option<LockedRow> = sqlx::query_as(
            "SELECT r.name, r.created_at, r.seq, r.member_count, r.admin_count, r.renamed_seq,
                    m.is_admin
             FROM rooms r
             LEFT JOIN members m ON m.room_id = r.id AND m.user_id = $2 AND m.left_seq IS NULL
             WHERE r.id = $1 AND r.deleted_seq IS NULL",
        )
        .bind(id.0)
        .bind(user.0)
        .fetch_optional(connection)
        .await?;
        Ok(row.map(
            |(name, created_at, seq, member_count, admin_count, renamed, is_admin)| {
                let room = Self {
                    id,
                    name,
                    created_at: Timestamp::from_millis(created_at),
                    seq: Seq(seq),
                    member_count,
                    admin_count,
                    renamed_seq: Seq(renamed),
                    deleted_seq: None,
                };
                (room, is_admin.map(crate::store::rows::role))
            },
        ))
    }

    /// The room as one of its members finds it.
    pub(super) async fn enter(
        connection: &mut SqliteConnection,
        id: RoomId,
        by: UserId,
    ) -> Result<Result<(Self, Role), Refusal>, Fault> {
        Ok(match Self::load(connection, id, by).await? {
            Some((room, Some(role))) => Ok((room, role)),
            _ => Err(Refusal::NotFound),
        })
    }

    /// The room as one of its admins finds it.
    pub(super) async fn administer(
        connection: &mut SqliteConnection,
        id: RoomId,
        by: UserId,
    ) -> Result<Result<Self, Refusal>, Fault> {
        Ok(match Self::enter(connection, id, by).await? {
            Ok((room, Role::Admin)) => Ok(room),
            Ok((_, Role::Member)) => Err(Refusal::Forbidden),
            Err(refusal) => Err(refusal),
        })
    }

    /// A room that nobody is in yet.
    pub(super) async fn create(
        connection: &mut SqliteConnection,
        name: &str,
        at: Timestamp,
    ) -> Result<Self, Fault> {
        let (id,): (i64,) = sqlx::query_as(
            "INSERT INTO rooms (name, created_at, seq, member_count, admin_count)
             VALUES ($1, $2, 0, 0, 0) RETURNING id",
        )
        .bind(name.to_owned())
        .bind(at.as_millis())
        .fetch_one(connection)
        .await?;
        Ok(Self {
            id: RoomId(id),
            name: name.to_owned(),
            created_at: at,
            seq: Seq::ZERO,
            member_count: 0,
            admin_count: 0,
            renamed_seq: Seq::ZERO,
            deleted_seq: None,
        })
    }

    /// Takes the room's next place.
    pub(super) fn next(&mut self) -> Seq {
        self.seq = self.seq.next();
        self.seq
    }

    /// Lets nobody be in the room any more.
    pub(super) async fn delete(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<Event, Fault> {
        let seq = self.next();
        self.deleted_seq = Some(seq);
        self.member_count = 0;
        self.admin_count = 0;
        sqlx::query("UPDATE members SET left_seq = $2 WHERE room_id = $1 AND left_seq IS NULL")
            .bind(self.id.0)
            .bind(seq.0)
            .execute(connection)
            .await?;
        Ok(Event::RoomDeleted {
            room_id: self.id,
            seq,
        })
    }

    pub(super) async fn save(&self, connection: &mut SqliteConnection) -> Result<(), Fault> {
        sqlx::query(
            "UPDATE rooms SET name = $2, seq = $3, member_count = $4, admin_count = $5, renamed_seq = $6,
                 deleted_seq = $7
             WHERE id = $1",
        )
        .bind(self.id.0)
        .bind(self.name.clone())
        .bind(self.seq.0)
        .bind(self.member_count)
        .bind(self.admin_count)
        .bind(self.renamed_seq.0)
        .bind(self.deleted_seq.map(|seq| seq.0))
        .execute(connection)
        .await?;
        Ok(())
    }

    /// The room as `role` sees it; events have none.
    pub(super) fn view(&self, role: Option<Role>) -> Room {
        Room {
            id: self.id,
            name: self.name.clone(),
            created_at: self.created_at,
            member_count: self.member_count,
            seq: self.seq,
            role,
        }
    }
}
