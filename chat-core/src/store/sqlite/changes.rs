//! What changed in a room since a place: the current state of it, in the order of its last changes.
//!
//! One statement, so one snapshot. It reads each kind of thing by its own index, up to a page of each; they are merged here.

use super::super::{Reader, StoreError};
use super::database::Database;
use super::fault::Fault;
use super::rows::{join_erasure, message_array, message_columns};
use crate::model::{RoomId, Seq};
use crate::protocol::rest::Changes;
use crate::store::rows::changes::{ChangesRow, changes};

/// `$1`: the room, `$2`: the place, `$3`: one less than to read of each kind, `$4`: the member who reads, null for a node.
pub(super) const CHANGES: &str = concat!(
    "SELECT r.name, r.created_at, r.member_count, r.seq, r.renamed_seq, r.pruned_seq, r.deleted_seq,
    (
        -- as they were sent
        SELECT json_group_array(",
    message_array!(),
    ") FROM (
            SELECT ",
    message_columns!(),
    "
            FROM messages m", join_erasure!(), "
            WHERE m.room_id = $1 AND m.seq > $2 AND m.changed_seq = m.seq ORDER BY m.seq LIMIT $3 + 1
        )
    ),
    (
        -- edited or deleted since
        SELECT json_group_array(",
    message_array!(),
    ") FROM (
            SELECT ",
    message_columns!(),
    "
            FROM messages m", join_erasure!(), "
            WHERE m.room_id = $1 AND m.changed_seq > $2 AND m.changed_seq > m.seq ORDER BY m.changed_seq LIMIT $3 + 1
        )
    ),
    (
        SELECT json_group_array(json_array(
            changed_seq, joined_seq, left_seq, left_reason, json_array(user_id, username, is_admin, joined_at)
        )) FROM (
            SELECT m.changed_seq, m.joined_seq, m.left_seq, m.left_reason, m.user_id, u.username, m.is_admin, m.joined_at
            FROM members m JOIN users u ON u.id = m.user_id
            WHERE m.room_id = $1 AND m.changed_seq > $2 ORDER BY m.changed_seq LIMIT $3 + 1
        )
    ),
    (
        SELECT json_group_array(json_array(seq, sender_id)) FROM (
            SELECT seq, sender_id FROM bulk_changes
            WHERE room_id = $1 AND seq > $2 ORDER BY seq LIMIT $3 + 1
        )
    )
    FROM rooms r
    WHERE r.id = $1 AND ($4 IS NULL OR EXISTS (
        SELECT 1 FROM members b WHERE b.room_id = $1 AND b.user_id = $4 AND b.left_seq IS NULL))"
);

pub(super) async fn read(
    database: &Database,
    reader: Reader,
    room: RoomId,
    since: Seq,
    from: Seq,
    limit: i64,
) -> Result<Option<Changes>, StoreError> {
    let member = match reader {
        Reader::Member(user) => Some(user.0),
        Reader::Node => None,
    };
    let row: Option<ChangesRow> = database
        .row(
            sqlx::query(CHANGES)
                .bind(room.0)
                .bind(since.0)
                .bind(limit)
                .bind(member),
        )
        .await?;
    row.map(|row| changes::<i64>(row, room, since, from, limit))
        .transpose()
        .map_err(|e| Fault::from(e).unchanged())
}
