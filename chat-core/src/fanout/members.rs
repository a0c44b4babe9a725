//! Who is in a room: connections that enter, joins and leaves, and joins whose event was lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::connection::Connection;
use super::pass::Pass;
use super::state::{ActiveRoom, Joining};
use super::{Inside, head};
use crate::model::{Event, Room, RoomId, Seq, UserId};
use crate::protocol::hub::{self, Head, target};
use crate::store::{Joined, Membership};

impl Pass<'_> {
    /// Notes joins and leaves of users with a connection that is about to enter.
    pub(super) fn note(&mut self, event: &Event) {
        let (user_id, joined) = match event {
            Event::MemberJoined { member, .. } => (member.user_id, true),
            Event::MemberLeft { user_id, .. } => (*user_id, false),
            Event::RoomDeleted { room_id, seq } => {
                for user in self.state.users.values_mut() {
                    user.note(*room_id, *seq, false);
                }
                return;
            }
            _ => return,
        };
        if let Some(user) = self.state.users.get_mut(&user_id) {
            user.note(event.room_id(), event.seq(), joined);
        }
    }

    pub(super) fn drop_room(&mut self, room_id: RoomId) {
        if let Some(room) = self.state.rooms.remove(&room_id) {
            for Inside { connection, .. } in room.inside {
                if let Some(user) = self.state.users.get_mut(&connection.user_id()) {
                    user.leave(room_id);
                }
            }
        }
        self.state.wants.remove(&room_id);
    }

    /// Lets a user's connections into a room, and tells all of them; or has the room read first.
    pub(super) fn join(
        &mut self,
        room_id: RoomId,
        user_id: UserId,
        seq: Seq,
        room: Option<Box<Room>>,
    ) {
        let Some(user) = self.state.users.get_mut(&user_id) else {
            return;
        };
        if user.rooms.contains(&room_id) && !user.untold.contains(&room_id) {
            return;
        }
        let Some(room) = room else {
            if let Some(active) = self.state.rooms.get_mut(&room_id) {
                active.joining = Some(Joining {
                    user: user_id,
                    seq,
                    certain: false,
                });
                active.order.pause();
            }
            self.wants |= self.state.want(room_id, Instant::now());
            return;
        };
        let joined = hub::RoomJoined {
            room: Room { seq, ..*room },
        };
        // What a connection read that enters just now may be older than this.
        user.note(room_id, seq, true);
        let mut outside = user.connections.clone();
        if let Some(active) = self.state.rooms.get(&room_id) {
            outside.retain(|connection| !active.has(connection));
        }
        for connection in outside {
            let mut out = Vec::new();
            connection
                .wire()
                .event(target::ROOM_JOINED, &joined, &mut out);
            self.push(&connection, out.into());
        }
        self.let_in(room_id, user_id, seq);
    }

    /// Has a user's connections hear what comes after `seq` in a room.
    fn let_in(&mut self, room_id: RoomId, user_id: UserId, seq: Seq) {
        let Some(user) = self.state.users.get_mut(&user_id) else {
            return;
        };
        user.left.remove(&room_id);
        user.untold.remove(&room_id);
        let mut outside: Vec<_> = user.entered().cloned().collect();
        if !outside.is_empty() {
            user.rooms.insert(room_id);
        }
        if let Some(active) = self.state.rooms.get_mut(&room_id) {
            outside.retain(|connection| !active.has(connection));
            let inside = outside.into_iter().map(|connection| Inside {
                connection,
                told: seq,
            });
            active.inside.extend(inside);
        }
    }

    /// The room that a waiting join needed.
    pub(super) fn joined(&mut self, room_id: RoomId, user_id: UserId, room: Option<Room>) {
        self.state.reading.remove(&room_id);
        let Some(active) = self.state.rooms.get_mut(&room_id) else {
            return;
        };
        let Some(joining) = active.joining.take_if(|j| j.user == user_id) else {
            return;
        };
        let seq = joining.seq;
        active.order.resume();
        match room {
            Some(room) => self.join(room_id, user_id, seq, Some(Box::new(room))),
            // Out again already: it hears the rest, up to its own leaving.
            None if joining.certain => self.let_in(room_id, user_id, seq),
            None => {}
        }
        self.pass_on_waiting(room_id);
        self.state.leave_room(room_id, |_| true);
        self.look_again(room_id);
    }

    /// Has users join where the store says that they did, if the event of it was lost or this node let it pass as a
    /// duplicate: in rooms that nobody here is in, no later event tells of it.
    pub(super) fn heal_joins(&mut self, joined: &[Joined]) {
        for Joined {
            user_id,
            room_id,
            seq,
        } in joined
        {
            let missed = self.state.users.get(user_id).is_some_and(|user| {
                user.entered().next().is_some()
                    && (!user.rooms.contains(room_id) || user.untold.contains(room_id))
            });
            if !missed || self.state.reading.contains(room_id) {
                continue;
            }
            let active = self.state.rooms.entry(*room_id);
            let active = active.or_insert_with(|| ActiveRoom::at(*seq));
            // A join beyond the room's place comes by filling the hole before it; one while another waits, next time.
            if *seq <= active.order.last() && !active.order.is_paused() {
                // Without its room: that is read now, since what is told here may be out of date already.
                self.join(*room_id, *user_id, *seq, None);
            }
        }
    }

    /// Puts a registered connection into its rooms; where each stands.
    pub(super) fn enter(
        &mut self,
        connection: &Arc<Connection>,
        memberships: &[Membership],
    ) -> Vec<Head> {
        let Some(user) = self.state.users.get_mut(&connection.user_id()) else {
            return Vec::new();
        };
        let mut rooms: BTreeMap<RoomId, Seq> =
            memberships.iter().map(|m| (m.room_id, m.head)).collect();
        for (room_id, (seq, joined)) in &user.seen {
            if rooms.get(room_id).is_none_or(|head| seq > head) {
                if *joined {
                    rooms.insert(*room_id, *seq);
                } else {
                    rooms.remove(room_id);
                }
            }
        }
        user.entering.retain(|n| *n != connection.number());
        if user.entering.is_empty() {
            user.seen.clear();
        }
        if user.entered().nth(1).is_some() {
            let unheard = rooms.keys().filter(|id| !user.rooms.contains(id));
            user.untold.extend(unheard.copied());
        }
        user.rooms.extend(rooms.keys().copied());
        rooms
            .into_iter()
            .map(|(room_id, seq)| {
                // What was delivered before this moment is in the database, and the client catches it up from its place.
                self.close_segment(room_id);
                let active = self
                    .state
                    .rooms
                    .entry(room_id)
                    .or_insert_with(|| ActiveRoom::at(seq));
                let told = active.order.last().max(seq);
                active.inside.push(Inside {
                    connection: Arc::clone(connection),
                    told,
                });
                head(room_id, told)
            })
            .collect()
    }
}
