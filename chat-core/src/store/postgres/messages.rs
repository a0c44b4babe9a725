//! Messages read: history and single ones.

use super::super::{Position, StoreError};
use super::database::{Database, Statement};
use super::fault::Fault;
use super::rows::json;
use crate::model::{Message, MessageId, RoomId, UserId};
use crate::protocol::rest::Page;
use crate::store::rows::{MessageRow, page};

pub(super) async fn read_page(
    database: &Database,
    caller: UserId,
    room: RoomId,
    position: Position,
    limit: i64,
) -> Result<Option<Page<Message>>, StoreError> {
    let (which, mark, newest_first) = match position {
        Position::Newest => ("newest", i64::MAX, true),
        Position::Before(id) => ("before", id.0, true),
        Position::After(id) => ("after", id.0, false),
        Position::AfterSeq(seq) => ("afterSeq", seq.0, false),
    };
    let (text,): (Option<String>,) = database
        .one(
            Statement::new("SELECT read_messages($1, $2, $3, $4, $5)::text")
                .bind(room.0)
                .bind(caller.0)
                .bind(which)
                .bind(mark)
                .bind(limit),
        )
        .await?;
    let Some(text) = text else { return Ok(None) };
    let rows: Vec<MessageRow> = json(&text).map_err(Fault::unchanged)?;
    let messages = rows.into_iter().map(|row| row.message(room)).collect();
    let mut page = page(messages, limit);
    if newest_first {
        page.items.reverse();
    }
    Ok(Some(page))
}

pub(super) async fn read(
    database: &Database,
    caller: UserId,
    room: RoomId,
    message: MessageId,
) -> Result<Option<Message>, StoreError> {
    let (text,): (Option<String>,) = database
        .one(
            Statement::new("SELECT read_message($1, $2, $3)::text")
                .bind(room.0)
                .bind(caller.0)
                .bind(message.0),
        )
        .await?;
    let Some(text) = text else { return Ok(None) };
    let row: MessageRow = json(&text).map_err(Fault::unchanged)?;
    Ok(Some(row.message(room)))
}
