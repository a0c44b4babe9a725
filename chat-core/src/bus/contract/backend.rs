//! A bus under test, nodes on it, and the acts that the tests begin with.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::bus::{BusError, EventBus, Hint, Interest, News, Subscription};
use crate::model::limits::Limits;
use crate::model::{Event, RoomId, Seq, Timestamp, UserId};
use crate::store::{Change, CommitContext, Outcome, Reader, Store};

/// How long after a failure a node tries again.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

type Act = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A bus under test, with a store that its nodes share.
pub struct Backend {
    /// The nodes' store.
    pub(super) store: Arc<dyn Store>,
    connect: Box<dyn Fn() -> Arc<dyn EventBus> + Send + Sync>,
    outage: Option<(Act, Act)>,
    /// What must live as long as the bus: a server, a database.
    _kept: Option<Box<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Backend").field(&self.store).finish()
    }
}

impl Backend {
    /// A store without rooms, and how each node gets its own end of one bus, on which nothing was published yet.
    pub fn new(
        store: Arc<dyn Store>,
        connect: impl Fn() -> Arc<dyn EventBus> + Send + Sync + 'static,
    ) -> Self {
        Self {
            store,
            connect: Box::new(connect),
            outage: None,
            _kept: None,
        }
    }

    /// Keeps `value` until the test is over: a server, say.
    #[must_use]
    pub fn keeping(mut self, value: impl Any + Send + Sync) -> Self {
        self._kept = Some(Box::new(value));
        self
    }

    /// How the bus is taken away, and how it comes back.
    #[must_use]
    pub fn stopped_by<S, R>(
        mut self,
        stop: impl Fn() -> S + Send + Sync + 'static,
        resume: impl Fn() -> R + Send + Sync + 'static,
    ) -> Self
    where
        S: Future<Output = ()> + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.outage = Some((
            Box::new(move || Box::pin(stop())),
            Box::new(move || Box::pin(resume())),
        ));
        self
    }

    fn outage(&self) -> &(Act, Act) {
        let outage = self.outage.as_ref();
        outage.expect("a backend under bus_outage_contract! says how with Backend::stopped_by")
    }

    /// Takes the bus away.
    pub(super) async fn stop(&self) {
        self.outage().0().await;
    }

    /// Has the bus come back.
    pub(super) async fn resume(&self) {
        self.outage().1().await;
    }

    /// A node's end of the bus, which was reached.
    pub(super) async fn bus(&self) -> Arc<dyn EventBus> {
        let bus = self.unreached();
        until_done(async || bus.reach().await).await;
        bus
    }

    /// A node's end of the bus.
    pub(super) fn unreached(&self) -> Arc<dyn EventBus> {
        (self.connect)()
    }

    /// A node that follows all rooms.
    pub(super) async fn node(&self) -> Node {
        self.node_that_follows(None).await
    }

    /// A node that follows these rooms and those that someone joins; `None`: all.
    pub(super) async fn node_that_follows(&self, rooms: Option<BTreeSet<RoomId>>) -> Node {
        Node::begin(self.bus().await, Arc::clone(&self.store), rooms).await
    }

    async fn commit(&self, changes: &[Change]) -> Vec<(Vec<Event>, Outcome)> {
        let ctx = CommitContext {
            at: Timestamp::from_millis(1_000),
            limits: Limits::default(),
            outbox: None,
        };
        let answers = self.store.commit(&ctx, changes).await;
        let answers = answers.expect("the store answers").into_iter();
        let done = |answer: Result<_, _>| answer.expect("nothing forbids it");
        answers
            .map(done)
            .map(|committed| (committed.events, committed.outcome))
            .collect()
    }

    /// A user of that name.
    pub(super) async fn user(&self, name: &str) -> UserId {
        let at = Timestamp::from_millis(0);
        let user = self.store.identify("contract", name, name, at).await;
        user.expect("the store answers").expect("a user")
    }

    /// A room of one, and the event of its making.
    pub(super) async fn room(&self, by: UserId) -> (RoomId, Event) {
        let name = "Kitchen".to_owned();
        let (mut events, outcome) = self
            .commit(&[Change::CreateRoom { by, name }])
            .await
            .remove(0);
        match outcome {
            Outcome::Room(room) => (room.id, events.remove(0)),
            other => panic!("a room, not {other:?}"),
        }
    }

    /// Sends messages into a room; their events.
    pub(super) async fn say(
        &self,
        room_id: RoomId,
        sender_id: UserId,
        contents: impl IntoIterator<Item = String>,
    ) -> Vec<Event> {
        let sends: Vec<_> = contents
            .into_iter()
            .map(|content| Change::SendMessage {
                room_id,
                sender_id,
                content,
                client_message_id: None,
            })
            .collect();
        let committed = self.commit(&sends).await;
        committed
            .into_iter()
            .flat_map(|(events, _)| events)
            .collect()
    }

    /// Lets someone into a room; the event of it.
    pub(super) async fn admit(&self, room_id: RoomId, by: UserId, user_id: UserId) -> Event {
        let token_hash = [u8::try_from(user_id.0 % 250).unwrap_or(0); 32];
        let changes = [
            Change::CreateInvite {
                room_id,
                by,
                token_hash,
                expires_at: Timestamp::from_millis(1_000_000),
                max_uses: None,
            },
            Change::AcceptInvite {
                room_id,
                user_id,
                token_hash,
            },
        ];
        let committed = self.commit(&changes).await;
        let mut events = committed.into_iter().flat_map(|(events, _)| events);
        events.next().expect("an event of the join")
    }
}

