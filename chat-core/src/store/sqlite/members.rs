//! Members: joining, roles, leaving, and the steps that follow a user's renaming or deletion.

use sqlx::sqlite::SqliteConnection;

use super::super::{CommitContext, Committed, Outcome, Refusal, StoreError};
use super::commit::{Answer, LockedRoom, or_refuse, unchanged};
use super::database::Database;
use super::fault::Fault;
use super::rows::{MemberRow, json, reason_text};
use super::users;
use crate::model::{Event, LeaveReason, Member, Role, RoomId, Timestamp, UserId};
use crate::protocol::rest::Page;
use crate::store::rows::{self, member, page};

/// The name of a user who isn't deleted.
pub(super) async fn username(
    connection: &mut SqliteConnection,
    user: UserId,
) -> Result<Result<String, Refusal>, Fault> {
    let row: Option<(String,)> =
        sqlx::query_as("SELECT username FROM users WHERE id = $1 AND deleted_at IS NULL")
            .bind(user.0)
            .fetch_optional(connection)
            .await?;
    Ok(row.map(|(name,)| name).ok_or(Refusal::NotFound))
}

/// Whether the user may be in another room.
pub(super) async fn has_place(
    connection: &mut SqliteConnection,
    ctx: &CommitContext,
    user: UserId,
) -> Result<Result<(), Refusal>, Fault> {
    let (count,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM members WHERE user_id = $1 AND left_seq IS NULL")
            .bind(user.0)
            .fetch_one(connection)
            .await?;
    Ok(if count < ctx.limits.rooms_per_user {
        Ok(())
    } else {
        Err(Refusal::RoomsPerUser)
    })
}

/// Lets someone in who isn't.
pub(super) async fn join(
    connection: &mut SqliteConnection,
    room: &mut LockedRoom,
    user_id: UserId,
    username: String,
    role: Role,
    at: Timestamp,
) -> Result<Event, Fault> {
    let seq = room.next();
    room.member_count += 1;
    room.admin_count += i64::from(role == Role::Admin);
    sqlx::query(
        "INSERT INTO members (room_id, user_id, is_admin, joined_at, first_joined_seq, joined_seq, changed_seq)
         VALUES ($1, $2, $3, $4, $5, $5, $5)
         ON CONFLICT (room_id, user_id) DO UPDATE SET is_admin = excluded.is_admin,
             joined_at = excluded.joined_at, joined_seq = excluded.joined_seq,
             changed_seq = excluded.changed_seq, left_seq = NULL, left_reason = NULL",
    )
    .bind(room.id.0)
    .bind(user_id.0)
    .bind(role == Role::Admin)
    .bind(at.as_millis())
    .bind(seq.0)
    .execute(connection)
    .await?;
    Ok(Event::MemberJoined {
        room_id: room.id,
        seq,
        member: Member {
            user_id,
            username,
            role,
            joined_at: at,
        },
    })
}

/// Someone who is in the room.
async fn present(
    connection: &mut SqliteConnection,
    room: RoomId,
    user: UserId,
) -> Result<Result<Member, Refusal>, Fault> {
    let row: Option<MemberRow> = sqlx::query_as(
        "SELECT m.user_id, u.username, m.is_admin, m.joined_at
         FROM members m JOIN users u ON u.id = m.user_id
         WHERE m.room_id = $1 AND m.user_id = $2 AND m.left_seq IS NULL",
    )
    .bind(room.0)
    .bind(user.0)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(member).ok_or(Refusal::NotFound))
}

/// Gives a member its next place, and the role that it has from there.
async fn change(
    connection: &mut SqliteConnection,
    room: &mut LockedRoom,
    member: Member,
) -> Result<Event, Fault> {
    let seq = room.next();
    sqlx::query(
        "UPDATE members SET is_admin = $3, changed_seq = $4 WHERE room_id = $1 AND user_id = $2",
    )
    .bind(room.id.0)
    .bind(member.user_id.0)
    .bind(member.role == Role::Admin)
    .bind(seq.0)
    .execute(&mut *connection)
    .await?;
    room.save(connection).await?;
    Ok(Event::MemberChanged {
        room_id: room.id,
        seq,
        member,
    })
}

