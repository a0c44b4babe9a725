//! Fan-out: from committed events to the connections of those who are in the room.
//!
//! `deliver` is the only way in, for local, remote and hole-filled events alike; it is idempotent by
//! `(room, seq)`. Per room a batch becomes one segment, encoded once for each kind of wire (`segment`); each member's
//! queue gets one reference to it (`connection`); then one task a core writes what is queued (`flush`). Who is in a room
//! changes here by the events themselves: `MemberJoined` before what follows it, `MemberLeft` after it was sent.
//!
//! The state is behind one mutex that is held for a batch and never across an await.

mod catch_up;
mod connection;
mod flush;
mod frame;
mod members;
mod order;
mod pass;
mod segment;
mod state;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use self::connection::{Connection, DirectWrite, End};
use self::flush::Flushers;
pub use self::frame::{Framing, Wire};
use self::pass::Pass;
pub(crate) use self::segment::{Completes, CompletionBody};
use self::state::State;
pub(crate) use self::state::Want;
use crate::bus::Interest;
use crate::model::{Event, Room, RoomId, Seq, Timestamp, UserId};
use crate::protocol::hub::{self, Head, target};
use crate::protocol::rest::Changes;
use crate::store::{Joined, Membership};

/// How long an event beyond a hole waits for the bus before the store is asked.
const HOLE_WAIT: Duration = Duration::from_millis(20);
/// How long a room that is behind its head waits for its deliveries before the store is asked.
const HEAD_WAIT: Duration = Duration::from_millis(250);

/// Something to deliver.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// An event, with the call that it completes.
    Event {
        /// The event.
        event: Event,
        /// The call that caused it, if it came over the hub.
        completes: Option<Completes>,
        /// With `MemberJoined`: the room as the joiner sees it. Without, it is read from the store if someone waits for it.
        room: Option<Box<Room>>,
    },
    /// The completion of a call that changed nothing, in its place among the room's events.
    Completion {
        /// The room that the call was about.
        room_id: RoomId,
        /// The call.
        completes: Completes,
        /// What it is told.
        body: CompletionBody,
    },
}

/// A connection that is in a room.
#[derive(Debug)]
struct Inside {
    connection: Arc<Connection>,
    /// The head it was last told of.
    told: Seq,
}

/// What the fan-out has counted since it began.
#[derive(Debug, Default)]
pub struct FanoutStats {
    connections: AtomicU64,
    deliveries: AtomicU64,
    events: AtomicU64,
    fills: AtomicU64,
    slow: AtomicU64,
}

impl FanoutStats {
    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Segments queued for a connection.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.deliveries.load(Ordering::Relaxed)
    }

    /// Events delivered to rooms that someone here is in.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Holes filled from the store.
    #[must_use]
    pub fn fills(&self) -> u64 {
        self.fills.load(Ordering::Relaxed)
    }

    /// Connections that were closed because they didn't keep up, and are gone.
    #[must_use]
    pub fn slow(&self) -> u64 {
        self.slow.load(Ordering::Relaxed)
    }
}

/// Rooms → connections, on this node.
#[derive(Debug)]
pub struct Fanout {
    state: Mutex<State>,
    flushers: Flushers,
    /// Wakes the task that reads what the fan-out wants from the store.
    wanted: Notify,
    stats: FanoutStats,
    next_number: AtomicU64,
    joins_in_doubt: AtomicBool,
}

impl Fanout {
    /// A fan-out without connections, which writes with `cores` tasks.
    pub(crate) fn new(cores: usize) -> Self {
        Self {
            state: Mutex::default(),
            flushers: Flushers::new(cores),
            wanted: Notify::new(),
            stats: FanoutStats::default(),
            next_number: AtomicU64::new(1),
            joins_in_doubt: AtomicBool::new(false),
        }
    }

