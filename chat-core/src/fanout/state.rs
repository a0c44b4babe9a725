//! Which connection is in which room, and what happens to that as events pass.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::time::Instant;

use super::connection::{Connection, End, Pushed};
use super::flush::Dirty;
use super::order::{Order, Place};
use super::segment::{Completes, CompletionBody, Entry, Segment};
use super::{Delivery, FanoutStats, HEAD_WAIT, HOLE_WAIT, Inside, head};
use crate::model::{Event, Room, RoomId, Seq, UserId};
use crate::protocol::hub::{self, ClosingReason, Head, target};
use crate::protocol::rest::Changes;
use crate::store::Membership;

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
    rooms: BTreeMap<RoomId, ActiveRoom>,
    users: BTreeMap<UserId, ActiveUser>,
    /// What is to be read, by when; one thing a room at a time.
    wants: BTreeMap<RoomId, Instant>,
    /// Rooms for which a read is under way.
    reading: BTreeSet<RoomId>,
    segments: u64,
}

/// A room that a connection of this node is in.
#[derive(Debug)]
struct ActiveRoom {
    order: Order<Waiting>,
    inside: Vec<Inside>,
    /// The one whose join waits for the room to be read.
    joining: Option<Joining>,
    /// The store said that the room stands here.
    head: Seq,
    /// The store said that there is no such room, and wasn't asked for its changes since.
    missing: bool,
}

/// Someone who comes into a room.
#[derive(Clone, Copy, Debug)]
struct Joining {
    user: UserId,
    /// The place from which on it hears of the room.
    seq: Seq,
    /// It is in at that place for certain: an event alone may be an old copy.
    certain: bool,
}

/// An event behind a hole.
#[derive(Debug)]
struct Waiting {
    event: Event,
    /// Who has had it as a completion.
    skip: Option<Arc<Connection>>,
    room: Option<Box<Room>>,
}

/// A user with a connection on this node.
#[derive(Debug, Default)]
struct ActiveUser {
    connections: Vec<Arc<Connection>>,
    /// Connections among them that are registered and not entered.
    entering: Vec<u64>,
    rooms: BTreeSet<RoomId>,
    /// Joins (true) and leaves seen while a connection enters, with their places: newer than what it read, perhaps.
    seen: BTreeMap<RoomId, (Seq, bool)>,
    /// Rooms that the user left, and where: the last one out is still told that the room is gone.
    left: BTreeMap<RoomId, Seq>,
}

impl ActiveUser {
    fn entered(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.connections
            .iter()
            .filter(|c| !self.entering.contains(&c.number()))
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
    fn leave_room(&mut self, room_id: RoomId, keep: impl Fn(&Inside) -> bool) {
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

    fn want(&mut self, room: RoomId, at: Instant) -> bool {
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

/// Work on the state under its lock: what is queued for whom, room by room.
pub(super) struct Pass<'a> {
    state: &'a mut State,
    open: BTreeMap<RoomId, Segment>,
    dirty: Dirty,
    wants: bool,
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
    fn close_segment(&mut self, room_id: RoomId) {
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
            let active = ActiveRoom {
                order: Order::new(seq),
                inside: Vec::new(),
                joining: None,
                head: seq,
                missing: false,
            };
            self.state.rooms.insert(room_id, active);
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

    /// Notes joins and leaves of users with a connection that is about to enter.
    fn note(&mut self, event: &Event) {
        let (user_id, joined) = match event {
            Event::MemberJoined { member, .. } => (member.user_id, true),
            Event::MemberLeft { user_id, .. } => (*user_id, false),
            Event::RoomDeleted { room_id, seq } => {
                for user in self
                    .state
                    .users
                    .values_mut()
                    .filter(|u| !u.entering.is_empty())
                {
                    user.seen.insert(*room_id, (*seq, false));
                }
                return;
            }
            _ => return,
        };
        if let Some(user) = self.state.users.get_mut(&user_id)
            && !user.entering.is_empty()
        {
            let seen = user
                .seen
                .entry(event.room_id())
                .or_insert((event.seq(), joined));
            if event.seq() >= seen.0 {
                *seen = (event.seq(), joined);
            }
        }
    }

    fn pass_on_waiting(&mut self, room_id: RoomId) {
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
    fn pass_on(
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
                    user.rooms.remove(&room_id);
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

    fn drop_room(&mut self, room_id: RoomId) {
        if let Some(room) = self.state.rooms.remove(&room_id) {
            for Inside { connection, .. } in room.inside {
                if let Some(user) = self.state.users.get_mut(&connection.user_id()) {
                    user.rooms.remove(&room_id);
                }
            }
        }
        self.state.wants.remove(&room_id);
    }

    /// A room was deleted and purged before this node heard of it. Where it ended nobody knows any more, so it can't be
    /// told as an event: who is inside connects anew and finds it missing in `Connected`.
    fn end_purged(&mut self, room_id: RoomId) {
        if let Some(room) = self.state.rooms.get(&room_id) {
            for inside in &room.inside {
                inside.connection.close(End::Closing(ClosingReason::Slow));
            }
        }
        self.drop_room(room_id);
    }

    /// Lets a user's connections into a room, and tells all of them; or has the room read first.
    fn join(&mut self, room_id: RoomId, user_id: UserId, seq: Seq, room: Option<Box<Room>>) {
        let Some(user) = self.state.users.get_mut(&user_id) else {
            return;
        };
        if user.rooms.contains(&room_id) {
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
        for connection in user.connections.clone() {
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
        let entered: Vec<_> = user.entered().cloned().collect();
        if !entered.is_empty() {
            user.rooms.insert(room_id);
        }
        if let Some(active) = self.state.rooms.get_mut(&room_id) {
            active
                .inside
                .extend(entered.into_iter().map(|connection| Inside {
                    connection,
                    told: seq,
                }));
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

    /// After a read: asks for another if the room still has a hole.
    fn look_again(&mut self, room_id: RoomId) {
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
                    .or_insert_with(|| ActiveRoom {
                        order: Order::new(seq),
                        inside: Vec::new(),
                        joining: None,
                        head: seq,
                        missing: false,
                    });
                let told = active.order.last().max(seq);
                active.inside.push(Inside {
                    connection: Arc::clone(connection),
                    told,
                });
                head(room_id, told)
            })
            .collect()
    }

    pub(super) fn open(&mut self, connection: &Arc<Connection>, connected: Bytes) {
        if connection.open(connected) == Pushed::Dirty {
            self.dirty.add(connection);
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

    /// Notes where rooms stand; with `tell`, whom to tell what.
    pub(super) fn heads(
        &mut self,
        heads: &[Membership],
        tell: bool,
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
                // Most often the deliveries are on their way: a moment later the room stands there by itself.
                self.wants |= self.state.want(*room_id, Instant::now() + HEAD_WAIT);
            }
        }
        told.into_values().collect()
    }
}
