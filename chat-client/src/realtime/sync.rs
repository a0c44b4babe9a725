//! The order of events: what comes next in each room, what is a duplicate, what is missing, and when to fetch it.
//!
//! No I/O and no clock of its own: the connection's task feeds it what arrives and carries out the [`Fetch`]es that fall
//! due. Deliveries of a room go out in `seq` order, each `seq` once. While a catch-up is under way nothing else of that
//! room is delivered, so that an answer's items never overlap with live events.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use chat_core::model::{Event, Room, RoomId, Seq, UserId};
use chat_core::protocol::hub::{Connected, Head};
use tokio::time::Instant;

use super::event::{ClientEvent, Delivery, Position, Positions};
use crate::changes::{Change, ChangesPage};

/// How long a hole may stay before it is fetched: another node's event may be under way.
pub(crate) const HOLE_WAIT: Duration = Duration::from_secs(1);
/// Events held beyond a hole in one room. Those past it are fetched instead.
const HELD_PER_ROOM: usize = 256;
/// Fetches under way at once. The server answers a connection's calls one after the other anyway.
const FETCHES: usize = 4;
/// The longest pause after a fetch that failed.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// A call of `GetChanges` to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fetch {
    pub(crate) room_id: RoomId,
    pub(crate) since: Seq,
    pub(crate) from: Seq,
}

#[derive(Debug, Default)]
pub(crate) struct Sync {
    me: Option<UserId>,
    /// Whether rooms were known before the next `Connected`, so that it can be compared with them.
    has_base: bool,
    rooms: BTreeMap<RoomId, RoomSync>,
    /// When each room that needs it is fetched; mirrors `RoomSync::fetch_at`.
    due: BTreeSet<(Instant, RoomId)>,
    fetching: usize,
    out: VecDeque<Delivery>,
}

#[derive(Debug)]
struct RoomSync {
    /// All up to here was delivered.
    place: Seq,
    /// The furthest place that was heard of.
    head: Seq,
    /// Changes beyond a hole, or beyond a catch-up under way.
    held: BTreeMap<Seq, Change>,
    fetch_at: Option<Instant>,
    fetching: bool,
    catch_up: Option<CatchUp>,
    failures: u32,
    /// The user is out; only the room's deletion may still follow.
    left: bool,
}

/// A catch-up of one or more pages.
#[derive(Clone, Copy, Debug)]
struct CatchUp {
    from: Seq,
    /// Whether the discontinuity in it was told.
    told: bool,
}

impl RoomSync {
    const fn at(place: Seq) -> Self {
        Self {
            place,
            head: place,
            held: BTreeMap::new(),
            fetch_at: None,
            fetching: false,
            catch_up: None,
            failures: 0,
            left: false,
        }
    }

    fn position(&self) -> Position {
        Position {
            seq: self.place,
            from: self.catch_up.map(|c| c.from),
        }
    }

    fn begin_catch_up(&mut self) -> CatchUp {
        *self.catch_up.get_or_insert(CatchUp {
            from: self.place,
            told: false,
        })
    }
}

impl Sync {
    /// Begins at these positions.
    pub(crate) fn new(positions: &Positions) -> Self {
        let rooms = positions.rooms.iter().map(|(id, position)| {
            let mut room = RoomSync::at(position.seq);
            room.catch_up = position.from.map(|from| CatchUp { from, told: false });
            (*id, room)
        });
        Self {
            has_base: !positions.rooms.is_empty(),
            rooms: rooms.collect(),
            ..Self::default()
        }
    }

    /// What is to be told next.
    pub(crate) fn take(&mut self) -> Option<Delivery> {
        self.out.pop_front()
    }

    /// How much waits to be told.
    pub(crate) fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Puts something into the event stream that isn't about order.
    pub(crate) fn tell(&mut self, event: ClientEvent) {
        self.out.push_back(event.into());
    }

    /// A connection stands.
    pub(crate) fn connected(&mut self, connected: Connected, now: Instant) {
        self.disconnected();
        self.me = Some(connected.user_id);
        let heads = connected.rooms.clone();
        self.tell(ClientEvent::Connected(connected));

        let listed: BTreeSet<RoomId> = heads.iter().map(|h| h.id).collect();
        let gone: Vec<_> = self
            .rooms
            .iter()
            .filter(|(id, room)| room.left || !listed.contains(id))
            .map(|(id, room)| (*id, room.left))
            .collect();
        for (id, knew) in gone {
            self.forget(id);
            if !knew {
                self.tell_gone(id);
            }
        }
        for Head { id, seq } in heads {
            let Some(room) = self.rooms.get_mut(&id) else {
                self.enter(id, seq, None, self.has_base);
                continue;
            };
            room.head = room
                .held
                .keys()
                .next_back()
                .copied()
                .unwrap_or(seq)
                .max(seq);
            room.failures = 0;
            if room.place != seq || room.catch_up.is_some() {
                room.begin_catch_up();
                self.fetch_at(id, Some(now));
            } else if room.head > room.place {
                self.fetch_at(id, Some(now + HOLE_WAIT));
            }
        }
        self.has_base = true;
    }

