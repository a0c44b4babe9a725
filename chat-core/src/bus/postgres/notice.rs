//! What a notification says, in JSON of less than 8,000 bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::{Batch, Hint, News};
use crate::model::{Event, RoomId, Seq, UserId};
use crate::store::Joined;

/// Rooms and joins of one notice together: at most 7,300 bytes with the longest numbers there are. The server takes 7,999.
const ENTRIES: usize = 115;

/// One notification. Joins come first in what is made of it: who is in a room is to hear of what follows.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Notice {
    /// The bus that sent it.
    from: String,
    /// Where rooms stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    heads: Vec<(i64, i64)>,
    /// Who joined which room at which place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    joins: Vec<(i64, i64, i64)>,
    /// Rooms of these heads in which more than messages changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changed: Vec<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<Hint>,
}

/// What a room's events come to.
#[derive(Default)]
struct Room {
    head: i64,
    joins: Vec<(i64, i64)>,
    changed: bool,
}

/// The notices of events: each room's head once, and all joins.
pub(super) fn of(from: &str, events: &[Event]) -> Vec<String> {
    let mut rooms: BTreeMap<RoomId, Room> = BTreeMap::new();
    for event in events {
        let room = rooms.entry(event.room_id()).or_default();
        room.head = room.head.max(event.seq().0);
        room.changed |= !super::super::is_of_messages(event);
        if let Event::MemberJoined { seq, member, .. } = event {
            room.joins.push((member.user_id.0, seq.0));
        }
    }
    let mut notices = Vec::new();
    let mut notice = Notice::from(from);
    for (
        RoomId(room),
        Room {
            head,
            joins,
            changed,
        },
    ) in rooms
    {
        for (user, seq) in joins {
            notice.joins.push((user, room, seq));
            notice.finish(&mut notices);
        }
        notice.heads.push((room, head));
        if changed {
            notice.changed.push(room);
        }
        notice.finish(&mut notices);
    }
    if notice.entries() > 0 {
        notices.push(notice.encode());
    }
    notices
}

impl Notice {
    fn from(from: &str) -> Self {
        Self {
            from: from.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn hint(from: &str, hint: Hint) -> Self {
        Self {
            hint: Some(hint),
            ..Self::from(from)
        }
    }

    const fn entries(&self) -> usize {
        self.heads.len() + self.joins.len() + self.changed.len()
    }

    /// Ends a notice that is full, and begins the next.
    fn finish(&mut self, notices: &mut Vec<String>) {
        if self.entries() >= ENTRIES {
            let next = Self::from(&self.from);
            notices.push(std::mem::replace(self, next).encode());
        }
    }

    pub(super) fn encode(&self) -> String {
        // Numbers and a short name: there is nothing that can't be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn decode(payload: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(payload)
    }

    /// Adds what concerns the node of that name.
    pub(super) fn tell(self, name: &str, batch: &mut Batch<'_>) {
        batch.news.extend(self.hint.map(News::Hint));
        if batch.interest.is_none() {
            return;
        }
        for (user, room, seq) in self.joins {
            batch.changing.insert(RoomId(room));
            batch.news.push(News::Joined(Joined {
                user_id: UserId(user),
                room_id: RoomId(room),
                seq: Seq(seq),
            }));
        }
        batch.changing.extend(self.changed.into_iter().map(RoomId));
        let own = self.from == name;
        for (room, seq) in self.heads {
            let (room_id, seq) = (RoomId(room), Seq(seq));
            if batch.follows(room_id) {
                batch.news.push(News::Head { room_id, seq, own });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Member, Role, Timestamp};

    fn joined(room: i64, seq: i64, user: i64) -> Event {
        Event::MemberJoined {
            room_id: RoomId(room),
            seq: Seq(seq),
            member: Member {
                user_id: UserId(user),
                username: "ann".into(),
                role: Role::Member,
                joined_at: Timestamp::from_millis(0),
            },
        }
    }

    /// The server refuses a notification of 8,000 bytes.
    #[test]
    fn no_notice_is_longer_than_the_server_takes() {
        let events: Vec<_> = (0..1_000)
            .map(|n| joined(i64::MAX - n / 2, i64::MAX - n, i64::MAX - n))
            .collect();
        let notices = of("0123456789abcdef", &events);
        assert!(notices.len() > 10);
        for notice in &notices {
            assert!(notice.len() < 8_000, "{}", notice.len());
        }
    }

    #[test]
    fn a_room_is_named_once_with_its_last_place() {
        let notices = of("a", &[joined(7, 3, 1), joined(8, 1, 1), joined(7, 4, 2)]);
        let [notice] = notices.as_slice() else {
            panic!("{notices:?}");
        };
        let notice = Notice::decode(notice).expect("JSON");
        assert_eq!(notice.heads, [(7, 4), (8, 1)]);
        assert_eq!(notice.joins, [(1, 7, 3), (2, 7, 4), (1, 8, 1)]);
    }
}