/// Does something until it succeeds, as the relay does.
pub(super) async fn until_done<T>(act: impl AsyncFn() -> Result<T, BusError>) -> T {
    loop {
        match act().await {
            Ok(done) => return done,
            Err(_) => sleep(AGAIN_AFTER).await,
        }
    }
}

/// The rooms that a node follows; it grows as people join.
struct Follows(Mutex<Option<BTreeSet<RoomId>>>);

impl Interest for Follows {
    fn follows(&self, room: RoomId) -> bool {
        let rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.as_ref().is_none_or(|rooms| rooms.contains(&room))
    }
}

/// A node: what it knows of each room by what the bus told it, and by what it read because of that.
pub(super) struct Node {
    pub(super) bus: Arc<dyn EventBus>,
    store: Arc<dyn Store>,
    follows: Arc<Follows>,
    subscription: Box<dyn Subscription>,
    /// Each room's events by their places.
    pub(super) known: BTreeMap<RoomId, BTreeMap<Seq, Event>>,
    /// Users who were said to have joined, with the room.
    pub(super) joined: BTreeSet<(UserId, RoomId)>,
    pub(super) hints: Vec<Hint>,
    /// Whether news may have been missed since this was last cleared.
    pub(super) missed: bool,
    /// The rooms that the bus named, in its order and with their places, each time.
    pub(super) named: Vec<(RoomId, Seq)>,
}

impl Node {
    async fn begin(
        bus: Arc<dyn EventBus>,
        store: Arc<dyn Store>,
        rooms: Option<BTreeSet<RoomId>>,
    ) -> Self {
        let follows = Arc::new(Follows(Mutex::new(rooms)));
        let interest = Arc::clone(&follows);
        let subscription = until_done(async || {
            bus.subscribe(Some(Arc::clone(&interest) as Arc<dyn Interest>))
                .await
        });
        Self {
            subscription: subscription.await,
            bus,
            store,
            follows,
            known: BTreeMap::new(),
            joined: BTreeSet::new(),
            hints: Vec::new(),
            missed: false,
            named: Vec::new(),
        }
    }

    /// Publishes until the bus has it all.
    pub(super) async fn publish(&self, events: &[Event]) {
        until_done(async || self.bus.publish(events).await).await;
    }

    /// Takes news until `enough`. A subscription that ends is begun again, and then all that this node knows of is read.
    pub(super) async fn hear_until(&mut self, enough: impl Fn(&Self) -> bool) {
        while !enough(self) {
            match self.subscription.next().await {
                Ok(news) => {
                    assert!(!news.is_empty(), "news are at least one");
                    for news in news {
                        self.take(news).await;
                    }
                }
                Err(_) => {
                    let interest = Arc::clone(&self.follows) as Arc<dyn Interest>;
                    let bus = Arc::clone(&self.bus);
                    self.subscription =
                        until_done(async || bus.subscribe(Some(Arc::clone(&interest))).await).await;
                    self.take(News::Missed).await;
                }
            }
        }
    }

    async fn take(&mut self, news: News) {
        match news {
            News::Event(event) => {
                if let Event::MemberJoined {
                    member, room_id, ..
                } = &event
                {
                    self.join(member.user_id, *room_id);
                }
                self.named.push((event.room_id(), event.seq()));
                self.learn(event);
            }
            News::Head { room_id, seq, .. } => {
                self.named.push((room_id, seq));
                self.read(room_id).await;
            }
            News::Joined(joined) => {
                self.named.push((joined.room_id, joined.seq));
                self.join(joined.user_id, joined.room_id);
            }
            News::Hint(hint) => self.hints.push(hint),
            News::Missed => {
                self.missed = true;
                for room_id in self.known.keys().copied().collect::<Vec<_>>() {
                    self.read(room_id).await;
                }
            }
        }
    }

    fn join(&mut self, user: UserId, room: RoomId) {
        self.joined.insert((user, room));
        let mut rooms = self
            .follows
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(rooms) = rooms.as_mut() {
            rooms.insert(room);
        }
    }

    fn learn(&mut self, event: Event) {
        let room = self.known.entry(event.room_id()).or_default();
        room.insert(event.seq(), event);
    }

    /// Reads a room from the store, from the last place on that it knows.
    async fn read(&mut self, room_id: RoomId) {
        let last = self.known.get(&room_id).and_then(|r| r.keys().last());
        let mut since = last.copied().unwrap_or(Seq::ZERO);
        loop {
            let read = self.store.changes(Reader::Node, room_id, since, since, 100);
            match read.await {
                Ok(Some(changes)) => {
                    since = changes.seq;
                    for event in changes.items {
                        self.learn(event);
                    }
                    if !changes.has_more {
                        return;
                    }
                }
                Ok(None) => return,
                // The store may be away with the bus.
                Err(_) => sleep(AGAIN_AFTER).await,
            }
        }
    }

    /// Whether it knows these events.
    pub(super) fn knows(&self, events: &[Event]) -> bool {
        events.iter().all(|event| {
            let room = self.known.get(&event.room_id());
            room.is_some_and(|room| room.contains_key(&event.seq()))
        })
    }

    /// What it knows at the places of these events, which it must know.
    pub(super) fn assert_knows(&self, events: &[Event]) {
        for event in events {
            let known = &self.known[&event.room_id()][&event.seq()];
            assert_eq!(known, event);
        }
    }
}
