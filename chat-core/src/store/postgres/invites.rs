//! Invites listed and found.

use super::super::{Refusal, StoreError, TokenHash};
use super::database::{Database, Statement};
use super::fault::Fault;
use super::rows::json;
use crate::model::{Invite, InviteId, RoomId, Timestamp, UserId};
use crate::protocol::rest::Page;
use crate::store::rows::{InviteRow, invite, page};

pub(super) async fn room(
    database: &Database,
    token_hash: &TokenHash,
) -> Result<Option<RoomId>, StoreError> {
    let row: Option<(i64,)> = database
        .row(
            Statement::new(
                "SELECT i.room_id FROM invites i JOIN rooms r ON r.id = i.room_id
                 WHERE i.token_hash = $1 AND r.deleted_seq IS NULL",
            )
            .bind(&token_hash[..]),
        )
        .await?;
    Ok(row.map(|(id,)| RoomId(id)))
}

pub(super) async fn read_page(
    database: &Database,
    caller: UserId,
    room_id: RoomId,
    at: Timestamp,
    after: Option<InviteId>,
    limit: i64,
) -> Result<Result<Page<Invite>, Refusal>, StoreError> {
    let (is_admin, text): (Option<bool>, Option<String>) = database
        .one(
            Statement::new("SELECT is_admin, invites::text FROM read_invites($1, $2, $3, $4, $5)")
                .bind(room_id.0)
                .bind(caller.0)
                .bind(at.as_millis())
                .bind(after.map_or(i64::MIN, |id| id.0))
                .bind(limit),
        )
        .await?;
    let Some(text) = text else {
        return Ok(Err(match is_admin {
            Some(_) => Refusal::Forbidden,
            None => Refusal::NotFound,
        }));
    };
    let rows: Vec<InviteRow> = json(&text).map_err(Fault::unchanged)?;
    let invites = rows.into_iter().map(|row| invite(room_id, row));
    Ok(Ok(page(invites.collect(), limit)))
}
