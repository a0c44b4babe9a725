//! What changed in a room since a place: the current state of it, in the order of its last changes.
//!
//! One call, so one snapshot. It reads each kind of thing by its own index, up to a page of each; they are merged here.

use super::super::{Reader, StoreError};
use super::database::{Database, Statement};
use super::fault::Fault;
use crate::model::{RoomId, Seq};
use crate::protocol::rest::Changes;
use crate::store::rows::changes::{ChangesRow, changes};

/// The room, the place, the member who reads (null for a node), how many.
const CHANGES: &str =
    "SELECT name, created_at, member_count, seq, renamed_seq, pruned_seq, deleted_seq,
    sent::text, changed::text, members::text, bulk::text FROM read_changes($1, $2, $3, $4)";

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
            Statement::new(CHANGES)
                .bind(room.0)
                .bind(since.0)
                .bind(member)
                .bind(limit),
        )
        .await?;
    row.map(|row| changes::<bool>(row, room, since, from, limit))
        .transpose()
        .map_err(|e| Fault::from(e).unchanged())
}
