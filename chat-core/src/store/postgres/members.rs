//! Members read.

use super::super::StoreError;
use super::database::{Database, Statement};
use super::fault::Fault;
use super::rows::{MemberRow, json};
use crate::model::{Member, RoomId, UserId};
use crate::protocol::rest::Page;
use crate::store::rows::{member, page};

pub(super) async fn read_page(
    database: &Database,
    caller: UserId,
    room: RoomId,
    after: Option<UserId>,
    limit: i64,
) -> Result<Option<Page<Member>>, StoreError> {
    let (text,): (Option<String>,) = database
        .one(
            Statement::new("SELECT read_members($1, $2, $3, $4)::text")
                .bind(room.0)
                .bind(caller.0)
                .bind(after.map_or(i64::MIN, |id| id.0))
                .bind(limit),
        )
        .await?;
    let Some(text) = text else { return Ok(None) };
    let rows: Vec<MemberRow> = json(&text).map_err(Fault::unchanged)?;
    Ok(Some(page(rows.into_iter().map(member).collect(), limit)))
}
