//! What happens to the state as events pass: each is delivered, kept behind a hole, or dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::time::Instant;

use super::connection::{Connection, Pushed};
use super::flush::Dirty;
use super::order::Place;
use super::segment::{Completes, CompletionBody, Entry, Segment};
use super::state::{ActiveRoom, State, Waiting};
use super::{Delivery, FanoutStats, HOLE_WAIT};
use crate::model::{Event, Room, RoomId, UserId};

/// Work on the state under its lock: what is queued for whom, room by room.
pub(super) struct Pass<'a> {
    pub(super) state: &'a mut State,
    open: BTreeMap<RoomId, Segment>,
    dirty: Dirty,
    pub(super) wants: bool,
    stats: &'a FanoutStats,
}

impl<'a> Pass<'a> {
    pub(super) const fn new(state: &'a mut State, dirty: Dirty, stats: &'a FanoutStats) -> Self {
        Self {
            state,
            open: BTreeMap::new(),
            dirty,
            wants: false,
            stats,
        }
    }

    /// Queues what is still open; what is dirty now, and whether something is wanted from the store.
    pub(super) fn finish(mut self) -> (Dirty, bool) {
        for (room_id, segment) in std::mem::take(&mut self.open) {
            self.deliver_segment(room_id, segment);
        }
        (self.dirty, self.wants)
    }

    fn deliver_segment(&mut self, room_id: RoomId, segment: Segment) {
        self.state.segments += 1;
        let inside = self
            .state
            .rooms
            .get(&room_id)
            .map_or(&[][..], |room| &room.inside);
        let deliveries = segment.deliver(self.state.segments, inside, &mut self.dirty);
        self.stats
            .deliveries
            .fetch_add(deliveries, Ordering::Relaxed);
    }

    /// Queues what is open of one room, before who is in it changes.
    pub(super) fn close_segment(&mut self, room_id: RoomId) {
        if let Some(segment) = self.open.remove(&room_id) {
            self.deliver_segment(room_id, segment);
        }
    }

    pub(super) fn push(&mut self, connection: &Arc<Connection>, record: Bytes) {
        if connection.push([record]) == Pushed::Dirty {
            self.dirty.add(connection);
        }
    }