    /// The tasks that write: futures that run until dropped.
    pub(crate) fn flushers(
        &self,
    ) -> impl Iterator<Item = impl Future<Output = ()> + Send + 'static> {
        self.flushers.run()
    }

    /// A number for a new [`Connection`].
    pub fn number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// What it has counted.
    #[must_use]
    pub const fn stats(&self) -> &FanoutStats {
        &self.stats
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on the state and flushes what it queued.
    fn pass<T>(&self, work: impl FnOnce(&mut Pass<'_>) -> T) -> T {
        let mut state = self.lock();
        let mut pass = Pass::new(&mut state, self.flushers.dirty(), &self.stats);
        let answer = work(&mut pass);
        let (dirty, wants) = pass.finish();
        drop(state);
        self.flushers.submit(dirty);
        if wants {
            self.wanted.notify_one();
        }
        answer
    }

    /// Delivers a batch: each item in its place, then one flush.
    pub(crate) fn deliver(&self, batch: impl IntoIterator<Item = Delivery>) {
        self.pass(|pass| {
            for delivery in batch {
                pass.take(delivery);
            }
        });
    }

    // ---- connections ----

    /// Registers a connection under its user, before its memberships are read: from here on joins and leaves of the user
    /// are noted for it.
    pub fn register(&self, connection: &Arc<Connection>) {
        self.lock().register(connection);
        self.stats.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Enters a registered connection into its user's rooms and queues `Connected` in front of what arrived meanwhile.
    /// `memberships` was read after [`Fanout::register`], in one snapshot.
    pub fn enter(&self, connection: &Arc<Connection>, memberships: &[Membership], now: Timestamp) {
        self.pass(|pass| {
            let rooms = pass.enter(connection, memberships);
            let connected = hub::Connected {
                user_id: connection.user_id(),
                connection_id: connection.public_id().to_owned(),
                server_time: now,
                rooms,
            };
            let mut out = Vec::new();
            connection
                .wire()
                .event(target::CONNECTED, &connected, &mut out);
            pass.open(connection, out.into());
        });
    }

    /// Takes a connection out, entered or not.
    pub fn remove(&self, connection: &Arc<Connection>) {
        connection.shut();
        if self.lock().remove(connection) {
            self.stats.connections.fetch_sub(1, Ordering::Relaxed);
            let slow = u64::from(connection.was_slow());
            self.stats.slow.fetch_add(slow, Ordering::Relaxed);
        }
    }

    /// All connections, in the order of their numbers.
    #[must_use]
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        self.lock().connections()
    }

    /// Closes the connections that live by this session, and lets those that moved on from it take its tokens no more.
    pub(crate) fn close_session(&self, session: &str) {
        for connection in self.connections() {
            if connection.lives_by(session) {
                connection.close(End::Closing(hub::ClosingReason::SessionEnded));
            } else {
                connection.forget_session(session);
            }
        }
    }

    /// Closes all of a user's connections: the account is gone.
    pub(crate) fn close_user(&self, user: UserId) {
        for connection in self.connections() {
            if connection.user_id() == user {
                connection.close(End::Closing(hub::ClosingReason::SessionEnded));
            }
        }
    }

    /// Once a second: pings, and ends connections that are silent, stuck or past their token.
    pub(crate) fn tick(&self, wall: Timestamp) {
        let now = Instant::now();
        let mut pings: Vec<(Wire, Bytes)> = Vec::new();
        for connection in self.connections() {
            let wire = connection.wire();
            let at = pings
                .iter()
                .position(|(w, _)| *w == wire)
                .unwrap_or_else(|| {
                    let mut ping = Vec::new();
                    wire.framing
                        .frame(&mut ping, |out| out.extend_from_slice(wire.encoding.ping()));
                    pings.push((wire, ping.into()));
                    pings.len() - 1
                });
            connection.tick(now, wall, &pings[at].1);
        }
    }

    // ---- holes, heads and lost joins ----

    /// The rooms that someone here is in, in the order of their ids.
    pub(crate) fn rooms(&self) -> Vec<RoomId> {
        self.lock().rooms()
    }

    /// What the store says of the heads of the rooms asked for: connections are told of those that moved, and rooms that
    /// stay behind, or aren't there any more, are filled.
    pub(crate) fn heads(&self, asked: &[RoomId], heads: &[Membership], tell: bool) {
        self.pass(|pass| {
            pass.missing(asked, heads);
            // Most often the deliveries are on their way: a moment later the room stands there by itself.
            for (connection, rooms) in pass.heads(heads, tell, HEAD_WAIT) {
                let mut out = Vec::new();
                connection
                    .wire()
                    .event(target::HEADS, &hub::Heads { rooms }, &mut out);
                pass.push(&connection, out.into());
            }
        });
    }

    /// What a bus without content says of a room's head: what is behind it is read, at once if another node wrote it.
    pub(crate) fn head(&self, head: Membership, own: bool) {
        let wait = if own { HOLE_WAIT } else { Duration::ZERO };
        self.pass(|pass| {
            pass.heads(&[head], false, wait);
        });
    }

    /// The users with a connection that has entered, in the order of their ids.
    pub(crate) fn users(&self) -> Vec<UserId> {
        self.lock().entered_users()
    }

    /// What the store says of where users joined: those who are in a room and didn't hear of it come in now.
    pub(crate) fn heal_joins(&self, joined: &[Joined]) {
        self.pass(|pass| pass.heal_joins(joined));
    }

    /// Events of this node's own may never be delivered, a join perhaps: where users joined is to be read again.
    pub(crate) fn doubt_joins(&self) {
        self.joins_in_doubt.store(true, Ordering::Release);
    }

    /// Whether joins were in doubt since the last time.
    pub(crate) fn take_doubt(&self) -> bool {
        self.joins_in_doubt.swap(false, Ordering::AcqRel)
    }

    /// Waits until something is wanted from the store, and answers it.
    pub(crate) async fn wants(&self) -> Vec<Want> {
        loop {
            let (due, next) = self.lock().wants(Instant::now());
            if !due.is_empty() {
                return due;
            }
            tokio::select! {
                biased;
                () = self.wanted.notified() => {}
                () = async { match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                } } => {}
            }
        }
    }

    /// A page of what changed after the room's place, read by a node: its items are delivered, and the room stands at its
    /// `seq`. `None`: there is no such room any more.
    pub(crate) fn fill(&self, room: RoomId, changes: Option<Changes>) {
        self.stats.fills.fetch_add(1, Ordering::Relaxed);
        self.pass(|pass| pass.fill(room, changes));
    }

    /// The room that a joiner sees, for a join that came without it; `None`: the joiner is out again.
    pub(crate) fn joined(&self, room_id: RoomId, user: UserId, room: Option<Room>) {
        self.pass(|pass| pass.joined(room_id, user, room));
    }

    /// The store couldn't be read: the want is tried again after a while.
    pub(crate) fn want_again(&self, want: Want) {
        self.lock().want_again(want, Instant::now() + HEAD_WAIT);
        self.wanted.notify_one();
    }
}

impl Interest for Fanout {
    fn follows(&self, room: RoomId) -> bool {
        self.lock().rooms.contains_key(&room)
    }
}

/// A `Heads` record's entry.
const fn head(id: RoomId, seq: Seq) -> Head {
    Head { id, seq }
}
