//! Rooms read.

use super::super::{Joined, Membership, StoreError};
use super::database::{Database, Statement};
use super::fault::Fault;
use super::rows::{RoomRow, json};
use crate::model::{Room, RoomId, Seq, UserId};
use crate::protocol::rest::Page;
use crate::store::rows::{page, room};

/// The user, after which room, only which one, how many.
const PAGE: &str = "SELECT read_rooms($1, $2, $3, $4)::text";

pub(super) async fn read_page(
    database: &Database,
    user: UserId,
    after: Option<RoomId>,
    limit: i64,
) -> Result<Page<Room>, StoreError> {
    let (text,): (String,) = database
        .one(
            Statement::new(PAGE)
                .bind(user.0)
                .bind(after.map_or(i64::MIN, |id| id.0))
                .bind(None::<i64>)
                .bind(limit),
        )
        .await?;
    let rows: Vec<RoomRow> = json(&text).map_err(Fault::unchanged)?;
    Ok(page(rows.into_iter().map(room).collect(), limit))
}

pub(super) async fn read(
    database: &Database,
    caller: UserId,
    id: RoomId,
) -> Result<Option<Room>, StoreError> {
    let (text,): (String,) = database
        .one(
            Statement::new(PAGE)
                .bind(caller.0)
                .bind(i64::MIN)
                .bind(id.0)
                .bind(1_i64),
        )
        .await?;
    let rows: Vec<RoomRow> = json(&text).map_err(Fault::unchanged)?;
    Ok(rows.into_iter().next().map(room))
}

pub(super) async fn memberships(
    database: &Database,
    user: UserId,
) -> Result<Vec<Membership>, StoreError> {
    let call = Statement::new("SELECT read_memberships($1)::text").bind(user.0);
    read_heads(database.one(call).await?).map_err(Fault::unchanged)
}

pub(super) async fn joined(
    database: &Database,
    users: &[UserId],
) -> Result<Vec<Joined>, StoreError> {
    let ids: Vec<i64> = users.iter().map(|user| user.0).collect();
    let call = Statement::new("SELECT read_joined($1)::text").bind(ids);
    let (text,): (String,) = database.one(call).await?;
    let rows: Vec<(UserId, RoomId, Seq)> = json(&text).map_err(Fault::unchanged)?;
    let joined = |(user_id, room_id, seq)| Joined {
        user_id,
        room_id,
        seq,
    };
    Ok(rows.into_iter().map(joined).collect())
}

pub(super) async fn heads(
    database: &Database,
    rooms: &[RoomId],
) -> Result<Vec<Membership>, StoreError> {
    let ids: Vec<i64> = rooms.iter().map(|room| room.0).collect();
    let call = Statement::new("SELECT read_heads($1)::text").bind(ids);
    read_heads(database.one(call).await?).map_err(Fault::unchanged)
}

fn read_heads((text,): (String,)) -> Result<Vec<Membership>, Fault> {
    let heads: Vec<(RoomId, Seq)> = json(&text)?;
    Ok(heads
        .into_iter()
        .map(|(room_id, head)| Membership { room_id, head })
        .collect())
}
