//! What this node missed: rooms that are behind their heads, and holes filled from the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use super::pass::Pass;
use super::{HEAD_WAIT, head};
use crate::model::{Event, RoomId};
use crate::protocol::hub::Head;
use crate::protocol::rest::Changes;
use crate::store::Membership;

impl Pass<'_> {
    /// After a read: asks for another if the room still has a hole.
    pub(super) fn look_again(&mut self, room_id: RoomId) {
        if let Some(room) = self.state.rooms.get(&room_id)
            && (room.order.has_hole() || room.joining.is_some() || room.head > room.order.last())
        {
            self.wants |= self.state.want(room_id, Instant::now());
        }
    }

    pub(super) fn fill(&mut self, room_id: RoomId, changes: Option<Changes>) {
        self.state.reading.remove(&room_id);
        let Some(changes) = changes else {
            self.end_purged(room_id);
            return;
        };
        if let Some(room) = self.state.rooms.get_mut(&room_id) {
            room.missing = false;
        }
        for event in changes.items {
            let Some(active) = self.state.rooms.get_mut(&room_id) else {
                return;
            };
            let seq = event.seq();
            if seq <= active.order.last() {
                continue;
            }
            self.note(&event);
            let Some(active) = self.state.rooms.get_mut(&room_id) else {
                return;
            };
            active.order.advance(seq);
            self.pass_on(event, None, None, None);
            // A join that needs the room read stops the fill: what follows it is read again after.
            if self
                .state
                .rooms
                .get(&room_id)
                .is_some_and(|r| r.order.is_paused())
            {
                return;
            }
        }
        if let Some(active) = self.state.rooms.get_mut(&room_id) {
            active.order.advance(changes.seq);
            active.head = active.head.max(changes.seq);
        }
        self.pass_on_waiting(room_id);
        self.look_again(room_id);
    }

    /// A room was deleted and purged before this node heard of it. Where it ended nobody knows any more, and no place of it
    /// can be read: it ends for who is inside at the next place, behind which nothing is missing.
    fn end_purged(&mut self, room_id: RoomId) {
        if let Some(room) = self.state.rooms.get(&room_id) {
            let seq = room.order.last().next();
            self.pass_on(Event::RoomDeleted { room_id, seq }, None, None, None);
        }
    }

    /// Has those rooms read whose heads were asked for and not found.
    pub(super) fn missing(&mut self, asked: &[RoomId], heads: &[Membership]) {
        let found: BTreeSet<RoomId> = heads.iter().map(|m| m.room_id).collect();
        for room_id in asked.iter().filter(|id| !found.contains(id)) {
            if let Some(room) = self.state.rooms.get_mut(room_id) {
                room.missing = true;
                self.wants |= self.state.want(*room_id, Instant::now() + HEAD_WAIT);
            }
        }
    }

    /// Notes where rooms stand, and has those read that still are behind after `wait`; with `tell`, whom to tell what.
    pub(super) fn heads(
        &mut self,
        heads: &[Membership],
        tell: bool,
        wait: Duration,
    ) -> Vec<(Arc<Connection>, Vec<Head>)> {
        let mut told: BTreeMap<u64, (Arc<Connection>, Vec<Head>)> = BTreeMap::new();
        for Membership { room_id, head: seq } in heads {
            let Some(room) = self.state.rooms.get_mut(room_id) else {
                continue;
            };
            room.head = room.head.max(*seq);
            if tell {
                for inside in room.inside.iter_mut().filter(|i| i.told < *seq) {
                    inside.told = *seq;
                    let connection = &inside.connection;
                    let entry = told.entry(connection.number());
                    entry
                        .or_insert_with(|| (Arc::clone(connection), Vec::new()))
                        .1
                        .push(head(*room_id, *seq));
                }
            }
            if room.head > room.order.last() {
                self.wants |= self.state.want(*room_id, Instant::now() + wait);
            }
        }
        told.into_values().collect()
    }
}
