//! Messages read: history and single ones.

use super::super::{Position, StoreError};
use super::database::{Database, Statement};
use super::fault::Fault;
use super::rows::{join_erasure, json, message_array, message_json};
use crate::model::{Message, MessageId, RoomId, UserId};
use crate::protocol::rest::Page;
use crate::store::rows::{MessageRow, page};

/// One row if the caller `$2` is in the room `$1`, and what `from` adds is there: a JSON array of at most `$3` messages, and
/// one more to tell that there is, that aren't deleted. The check for bulk deletions is asked per message only while the room has any to be scrubbed.
macro_rules! history {
    ($from:literal, $and:literal, $order:literal) => {
        concat!(
            "SELECT (
                 SELECT json_group_array(", message_array!(), ") FROM (
                     SELECT id, seq, changed_seq, sender_id, sent_at, edited_at, NULL AS deleted_at,
                         client_message_id, content
                     FROM messages h
                     WHERE h.room_id = $1 AND h.deleted_at IS NULL ", $and, "
                     AND (NOT EXISTS (SELECT 1 FROM erasures WHERE room_id = $1) OR NOT EXISTS (
                         SELECT 1 FROM erasures e
                         WHERE e.room_id = $1 AND e.sender_id = h.sender_id AND h.seq < e.seq))
                     ORDER BY h.seq ", $order, " LIMIT $3 + 1
                 )
             )
             FROM members b ", $from, "
             WHERE b.room_id = $1 AND b.user_id = $2 AND b.left_seq IS NULL"
        )
    };
}

pub(super) const NEWEST: &str = history!("", "", "DESC");
pub(super) const BEFORE: &str = history!(
    "JOIN message_places p ON p.id = $4 AND p.room_id = $1",
    "AND h.seq < p.seq",
    "DESC"
);
pub(super) const AFTER: &str = history!(
    "JOIN message_places p ON p.id = $4 AND p.room_id = $1",
    "AND h.seq > p.seq",
    "ASC"
);
pub(super) const AFTER_SEQ: &str = history!("", "AND h.seq > $4", "ASC");

pub(super) async fn read_page(
    database: &Database,
    caller: UserId,
    room: RoomId,
    position: Position,
    limit: i64,
) -> Result<Option<Page<Message>>, StoreError> {
    let (statement, newest_first): (Statement<'_>, bool) = match position {
        Position::Newest => (sqlx::query(NEWEST), true),
        Position::Before(_) => (sqlx::query(BEFORE), true),
        Position::After(_) => (sqlx::query(AFTER), false),
        Position::AfterSeq(_) => (sqlx::query(AFTER_SEQ), false),
    };
    let statement = statement.bind(room.0).bind(caller.0).bind(limit);
    let statement = match position {
        Position::Newest => statement,
        Position::Before(id) | Position::After(id) => statement.bind(id.0),
        Position::AfterSeq(seq) => statement.bind(seq.0),
    };
    let row: Option<(String,)> = database.row(statement).await?;
    let Some((text,)) = row else { return Ok(None) };
    let rows: Vec<MessageRow> = json(&text).map_err(Fault::unchanged)?;
    let messages = rows.into_iter().map(|row| row.message(room)).collect();
    let mut page = page(messages, limit);
    if newest_first {
        page.items.reverse();
    }
    Ok(Some(page))
}

pub(super) const ONE: &str = concat!(
    "SELECT ",
    message_json!(),
    " FROM message_places p
     JOIN members b ON b.room_id = $1 AND b.user_id = $2 AND b.left_seq IS NULL
     JOIN messages m ON m.room_id = p.room_id AND m.seq = p.seq",
    join_erasure!(),
    "WHERE p.id = $3 AND p.room_id = $1 AND m.deleted_at IS NULL AND e.seq IS NULL"
);

pub(super) async fn read(
    database: &Database,
    caller: UserId,
    room: RoomId,
    message: MessageId,
) -> Result<Option<Message>, StoreError> {
    let row: Option<(String,)> = database
        .row(sqlx::query(ONE).bind(room.0).bind(caller.0).bind(message.0))
        .await?;
    let Some((text,)) = row else { return Ok(None) };
    let row: MessageRow = json(&text).map_err(Fault::unchanged)?;
    Ok(Some(row.message(room)))
}
