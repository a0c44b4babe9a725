//! What changed in a room since a place: the current state of it, in the order of its last changes.
//!
//! One statement, so one snapshot. It reads each kind of thing by its own index, up to a page of each; they are merged here.

use super::super::{Reader, StoreError};
use super::database::Database;
use super::fault::Fault;
use super::rows::{
    MemberRow, MessageRow, join_erasure, json, member, message_array, message_columns, page, reason,
};
use crate::model::{Event, Role, Room, RoomId, Seq, Timestamp, UserId};
use crate::protocol::rest::{Changes, Page};

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

/// The columns of the room: its name, `created_at`, members, head, and where it was renamed, retention removed something, and
/// it was deleted.
type RoomColumns = (String, i64, i64, i64, i64, i64, Option<i64>);
/// The lists: messages as they were sent, those changed since, members, bulk changes.
type Lists = (String, String, String, String);

/// `changed_seq, joined_seq, left_seq, left_reason, member`
type MemberChange = (Seq, Seq, Option<i64>, Option<String>, MemberRow);

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
    let row: Option<Row> = database
        .row(
            sqlx::query(CHANGES)
                .bind(room.0)
                .bind(since.0)
                .bind(limit)
                .bind(member),
        )
        .await?;
    row.map(|row| row.changes(room, since, from, limit))
        .transpose()
        .map_err(Fault::unchanged)
}

struct Row {
    room: RoomColumns,
    lists: Lists,
}

impl sqlx::FromRow<'_, sqlx::sqlite::SqliteRow> for Row {
    fn from_row(row: &sqlx::sqlite::SqliteRow) -> Result<Self, sqlx::Error> {
        use sqlx::Row as _;
        Ok(Self {
            room: sqlx::FromRow::from_row(row)?,
            lists: (
                row.try_get(7)?,
                row.try_get(8)?,
                row.try_get(9)?,
                row.try_get(10)?,
            ),
        })
    }
}

impl Row {
    fn changes(self, room_id: RoomId, since: Seq, from: Seq, limit: i64) -> Result<Changes, Fault> {
        let (name, created_at, member_count, head, renamed, pruned, deleted) = self.room;
        let head = Seq(head);
        if since > head {
            return Ok(Changes {
                items: Vec::new(),
                seq: head,
                has_more: false,
                complete: false,
            });
        }
        if deleted.is_some() {
            let event = Event::RoomDeleted { room_id, seq: head };
            return Ok(Changes {
                items: (since < head).then_some(event).into_iter().collect(),
                seq: head,
                has_more: false,
                complete: true,
            });
        }

        let (sent, changed, members, bulk) = self.lists;
        let mut events = Vec::new();
        for list in [&sent, &changed] {
            for row in json::<Vec<MessageRow>>(list)? {
                let message = row.message(room_id);
                events.push(if message.deleted_at.is_some() {
                    Event::MessageDeleted(message)
                } else if message.seq > from {
                    Event::MessageCreated(message)
                } else {
                    Event::MessageEdited(message)
                });
            }
        }
        for change in json::<Vec<MemberChange>>(&members)? {
            events.push(member_event(room_id, from, change));
        }
        for (seq, sender_id) in json::<Vec<(Seq, Option<UserId>)>>(&bulk)? {
            events.push(match sender_id {
                Some(sender_id) => Event::MessagesDeleted {
                    room_id,
                    seq,
                    sender_id,
                },
                None => Event::MembersChanged {
                    room_id,
                    seq,
                    role: Role::Admin,
                },
            });
        }
        if Seq(renamed) > since {
            events.push(Event::RoomChanged {
                room_id,
                seq: Seq(renamed),
                room: Room {
                    id: room_id,
                    name,
                    created_at: Timestamp::from_millis(created_at),
                    member_count,
                    seq: head,
                    role: None,
                },
            });
        }
        events.sort_by_key(Event::seq);
        let Page { items, has_more } = page(events, limit);
        Ok(Changes {
            seq: match items.last() {
                Some(last) if has_more => last.seq(),
                _ => head,
            },
            items,
            has_more,
            complete: from >= Seq(pruned),
        })
    }
}

fn member_event(room_id: RoomId, from: Seq, change: MemberChange) -> Event {
    let (seq, joined_seq, left_seq, left_reason, row) = change;
    let member = member(row);
    if left_seq.is_some() {
        Event::MemberLeft {
            room_id,
            seq,
            user_id: member.user_id,
            reason: reason(left_reason.as_deref().unwrap_or_default()),
        }
    } else if joined_seq > from {
        Event::MemberJoined {
            room_id,
            seq,
            member,
        }
    } else {
        Event::MemberChanged {
            room_id,
            seq,
            member,
        }
    }
}
