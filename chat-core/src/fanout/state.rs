//! Which connection is in which room, and what is to be read from the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::Inside;
use super::connection::Connection;
use super::order::Order;
use crate::model::{Event, Room, RoomId, Seq, UserId};

/// Something that must be read from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// What changed in the room after this place.
    Changes(RoomId, Seq),
    /// The room as this user sees it, who just joined.
    Room(RoomId, UserId),
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) rooms: BTreeMap<RoomId, ActiveRoom>,
    pub(super) users: BTreeMap<UserId, ActiveUser>,
    /// What is to be read, by when; one thing a room at a time.
    pub(super) wants: BTreeMap<RoomId, Instant>,
    /// Rooms for which a read is under way.
    pub(super) reading: BTreeSet<RoomId>,
    pub(super) segments: u64,
}

/// A room that a connection of this node is in.
#[derive(Debug)]
pub(super) struct ActiveRoom {
    pub(super) order: Order<Waiting>,
    pub(super) inside: Vec<Inside>,
    /// The one whose join waits for the room to be read.
    pub(super) joining: Option<Joining>,
    /// The store said that the room stands here.
    pub(super) head: Seq,
    /// The store said that there is no such room, and wasn't asked for its changes since.
    pub(super) missing: bool,
}

/// Someone who comes into a room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joining {
    pub(super) user: UserId,
    /// The place from which on it hears of the room.
    pub(super) seq: Seq,
    /// It is in at that place for certain: an event alone may be an old copy.
    pub(super) certain: bool,
}

/// An event behind a hole.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) event: Event,
    /// Who has had it as a completion.
    pub(super) skip: Option<Arc<Connection>>,
    pub(super) room: Option<Box<Room>>,
}

/// A user with a connection on this node.
#[derive(Debug, Default)]
pub(super) struct ActiveUser {
    pub(super) connections: Vec<Arc<Connection>>,
    /// Connections among them that are registered and not entered.
    pub(super) entering: Vec<u64>,
    pub(super) rooms: BTreeSet<RoomId>,
    /// Rooms among them that a later connection found itself in, and the earlier ones were not told of.
    pub(super) untold: BTreeSet<RoomId>,
    /// Joins (true) and leaves seen while a connection enters, with their places: newer than what it read, perhaps.
    pub(super) seen: BTreeMap<RoomId, (Seq, bool)>,
    /// Rooms that the user left, and where: the last one out is still told that the room is gone.
    pub(super) left: BTreeMap<RoomId, Seq>,
}

impl ActiveUser {
    pub(super) fn entered(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.connections
            .iter()
            .filter(|c| !self.entering.contains(&c.number()))
    }

    /// Notes a join or a leave for the connections that are about to enter.
    pub(super) fn note(&mut self, room_id: RoomId, seq: Seq, joined: bool) {
        if self.entering.is_empty() {
            return;
        }
        let seen = self.seen.entry(room_id).or_insert((seq, joined));
        if seq >= seen.0 {
            *seen = (seq, joined);
        }
    }

    pub(super) fn leave(&mut self, room_id: RoomId) {
        self.rooms.remove(&room_id);
        self.untold.remove(&room_id);
    }
}

impl ActiveRoom {
    /// A room that nobody is in yet, and that stands at `seq`.
    pub(super) const fn at(seq: Seq) -> Self {
        Self {
            order: Order::new(seq),
            inside: Vec::new(),
            joining: None,
            head: seq,
            missing: false,
        }
    }

    pub(super) fn has(&self, connection: &Arc<Connection>) -> bool {
        let is = |inside: &Inside| Arc::ptr_eq(&inside.connection, connection);
        self.inside.iter().any(is)
    }
}

impl State {
    pub(super) fn register(&mut self, connection: &Arc<Connection>) {
        let user = self.users.entry(connection.user_id()).or_default();
        user.connections.push(Arc::clone(connection));
        user.entering.push(connection.number());
    }

    pub(super) fn remove(&mut self, connection: &Arc<Connection>) -> bool {
        let Some(user) = self.users.get_mut(&connection.user_id()) else {
            return false;
        };
        let before = user.connections.len();
        user.connections.retain(|c| !Arc::ptr_eq(c, connection));
        user.entering.retain(|n| *n != connection.number());
        if user.entering.is_empty() {
            user.seen.clear();
        }
        let removed = user.connections.len() < before;
        for room_id in user.rooms.clone() {
            self.leave_room(room_id, |inside| {
                !Arc::ptr_eq(&inside.connection, connection)
            });
        }
        if let Some(user) = self.users.get(&connection.user_id())
            && user.connections.is_empty()
        {
            self.users.remove(&connection.user_id());
        }
        removed
    }

    /// Keeps those inside that `keep` names; a room without anyone isn't followed any more.
    pub(super) fn leave_room(&mut self, room_id: RoomId, keep: impl Fn(&Inside) -> bool) {
        if let Some(room) = self.rooms.get_mut(&room_id) {
            room.inside.retain(keep);
            if room.inside.is_empty() && room.joining.is_none() {
                self.rooms.remove(&room_id);
                self.wants.remove(&room_id);
            }
        }
    }

    pub(super) fn connections(&self) -> Vec<Arc<Connection>> {
        let mut all: Vec<_> = self
            .users
            .values()
            .flat_map(|u| u.connections.iter().cloned())
            .collect();
        all.sort_by_key(|c| c.number());
        all
    }

    pub(super) fn rooms(&self) -> Vec<RoomId> {
        self.rooms.keys().copied().collect()
    }

    pub(super) fn entered_users(&self) -> Vec<UserId> {
        let entered = |(id, user): (&UserId, &ActiveUser)| user.entered().next().map(|_| *id);
        self.users.iter().filter_map(entered).collect()
    }

    pub(super) fn want(&mut self, room: RoomId, at: Instant) -> bool {
        let due = self.wants.entry(room).or_insert(at);
        *due = at.min(*due);
        true
    }

    /// What is due, which is then under way, and when the next is.
    pub(super) fn wants(&mut self, now: Instant) -> (Vec<Want>, Option<Instant>) {
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        for (room_id, at) in std::mem::take(&mut self.wants) {
            let Some(room) = self.rooms.get(&room_id) else {
                continue;
            };
            // A read that is under way looks again when it ends.
            if self.reading.contains(&room_id) {
                continue;
            }
            if at > now {
                self.wants.insert(room_id, at);
                next = Some(next.map_or(at, |n| n.min(at)));
            } else if let Some(Joining { user, .. }) = room.joining {
                self.reading.insert(room_id);
                due.push(Want::Room(room_id, user));
            } else if room.order.has_hole() || room.head > room.order.last() || room.missing {
                self.reading.insert(room_id);
                due.push(Want::Changes(room_id, room.order.last()));
            }
        }
        (due, next)
    }

    pub(super) fn want_again(&mut self, want: Want, at: Instant) {
        let (Want::Changes(room, _) | Want::Room(room, _)) = want;
        self.reading.remove(&room);
        self.want(room, at);
    }
}