    pub(super) fn take(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Completion {
                room_id,
                completes,
                body,
            } => {
                self.open
                    .entry(room_id)
                    .or_default()
                    .push(Entry::Completion(completes, body));
            }
            Delivery::Event {
                event,
                completes,
                room,
            } => self.offer(event, completes, room),
        }
    }

    /// One event of a room: delivered if it is the next, kept if it lies beyond a hole.
    fn offer(&mut self, event: Event, completes: Option<Completes>, room: Option<Box<Room>>) {
        let (room_id, seq) = (event.room_id(), event.seq());
        self.note(&event);
        let Some(active) = self.state.rooms.get_mut(&room_id) else {
            return self.offer_inactive(&event, completes, room);
        };
        match active.order.place(seq) {
            Place::Next => {
                active.order.advance(seq);
                self.pass_on(event, completes, None, room);
                self.pass_on_waiting(room_id);
            }
            Place::Duplicate => {
                if let Some(completes) = completes {
                    self.complete(room_id, &event, completes);
                }
            }
            Place::Beyond => {
                // The caller is told now; the others when the hole is closed.
                let skip = completes
                    .as_ref()
                    .filter(|c| c.invocation_id.is_some())
                    .map(|c| Arc::clone(&c.connection));
                if let Some(completes) = completes {
                    self.complete(room_id, &event, completes);
                }
                if let Some(active) = self.state.rooms.get_mut(&room_id) {
                    active.order.hold(seq, Waiting { event, skip, room });
                }
                self.wants |= self.state.want(room_id, Instant::now() + HOLE_WAIT);
            }
        }
    }

    /// An event of a room that nobody here is in: it matters to the one who joins, and to the one who called.
    fn offer_inactive(
        &mut self,
        event: &Event,
        completes: Option<Completes>,
        room: Option<Box<Room>>,
    ) {
        let (room_id, seq) = (event.room_id(), event.seq());
        // Who changes a room here is in it: its join elsewhere hasn't reached this node yet, and may not before it leaves.
        let caller = completes.as_ref().map(|c| c.connection.user_id());
        if let Some(completes) = completes {
            self.complete(room_id, event, completes);
        }
        let comes = match event {
            Event::MemberJoined { member, .. } => Some(member.user_id),
            _ => caller,
        };
        if let Some(user_id) = comes
            && self
                .state
                .users
                .get(&user_id)
                .is_some_and(|u| u.entered().next().is_some())
        {
            self.state.rooms.insert(room_id, ActiveRoom::at(seq));
            self.join(room_id, user_id, seq, room);
            if let Some(active) = self.state.rooms.get_mut(&room_id)
                && let Some(joining) = &mut active.joining
            {
                joining.certain = caller.is_some();
            }
        }
        if matches!(event, Event::RoomDeleted { .. }) {
            self.tell_last_out(room_id, event);
        }
    }

    /// Tells the one whose leaving emptied the room that it is gone.
    fn tell_last_out(&mut self, room_id: RoomId, event: &Event) {
        let mut told = Vec::new();
        for user in self.state.users.values_mut() {
            if let Some(left) = user.left.remove(&room_id)
                && left.next() == event.seq()
            {
                told.extend(user.entered().cloned());
            }
        }
        for connection in told {
            let mut out = Vec::new();
            let (target, argument) = (event.kind().target(), event.argument());
            connection.wire().event(target, &argument, &mut out);
            self.push(&connection, out.into());
        }
    }

    fn complete(&mut self, room_id: RoomId, event: &Event, completes: Completes) {
        if let Event::MessageCreated(m) | Event::MessageEdited(m) | Event::MessageDeleted(m) = event
        {
            let body = CompletionBody::Message(Box::new(m.clone()));
            self.open
                .entry(room_id)
                .or_default()
                .push(Entry::Completion(completes, body));
        }
    }

    pub(super) fn pass_on_waiting(&mut self, room_id: RoomId) {
        while let Some(waiting) = self
            .state
            .rooms
            .get_mut(&room_id)
            .and_then(|r| r.order.pop_ready())
        {
            self.pass_on(waiting.event, None, waiting.skip, waiting.room);
        }
    }

    /// Queues an event that is the room's next, and obeys it.
    pub(super) fn pass_on(
        &mut self,
        event: Event,
        completes: Option<Completes>,
        skip: Option<Arc<Connection>>,
        room: Option<Box<Room>>,
    ) {
        self.stats.events.fetch_add(1, Ordering::Relaxed);
        let (room_id, seq) = (event.room_id(), event.seq());
        enum Then {
            Nothing,
            Join(UserId),
            Leave(UserId),
            Delete,
        }
        let then = match &event {
            Event::MemberJoined { member, .. } => Then::Join(member.user_id),
            Event::MemberLeft { user_id, .. } => Then::Leave(*user_id),
            Event::RoomDeleted { .. } => Then::Delete,
            _ => Then::Nothing,
        };
        let entry = match skip {
            Some(skip) => Entry::Late { event, skip },
            None => Entry::Event(event, completes),
        };
        self.open.entry(room_id).or_default().push(entry);
        match then {
            Then::Nothing => {}
            Then::Join(user) => {
                self.close_segment(room_id);
                self.join(room_id, user, seq, room);
            }
            Then::Leave(user) => {
                self.close_segment(room_id);
                if let Some(user) = self.state.users.get_mut(&user) {
                    user.leave(room_id);
                    user.left.insert(room_id, seq);
                }
                self.state
                    .leave_room(room_id, |inside| inside.connection.user_id() != user);
            }
            Then::Delete => {
                self.close_segment(room_id);
                self.drop_room(room_id);
            }
        }
    }

    pub(super) fn open(&mut self, connection: &Arc<Connection>, connected: Bytes) {
        if connection.open(connected) == Pushed::Dirty {
            self.dirty.add(connection);
        }
    }
}
