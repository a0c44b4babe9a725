//! Rooms made, renamed, deleted and read.

use sqlx::sqlite::SqliteConnection;

use super::super::{CommitContext, Committed, Joined, Membership, Outcome, StoreError};
use super::commit::{Answer, LockedRoom, or_refuse};
use super::database::Database;
use super::fault::Fault;
use super::members;
use super::rows::{RoomRow, json};
use crate::model::{Event, Role, Room, RoomId, Seq, UserId};
use crate::protocol::rest::Page;
use crate::store::rows::{page, room};

pub(super) async fn create(
    connection: &mut SqliteConnection,
    ctx: &CommitContext,
    by: UserId,
    name: &str,
) -> Result<Answer, Fault> {
    let username = or_refuse!(members::username(connection, by).await?);
    or_refuse!(members::has_place(connection, ctx, by).await?);
    let mut room = LockedRoom::create(connection, name, ctx.at).await?;
    let event = members::join(connection, &mut room, by, username, Role::Admin, ctx.at).await?;
    room.save(connection).await?;
    Ok(Ok(Committed {
        events: vec![event],
        outcome: Outcome::Room(room.view(Some(Role::Admin))),
    }))
}

pub(super) async fn rename(
    connection: &mut SqliteConnection,
    room_id: RoomId,
    by: UserId,
    name: &str,
) -> Result<Answer, Fault> {
    let mut room = or_refuse!(LockedRoom::administer(connection, room_id, by).await?);
    let mut events = Vec::new();
    if room.name != name {
        name.clone_into(&mut room.name);
        room.renamed_seq = room.next();
        room.save(connection).await?;
        events.push(Event::RoomChanged {
            room_id,
            seq: room.seq,
            room: room.view(None),
        });
    }
    Ok(Ok(Committed {
        events,
        outcome: Outcome::Room(room.view(Some(Role::Admin))),
    }))
}

pub(super) async fn delete(
    connection: &mut SqliteConnection,
    room_id: RoomId,
    by: UserId,
) -> Result<Answer, Fault> {
    let mut room = or_refuse!(LockedRoom::administer(connection, room_id, by).await?);
    let event = room.delete(connection).await?;
    room.save(connection).await?;
    Ok(Ok(Committed {
        events: vec![event],
        outcome: Outcome::Done,
    }))
}

/// The columns of [`RoomRow`] for each room that `$1` is in.
macro_rules! select_rooms {
    () => {
        "SELECT r.id, r.name, r.created_at, r.member_count, r.seq, m.is_admin
         FROM members m JOIN rooms r ON r.id = m.room_id
         WHERE m.user_id = $1 AND m.left_seq IS NULL"
    };
}

pub(super) const PAGE: &str = concat!(
    select_rooms!(),
    " AND m.room_id > $2 ORDER BY m.room_id LIMIT $3 + 1"
);
pub(super) const ONE: &str = concat!(select_rooms!(), " AND m.room_id = $2");

pub(super) async fn read_page(
    database: &Database,
    user: UserId,
    after: Option<RoomId>,
    limit: i64,
) -> Result<Page<Room>, StoreError> {
    let rows: Vec<RoomRow> = database
        .rows(
            sqlx::query(PAGE)
                .bind(user.0)
                .bind(after.map_or(i64::MIN, |id| id.0))
                .bind(limit),
        )
        .await?;
    Ok(page(rows.into_iter().map(room).collect(), limit))
}

pub(super) async fn read(
    database: &Database,
    caller: UserId,
    id: RoomId,
) -> Result<Option<Room>, StoreError> {
    let row: Option<RoomRow> = database
        .row(sqlx::query(ONE).bind(caller.0).bind(id.0))
        .await?;
    Ok(row.map(room))
}

pub(super) const MEMBERSHIPS: &str =
    "SELECT json_group_array(json_array(r.id, r.seq) ORDER BY r.id)
    FROM members m JOIN rooms r ON r.id = m.room_id
    WHERE m.user_id = $1 AND m.left_seq IS NULL";
pub(super) const JOINED: &str = "SELECT m.user_id, m.room_id, m.joined_seq
    FROM json_each($1) i CROSS JOIN members m ON m.user_id = i.value AND m.left_seq IS NULL";
pub(super) const HEADS: &str = "SELECT json_group_array(json_array(r.id, r.seq))
    FROM json_each($1) i CROSS JOIN rooms r ON r.id = i.value";

pub(super) async fn memberships(
    database: &Database,
    user: UserId,
) -> Result<Vec<Membership>, StoreError> {
    let row = database.row(sqlx::query(MEMBERSHIPS).bind(user.0)).await?;
    read_heads(row).map_err(Fault::unchanged)
}

pub(super) async fn joined(
    database: &Database,
    users: &[UserId],
) -> Result<Vec<Joined>, StoreError> {
    let ids = serde_json::to_string(users).map_err(|e| Fault::from(e).unchanged())?;
    let rows: Vec<(i64, i64, i64)> = database.rows(sqlx::query(JOINED).bind(ids)).await?;
    let joined = |(user, room, seq)| Joined {
        user_id: UserId(user),
        room_id: RoomId(room),
        seq: Seq(seq),
    };
    Ok(rows.into_iter().map(joined).collect())
}

pub(super) async fn heads(
    database: &Database,
    rooms: &[RoomId],
) -> Result<Vec<Membership>, StoreError> {
    let ids = serde_json::to_string(rooms).map_err(|e| Fault::from(e).unchanged())?;
    let row = database.row(sqlx::query(HEADS).bind(ids)).await?;
    read_heads(row).map_err(Fault::unchanged)
}

fn read_heads(row: Option<(String,)>) -> Result<Vec<Membership>, Fault> {
    let (text,) = row.ok_or(Fault::Sql(sqlx::Error::RowNotFound))?;
    let heads: Vec<(RoomId, Seq)> = json(&text)?;
    Ok(heads
        .into_iter()
        .map(|(room_id, head)| Membership { room_id, head })
        .collect())
}