    /// The connection is lost: its fetches won't be answered.
    pub(crate) fn disconnected(&mut self) {
        self.due.clear();
        self.fetching = 0;
        for room in self.rooms.values_mut() {
            room.fetch_at = None;
            room.fetching = false;
        }
    }

    /// The user came into a room.
    pub(crate) fn room_joined(&mut self, room: Room, now: Instant) {
        let (id, seq) = (room.id, room.seq);
        match self.rooms.get_mut(&id) {
            Some(known) if !known.left => {
                // At or below our place `Connected` told of it; beyond, our leaving before it was missed.
                if seq > known.place {
                    self.head(Head { id, seq }, now);
                }
            }
            _ => {
                self.forget(id);
                self.enter(id, seq, Some(room), true);
            }
        }
    }

    /// The server says where rooms stand.
    pub(crate) fn heads(&mut self, heads: &[Head], now: Instant) {
        for head in heads {
            self.head(*head, now);
        }
    }

    fn head(&mut self, head: Head, now: Instant) {
        let Some(room) = self.rooms.get_mut(&head.id) else {
            return;
        };
        room.head = room.head.max(head.seq);
        self.expect_more(head.id, now);
    }

    /// A change arrived, as an event or as the completion of this client's own call.
    pub(crate) fn change(&mut self, change: Change, now: Instant) {
        let (id, seq) = (change.room_id, change.seq);
        if !self.rooms.contains_key(&id) {
            // `RoomJoined` comes first; should it be lost, the room begins here.
            self.enter(id, Seq(seq.0 - 1), None, true);
        }
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        if room.left {
            if matches!(change.event, Some(Event::RoomDeleted { .. })) {
                self.deliver(id, change);
            }
            return;
        }
        room.head = room.head.max(seq);
        if seq <= room.place {
            return;
        }
        if room.catch_up.is_none() && seq == room.place.next() {
            self.deliver(id, change);
            self.drain(id);
        } else if room.held.len() < HELD_PER_ROOM {
            room.held.insert(seq, change);
        }
        self.expect_more(id, now);
    }

    /// A change arrived that there was no room for: it is fetched later.
    pub(crate) fn missed(&mut self, change: &Change, now: Instant) {
        let (id, seq) = (change.room_id, change.seq);
        self.head(Head { id, seq }, now);
    }

    /// The answer to a fetch.
    pub(crate) fn changes(&mut self, id: RoomId, page: ChangesPage, now: Instant) {
        self.fetched(id);
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        room.failures = 0;
        let stood = room.place;
        let mut catch_up = room.begin_catch_up();
        if !page.complete && !catch_up.told {
            catch_up.told = true;
            self.out.push_back(
                ClientEvent::Discontinuity {
                    room_id: id,
                    after: stood,
                    seq: page.seq,
                }
                .into(),
            );
        }
        room.catch_up = Some(catch_up);
        for change in page.items {
            match self.rooms.get(&id) {
                Some(room) if !room.left && change.seq > room.place => self.deliver(id, change),
                _ => {}
            }
        }
        let Some(room) = self.rooms.get_mut(&id).filter(|room| !room.left) else {
            return;
        };
        if page.complete {
            room.place = room.place.max(page.seq);
        } else if page.seq < room.place {
            // Restored from a backup: what we heard of beyond its head never was.
            room.held.clear();
            room.place = page.seq;
            room.head = page.seq;
        } else {
            room.place = page.seq;
        }
        room.head = room.head.max(room.place);
        room.held = room.held.split_off(&room.place.next());
        // A page that leads nowhere would be asked for for ever.
        let more = page.has_more && room.place > stood;
        if !more {
            room.catch_up = None;
        }
        let position = room.position();
        self.out.push_back(Delivery {
            event: None,
            position: Some((id, Some(position))),
        });
        if more {
            self.fetch_at(id, Some(now));
        } else {
            self.drain(id);
            self.expect_more(id, now);
        }
    }

