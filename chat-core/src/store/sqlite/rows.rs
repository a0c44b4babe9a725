//! What is SQLite's own in how rows become what the model speaks of.
//!
//! Hot reads let SQLite write their rows as one JSON array: through sqlx a value costs an allocation and a row a message
//! between threads, so that a page of 50 messages takes twice as long in rows.

use serde::Deserialize;

use super::fault::Fault;
use crate::model::LeaveReason;
use crate::store::rows;

/// SQLite has no booleans: 0 or 1.
pub(super) type MemberRow = rows::MemberRow<i64>;
pub(super) type RoomRow = rows::RoomRow<i64>;

/// A message of the table `m` as a JSON array, as a reader may see it: `e` is the erasure that it fell to, if any.
macro_rules! message_json {
    () => {
        "json_array(m.id, m.seq, m.changed_seq, m.sender_id, m.sent_at, m.edited_at, \
         coalesce(m.deleted_at, e.erased_at), m.client_message_id, iif(e.seq IS NULL, m.content, ''))"
    };
}

/// The same in two steps, for a list: the columns that the rows are picked with …
macro_rules! message_columns {
    () => {
        "m.id, m.seq, m.changed_seq, m.sender_id, m.sent_at, m.edited_at, \
         coalesce(m.deleted_at, e.erased_at) AS deleted_at, m.client_message_id, \
         iif(e.seq IS NULL, m.content, '') AS content"
    };
}

/// … and, of those picked, the array.
macro_rules! message_array {
    () => {
        "json_array(id, seq, changed_seq, sender_id, sent_at, edited_at, deleted_at, client_message_id, content)"
    };
}

/// Joins to a message `m` the bulk deletion that took it, where its row is not scrubbed yet.
macro_rules! join_erasure {
    () => {
        " LEFT JOIN erasures e ON e.room_id = m.room_id AND e.sender_id = m.sender_id AND m.seq < e.seq "
    };
}

pub(super) use {join_erasure, message_array, message_columns, message_json};

/// How a reason stands in its column.
pub(super) const fn reason_text(reason: LeaveReason) -> &'static str {
    match reason {
        LeaveReason::Left => "left",
        LeaveReason::Removed => "removed",
        LeaveReason::AccountDeleted => "accountDeleted",
    }
}

/// Reads a JSON array that SQLite wrote.
pub(super) fn json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Fault> {
    Ok(serde_json::from_str(text)?)
}
