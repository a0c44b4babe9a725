//! What an application hears of a connection, and where it stands in each room.

use std::collections::BTreeMap;
use std::time::Duration;

use chat_core::model::{Event, Room, RoomId, Seq};
use chat_core::protocol::hub::Connected;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What a [`Connection`](super::Connection) tells, in order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ClientEvent {
    /// The connection stands, for the first time or again: whose it is, and all of the user's rooms with their heads.
    /// What was missed meanwhile follows by itself.
    Connected(Connected),

    /// A room changed. The events of a room come in the order of their `seq`, each once: also those that this client
    /// caused, and those fetched because they were missed.
    ///
    /// What was missed is told as current state: two edits of a message come as one, and one that was sent and deleted
    /// meanwhile as deleted; one that is edited while a long catch-up goes on may be told as created a second time. So insert
    /// or replace by id, and don't count events.
    Event(Event),

    /// The user joined or created a room, here or on another device, perhaps while this client was away. Its events begin
    /// after `seq`; earlier ones are history.
    RoomJoined {
        /// The room.
        room_id: RoomId,
        /// Its place at which the events begin.
        seq: Seq,
        /// The room as the server told it; `None` where it was learnt by being there after a reconnect.
        room: Option<Room>,
    },

    /// The user is not in this room any more: they left, were removed, or the room was deleted while this client was away.
    /// Where the client was there, the room's last event told it, and this doesn't follow.
    RoomGone {
        /// The room.
        room_id: RoomId,
    },

    /// Part of what changed in a room can't be told any more: retention removed it, or the server was restored from an older
    /// backup. Load the room anew if completeness matters; what follows is in order again.
    Discontinuity {
        /// The room.
        room_id: RoomId,
        /// Where the client stood.
        after: Seq,
        /// From where on it is complete again.
        seq: Seq,
    },

    /// A message from the outbox was refused for good, with nobody waiting for its result: its sender was another run of
    /// the program.
    SendFailed {
        /// Where to.
        room_id: RoomId,
        /// Under which id.
        client_message_id: String,
        /// Why.
        error: Error,
    },
}

/// Whether the connection stands. Observed through [`Connection::state`](super::Connection::state).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectionState {
    /// It is being made for the first time.
    Connecting,
    /// It stands.
    Connected,
    /// It was lost, or couldn't be made yet.
    Reconnecting {
        /// Which try comes next, counted from 1.
        attempt: u32,
        /// When: this long after the state was set.
        retry_in: Duration,
        /// Why it was lost, or the last try failed.
        reason: Error,
    },
    /// It is over: the event stream ends once it is read out.
    Closed {
        /// Why: [`Error::Closed`] when the application closed it.
        reason: Error,
    },
}

/// Where a client stands in its rooms: all that an application needs to keep to go on where it was, in another run.
///
/// It serialises as a list of `{"roomId","seq"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Entry>", into = "Vec<Entry>")]
pub struct Positions {
    pub(crate) rooms: BTreeMap<RoomId, Position>,
}

/// Where a client stands in one room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// All up to here was told.
    pub(crate) seq: Seq,
    /// Where the catch-up under way began: the same for all its pages, even those asked for by another run.
    pub(crate) from: Option<Seq>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    room_id: RoomId,
    seq: Seq,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Seq>,
}

impl Positions {
    /// No position anywhere.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            rooms: BTreeMap::new(),
        }
    }

    /// Where the client stands in this room.
    #[must_use]
    pub fn get(&self, room: RoomId) -> Option<Seq> {
        self.rooms.get(&room).map(|p| p.seq)
    }

    /// Makes the client stand at `seq` in this room.
    pub fn set(&mut self, room: RoomId, seq: Seq) {
        self.rooms.insert(room, Position { seq, from: None });
    }

    /// Forgets this room.
    pub fn remove(&mut self, room: RoomId) {
        self.rooms.remove(&room);
    }

    /// The rooms and where the client stands in each, ordered by id.
    pub fn iter(&self) -> impl Iterator<Item = (RoomId, Seq)> + '_ {
        self.rooms.iter().map(|(room, p)| (*room, p.seq))
    }

    pub(crate) fn apply(&mut self, room: RoomId, position: Option<Position>) {
        match position {
            Some(position) => {
                self.rooms.insert(room, position);
            }
            None => self.remove(room),
        }
    }
}

impl From<Vec<Entry>> for Positions {
    fn from(entries: Vec<Entry>) -> Self {
        let rooms = entries.into_iter().map(|e| {
            let position = Position {
                seq: e.seq,
                from: e.from,
            };
            (e.room_id, position)
        });
        Self {
            rooms: rooms.collect(),
        }
    }
}

impl From<Positions> for Vec<Entry> {
    fn from(positions: Positions) -> Self {
        let entry = |(room_id, p): (RoomId, Position)| Entry {
            room_id,
            seq: p.seq,
            from: p.from,
        };
        positions.rooms.into_iter().map(entry).collect()
    }
}

/// One step of the event stream: something to tell, a new position, or both.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) event: Option<ClientEvent>,
    pub(crate) position: Option<(RoomId, Option<Position>)>,
}

impl From<ClientEvent> for Delivery {
    fn from(event: ClientEvent) -> Self {
        Self {
            event: Some(event),
            position: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_survive_being_written() {
        let mut positions = Positions::new();
        positions.set(RoomId(7), Seq(3));
        positions.rooms.insert(
            RoomId(9),
            Position {
                seq: Seq(5),
                from: Some(Seq(1)),
            },
        );
        let text = serde_json::to_string(&positions).expect("written");
        assert_eq!(
            text,
            r#"[{"roomId":7,"seq":3},{"roomId":9,"seq":5,"from":1}]"#
        );
        assert_eq!(
            serde_json::from_str::<Positions>(&text).expect("read"),
            positions
        );
    }
}