    /// A fetch was refused, or not answered.
    pub(crate) fn changes_failed(
        &mut self,
        id: RoomId,
        gone: bool,
        retry_after: Option<Duration>,
        now: Instant,
    ) {
        self.fetched(id);
        let Some(room) = self.rooms.get_mut(&id).filter(|room| !room.left) else {
            return;
        };
        if gone {
            self.forget(id);
            self.tell_gone(id);
            return;
        }
        let pause = HOLE_WAIT * 2_u32.saturating_pow(room.failures);
        room.failures = room.failures.saturating_add(1);
        let pause = pause.min(RETRY_MAX).max(retry_after.unwrap_or_default());
        self.fetch_at(id, Some(now + pause));
    }

    /// A fetch that is due now. Each is to be answered by [`changes`](Self::changes) or
    /// [`changes_failed`](Self::changes_failed), or ended by [`disconnected`](Self::disconnected).
    pub(crate) fn fetch(&mut self, now: Instant) -> Option<Fetch> {
        if self.fetching >= FETCHES {
            return None;
        }
        let (at, id) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.fetch_at(id, None);
        let room = self.rooms.get_mut(&id)?;
        room.fetching = true;
        self.fetching += 1;
        Some(Fetch {
            room_id: id,
            since: room.place,
            from: room.begin_catch_up().from,
        })
    }

    /// When the next fetch falls due.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        if self.fetching >= FETCHES {
            return None;
        }
        self.due.first().map(|(at, _)| *at)
    }

    /// Starts a room at `seq`.
    fn enter(&mut self, id: RoomId, seq: Seq, room: Option<Room>, tell: bool) {
        let sync = RoomSync::at(seq);
        let position = Some((id, Some(sync.position())));
        self.rooms.insert(id, sync);
        self.out.push_back(Delivery {
            event: tell.then_some(ClientEvent::RoomJoined {
                room_id: id,
                seq,
                room,
            }),
            position,
        });
    }

    fn forget(&mut self, id: RoomId) {
        self.fetch_at(id, None);
        self.fetched(id);
        self.rooms.remove(&id);
    }

    fn tell_gone(&mut self, id: RoomId) {
        self.out.push_back(Delivery {
            event: Some(ClientEvent::RoomGone { room_id: id }),
            position: Some((id, None)),
        });
    }

    /// Tells a change, which the room then stands at.
    fn deliver(&mut self, id: RoomId, change: Change) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        room.place = change.seq;
        let out = matches!(&change.event,
            Some(Event::MemberLeft { user_id, .. }) if Some(*user_id) == self.me);
        let deleted = matches!(&change.event, Some(Event::RoomDeleted { .. }));
        let position = (!out && !deleted && !room.left).then(|| room.position());
        if out {
            room.left = true;
            room.catch_up = None;
            room.held
                .retain(|_, c| matches!(c.event, Some(Event::RoomDeleted { .. })));
        }
        self.out.push_back(Delivery {
            event: change.event.map(ClientEvent::Event),
            position: Some((id, position)),
        });
        if deleted {
            self.forget(id);
        } else if out {
            self.fetch_at(id, None);
        }
    }

    /// Tells what is held and comes next.
    fn drain(&mut self, id: RoomId) {
        while let Some(room) = self.rooms.get_mut(&id)
            && room.catch_up.is_none()
            && let Some(change) = room.held.remove(&room.place.next())
        {
            self.deliver(id, change);
        }
    }

    /// Plans a fetch if the room has a hole, or drops the plan if it has none.
    fn expect_more(&mut self, id: RoomId, now: Instant) {
        let Some(room) = self.rooms.get(&id) else {
            return;
        };
        if room.left || room.fetching || room.catch_up.is_some() {
            return;
        }
        if room.head <= room.place {
            self.fetch_at(id, None);
        } else if room.fetch_at.is_none() {
            self.fetch_at(id, Some(now + HOLE_WAIT));
        }
    }

    fn fetch_at(&mut self, id: RoomId, at: Option<Instant>) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        if let Some(before) = room.fetch_at {
            self.due.remove(&(before, id));
        }
        room.fetch_at = at;
        self.due.extend(at.map(|at| (at, id)));
    }

    /// A room's fetch is over.
    fn fetched(&mut self, id: RoomId) {
        if let Some(room) = self.rooms.get_mut(&id)
            && room.fetching
        {
            room.fetching = false;
            self.fetching -= 1;
        }
    }
}

#[cfg(test)]
mod tests;