pub(super) async fn set_role(
    connection: &mut SqliteConnection,
    room_id: RoomId,
    by: UserId,
    user_id: UserId,
    role: Role,
) -> Result<Answer, Fault> {
    let mut room = or_refuse!(LockedRoom::administer(connection, room_id, by).await?);
    let mut member = or_refuse!(present(connection, room_id, user_id).await?);
    let mut events = Vec::new();
    if member.role != role {
        match member.role {
            Role::Admin if user_id != by => return Ok(Err(Refusal::Forbidden)),
            Role::Admin if room.admin_count == 1 => return Ok(Err(Refusal::LastAdmin)),
            Role::Admin => room.admin_count -= 1,
            Role::Member => room.admin_count += 1,
        }
        member.role = role;
        events.push(change(connection, &mut room, member.clone()).await?);
    }
    Ok(Ok(Committed {
        events,
        outcome: Outcome::Member(member),
    }))
}

pub(super) async fn remove(
    connection: &mut SqliteConnection,
    at: Timestamp,
    room_id: RoomId,
    by: UserId,
    user_id: UserId,
    delete_messages: bool,
) -> Result<Answer, Fault> {
    let (mut room, member, reason) = if by == user_id {
        let (room, _) = or_refuse!(LockedRoom::enter(connection, room_id, by).await?);
        let member = or_refuse!(present(connection, room_id, user_id).await?);
        (room, member, LeaveReason::Left)
    } else {
        let room = or_refuse!(LockedRoom::administer(connection, room_id, by).await?);
        let member = or_refuse!(present(connection, room_id, user_id).await?);
        if member.role == Role::Admin {
            return Ok(Err(Refusal::Forbidden));
        }
        (room, member, LeaveReason::Removed)
    };
    let events = depart(connection, at, &mut room, &member, reason, delete_messages).await?;
    Ok(Ok(Committed {
        events,
        outcome: Outcome::Done,
    }))
}

/// Takes someone out of a room, with all that follows from it.
async fn depart(
    connection: &mut SqliteConnection,
    at: Timestamp,
    room: &mut LockedRoom,
    member: &Member,
    reason: LeaveReason,
    delete_messages: bool,
) -> Result<Vec<Event>, Fault> {
    let (room_id, user_id) = (room.id, member.user_id);
    let mut events = Vec::new();
    if delete_messages {
        events.extend(erase(connection, at, room, user_id).await?);
    }
    let seq = room.next();
    room.member_count -= 1;
    room.admin_count -= i64::from(member.role == Role::Admin);
    sqlx::query(
        "UPDATE members SET left_seq = $3, changed_seq = $3, left_reason = $4,
             barred_invite_id = iif($5, coalesce((SELECT max(id) FROM invites WHERE room_id = $1), 0), barred_invite_id)
         WHERE room_id = $1 AND user_id = $2",
    )
    .bind(room_id.0)
    .bind(user_id.0)
    .bind(seq.0)
    .bind(reason_text(reason))
    .bind(reason == LeaveReason::Removed)
    .execute(&mut *connection)
    .await?;
    events.push(Event::MemberLeft {
        room_id,
        seq,
        user_id,
        reason,
    });
    if room.member_count == 0 {
        events.push(room.delete(connection).await?);
    } else if room.admin_count == 0 {
        let seq = room.next();
        room.admin_count = room.member_count;
        sqlx::query(
            "UPDATE members SET is_admin = 1 WHERE room_id = $1 AND left_seq IS NULL;
             INSERT INTO bulk_changes (room_id, seq) VALUES ($1, $2)",
        )
        .bind(room_id.0)
        .bind(seq.0)
        .execute(&mut *connection)
        .await?;
        events.push(Event::MembersChanged {
            room_id,
            seq,
            role: Role::Admin,
        });
    }
    room.save(connection).await?;
    Ok(events)
}

