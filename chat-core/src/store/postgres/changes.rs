//! What changed in a room since a place: the current state of it, in the order of its last changes.
//!
//! One call, so one snapshot. It reads each kind of thing by its own index, up to a page of each; they are merged here.

use super::super::{Reader, StoreError};
use super::database::{Database, Statement};
use super::fault::Fault;
use super::rows::{MemberRow, MessageRow, json, member, page, reason};
use crate::model::{Event, Role, Room, RoomId, Seq, Timestamp, UserId};
use crate::protocol::rest::{Changes, Page};

/// The room, the place, the member who reads (null for a node), how many.
const CHANGES: &str =
    "SELECT name, created_at, member_count, seq, renamed_seq, pruned_seq, deleted_seq,
    sent::text, changed::text, members::text, bulk::text FROM read_changes($1, $2, $3, $4)";

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
            Statement::new(CHANGES)
                .bind(room.0)
                .bind(since.0)
                .bind(member)
                .bind(limit),
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

impl sqlx::FromRow<'_, sqlx::postgres::PgRow> for Row {
    fn from_row(row: &sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
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
