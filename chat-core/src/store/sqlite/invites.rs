//! Invites made, revoked, accepted and listed.

use sqlx::sqlite::SqliteConnection;

use super::super::{CommitContext, Committed, Outcome, Refusal, StoreError, TokenHash};
use super::commit::{Answer, LockedRoom, or_refuse, unchanged};
use super::database::Database;
use super::fault::Fault;
use super::members;
use super::rows::json;
use crate::model::{Invite, InviteId, Role, RoomId, Timestamp, UserId};
use crate::protocol::rest::Page;
use crate::store::rows::{InviteRow, invite, page, role};

/// Whether an invite admits someone at `$2`.
macro_rules! is_open {
    () => {
        "revoked_at IS NULL AND expires_at > $2 AND (max_uses IS NULL OR uses < max_uses)"
    };
}

pub(super) async fn create(
    connection: &mut SqliteConnection,
    ctx: &CommitContext,
    room_id: RoomId,
    by: UserId,
    token_hash: &TokenHash,
    expires_at: Timestamp,
    max_uses: Option<i64>,
) -> Result<Answer, Fault> {
    or_refuse!(LockedRoom::administer(connection, room_id, by).await?);
    let (open,): (i64,) = sqlx::query_as(concat!(
        "SELECT count(*) FROM invites WHERE room_id = $1 AND ",
        is_open!()
    ))
    .bind(room_id.0)
    .bind(ctx.at.as_millis())
    .fetch_one(&mut *connection)
    .await?;
    if open >= ctx.limits.invites_per_room {
        return Ok(Err(Refusal::InvitesPerRoom));
    }
    let (id,): (i64,) = sqlx::query_as(
        "INSERT INTO invites (room_id, token_hash, created_at, expires_at, max_uses)
         VALUES ($1, $2, $3, $4, $5) RETURNING id",
    )
    .bind(room_id.0)
    .bind(token_hash.to_vec())
    .bind(ctx.at.as_millis())
    .bind(expires_at.as_millis())
    .bind(max_uses)
    .fetch_one(connection)
    .await?;
    Ok(Ok(unchanged(Outcome::Invite(Invite {
        id: InviteId(id),
        room_id,
        token: None,
        created_at: ctx.at,
        expires_at,
        max_uses,
        uses: 0,
    }))))
}

pub(super) async fn revoke(
    connection: &mut SqliteConnection,
    at: Timestamp,
    room_id: RoomId,
    by: UserId,
    invite_id: InviteId,
) -> Result<Answer, Fault> {
    or_refuse!(LockedRoom::administer(connection, room_id, by).await?);
    let revoked = sqlx::query(
        "UPDATE invites SET revoked_at = $3 WHERE id = $2 AND room_id = $1 AND revoked_at IS NULL",
    )
    .bind(room_id.0)
    .bind(invite_id.0)
    .bind(at.as_millis())
    .execute(connection)
    .await?
    .rows_affected();
    Ok(if revoked == 1 {
        Ok(unchanged(Outcome::Done))
    } else {
        Err(Refusal::NotFound)
    })
}

pub(super) async fn accept(
    connection: &mut SqliteConnection,
    ctx: &CommitContext,
    room_id: RoomId,
    user_id: UserId,
    token_hash: &TokenHash,
) -> Result<Answer, Fault> {
    let username = or_refuse!(members::username(connection, user_id).await?);
    let invite: Option<(i64, bool)> = sqlx::query_as(concat!(
        "SELECT id, ",
        is_open!(),
        " AND id > coalesce(
             (SELECT m.barred_invite_id FROM members m WHERE m.room_id = $3 AND m.user_id = $4), 0)
         FROM invites WHERE token_hash = $1 AND room_id = $3"
    ))
    .bind(token_hash.to_vec())
    .bind(ctx.at.as_millis())
    .bind(room_id.0)
    .bind(user_id.0)
    .fetch_optional(&mut *connection)
    .await?;
    let Some((invite_id, admits)) = invite else {
        return Ok(Err(Refusal::NotFound));
    };
    let mut room = match LockedRoom::load(connection, room_id, user_id).await? {
        None => return Ok(Err(Refusal::NotFound)),
        Some((room, Some(role))) => return Ok(Ok(unchanged(Outcome::Room(room.view(Some(role)))))),
        Some((room, None)) => room,
    };
    if !admits {
        return Ok(Err(Refusal::InviteGone));
    }
    or_refuse!(members::has_place(connection, ctx, user_id).await?);
    if room.member_count >= ctx.limits.members_per_room {
        return Ok(Err(Refusal::MembersPerRoom));
    }
    sqlx::query("UPDATE invites SET uses = uses + 1 WHERE id = $1")
        .bind(invite_id)
        .execute(&mut *connection)
        .await?;
    let role = Role::Member;
    let event = members::join(connection, &mut room, user_id, username, role, ctx.at).await?;
    room.save(connection).await?;
    Ok(Ok(Committed {
        events: vec![event],
        outcome: Outcome::Room(room.view(Some(role))),
    }))
}

pub(super) const ROOM: &str = "SELECT i.room_id FROM invites i JOIN rooms r ON r.id = i.room_id
    WHERE i.token_hash = $1 AND r.deleted_seq IS NULL";

pub(super) async fn room(
    database: &Database,
    token_hash: &TokenHash,
) -> Result<Option<RoomId>, StoreError> {
    let row: Option<(i64,)> = database
        .row(sqlx::query(ROOM).bind(token_hash.to_vec()))
        .await?;
    Ok(row.map(|(id,)| RoomId(id)))
}

/// One row if the caller is in the room: its role, and a JSON array of [`InviteRow`]s.
pub(super) const PAGE: &str = concat!(
    "SELECT is_admin, (
         SELECT json_group_array(json_array(id, created_at, expires_at, max_uses, uses)) FROM (
             SELECT id, created_at, expires_at, max_uses, uses FROM invites
             WHERE room_id = $1 AND id > $4 AND ",
    is_open!(),
    "        ORDER BY id LIMIT $5 + 1
         )
     )
     FROM members WHERE room_id = $1 AND user_id = $3 AND left_seq IS NULL"
);

pub(super) async fn read_page(
    database: &Database,
    caller: UserId,
    room_id: RoomId,
    at: Timestamp,
    after: Option<InviteId>,
    limit: i64,
) -> Result<Result<Page<Invite>, Refusal>, StoreError> {
    let row: Option<(i64, String)> = database
        .row(
            sqlx::query(PAGE)
                .bind(room_id.0)
                .bind(at.as_millis())
                .bind(caller.0)
                .bind(after.map_or(i64::MIN, |id| id.0))
                .bind(limit),
        )
        .await?;
    let text = match row {
        None => return Ok(Err(Refusal::NotFound)),
        Some((is_admin, _)) if role(is_admin) == Role::Member => {
            return Ok(Err(Refusal::Forbidden));
        }
        Some((_, text)) => text,
    };
    let rows: Vec<InviteRow> = json(&text).map_err(Fault::unchanged)?;
    let invites = rows.into_iter().map(|row| invite(room_id, row));
    Ok(Ok(page(invites.collect(), limit)))
}