/// Deletes all that someone wrote, if there is anything. Readers obey at once; the rows are scrubbed by the sweep.
async fn erase(
    connection: &mut SqliteConnection,
    at: Timestamp,
    room: &mut LockedRoom,
    sender_id: UserId,
) -> Result<Option<Event>, Fault> {
    let (any,): (bool,) = sqlx::query_as(
        "SELECT EXISTS (
             SELECT 1 FROM messages
             WHERE room_id = $1 AND sender_id = $2 AND deleted_at IS NULL AND seq >= coalesce(
                 (SELECT seq FROM erasures WHERE room_id = $1 AND sender_id = $2), 0)
         )",
    )
    .bind(room.id.0)
    .bind(sender_id.0)
    .fetch_one(&mut *connection)
    .await?;
    if !any {
        return Ok(None);
    }
    let seq = room.next();
    sqlx::query(
        "INSERT INTO bulk_changes (room_id, seq, sender_id) VALUES ($1, $3, $2);
         INSERT INTO erasures (room_id, sender_id, seq, erased_at, scrubbed_to) VALUES ($1, $2, $3, $4, 0)
         ON CONFLICT (room_id, sender_id) DO UPDATE SET seq = excluded.seq, erased_at = excluded.erased_at",
    )
    .bind(room.id.0)
    .bind(sender_id.0)
    .bind(seq.0)
    .bind(at.as_millis())
    .execute(connection)
    .await?;
    Ok(Some(Event::MessagesDeleted {
        room_id: room.id,
        seq,
        sender_id,
    }))
}

pub(super) async fn refresh(
    connection: &mut SqliteConnection,
    room_id: RoomId,
    user_id: UserId,
) -> Result<Answer, Fault> {
    let mut committed = unchanged(Outcome::Done);
    if users::finish_job(connection, room_id, user_id, rows::RENAMED).await?
        && let Some((mut room, Some(_))) = LockedRoom::load(connection, room_id, user_id).await?
        && let Ok(member) = present(connection, room_id, user_id).await?
    {
        committed.events = vec![change(connection, &mut room, member).await?];
    }
    Ok(Ok(committed))
}

pub(super) async fn remove_account(
    connection: &mut SqliteConnection,
    at: Timestamp,
    room_id: RoomId,
    user_id: UserId,
    delete_messages: bool,
) -> Result<Answer, Fault> {
    let mut committed = unchanged(Outcome::Done);
    let kind = rows::deletion_kind(delete_messages);
    if users::finish_job(connection, room_id, user_id, kind).await?
        && let Some((mut room, _)) = LockedRoom::load(connection, room_id, user_id).await?
    {
        if let Ok(member) = present(connection, room_id, user_id).await? {
            let reason = LeaveReason::AccountDeleted;
            committed.events =
                depart(connection, at, &mut room, &member, reason, delete_messages).await?;
        } else if delete_messages {
            committed.events = Vec::from_iter(erase(connection, at, &mut room, user_id).await?);
            room.save(connection).await?;
        }
    }
    Ok(Ok(committed))
}

/// One row if the caller is in the room: a JSON array of [`MemberRow`]s.
pub(super) const PAGE: &str = "SELECT (
        SELECT json_group_array(json_array(user_id, username, is_admin, joined_at)) FROM (
            SELECT m.user_id, u.username, m.is_admin, m.joined_at
            FROM members m JOIN users u ON u.id = m.user_id
            WHERE m.room_id = $1 AND m.user_id > $3 AND m.left_seq IS NULL
            ORDER BY m.user_id LIMIT $4 + 1
        )
    )
    FROM members WHERE room_id = $1 AND user_id = $2 AND left_seq IS NULL";

pub(super) async fn read_page(
    database: &Database,
    caller: UserId,
    room: RoomId,
    after: Option<UserId>,
    limit: i64,
) -> Result<Option<Page<Member>>, StoreError> {
    let row: Option<(String,)> = database
        .row(
            sqlx::query(PAGE)
                .bind(room.0)
                .bind(caller.0)
                .bind(after.map_or(i64::MIN, |id| id.0))
                .bind(limit),
        )
        .await?;
    let Some((text,)) = row else { return Ok(None) };
    let rows: Vec<MemberRow> = json(&text).map_err(Fault::unchanged)?;
    Ok(Some(page(rows.into_iter().map(member).collect(), limit)))
}
