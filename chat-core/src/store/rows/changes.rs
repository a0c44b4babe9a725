//! What changed in a room since a place, from the one row in which a database tells all of it.

use serde::de::DeserializeOwned;

use super::{MemberRow, MessageRow, Truth, member, page, reason};
use crate::model::{Event, Role, Room, RoomId, Seq, Timestamp, UserId};
use crate::protocol::rest::{Changes, Page};

/// The room's name, `created_at`, members, head, and where it was renamed, retention removed something, and it was deleted;
/// then, each a JSON array of up to one more than a page: messages as they were sent, those changed since, members, bulk
/// changes.
pub(in crate::store) type ChangesRow = (
    String,
    i64,
    i64,
    i64,
    i64,
    i64,
    Option<i64>,
    String,
    String,
    String,
    String,
);

/// `changed_seq, joined_seq, left_seq, left_reason, member`
type MemberChange<T> = (Seq, Seq, Option<i64>, Option<String>, MemberRow<T>);

/// The current state of what changed after `since`, merged into the order of its last changes. `T` is how the database writes
/// a truth into JSON.
pub(in crate::store) fn changes<T: Truth + DeserializeOwned>(
    row: ChangesRow,
    room_id: RoomId,
    since: Seq,
    from: Seq,
    limit: i64,
) -> Result<Changes, serde_json::Error> {
    let (
        name,
        created_at,
        member_count,
        head,
        renamed,
        pruned,
        deleted,
        sent,
        changed,
        members,
        bulk,
    ) = row;
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

    let mut events = Vec::new();
    for list in [&sent, &changed] {
        for row in serde_json::from_str::<Vec<MessageRow>>(list)? {
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
    for change in serde_json::from_str::<Vec<MemberChange<T>>>(&members)? {
        events.push(member_event(room_id, from, change));
    }
    for (seq, sender_id) in serde_json::from_str::<Vec<(Seq, Option<UserId>)>>(&bulk)? {
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

fn member_event<T: Truth>(room_id: RoomId, from: Seq, change: MemberChange<T>) -> Event {
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
