//! Clients of the SDK that send and listen whatever happens to the server, and what they say of it at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chat_client::model::{Event, Message, RoomId, Seq};
use chat_client::{Client, ClientEvent, Connection, ConnectionState};

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep, timeout, timeout_at};

use crate::Person;

/// Messages of a client that may be under way.
const IN_FLIGHT: usize = 200;
/// How long everything may take that waits for the clients.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the clients are to do.
#[derive(Clone, Debug)]
enum Phase {
    /// Send and listen.
    Send,
    /// Send no more, and wait for the answers.
    Finish,
    /// Listen up to these heads, and end.
    End(BTreeMap<RoomId, Seq>),
}

/// How many there are, and how much they say.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Rooms, each with members of its own.
    pub rooms: usize,
    /// Members of each.
    pub in_a_room: usize,
    /// How often each client sends.
    pub send_every: Duration,
}

impl Size {
    /// Rooms of two who send 50 messages a second each.
    #[must_use]
    pub const fn pairs(rooms: usize) -> Self {
        Self {
            rooms,
            in_a_room: 2,
            send_every: Duration::from_millis(20),
        }
    }
}

/// Clients that send and listen, each in one room.
#[derive(Debug)]
pub struct Crowd {
    /// Where all of them find the server, whatever becomes of it.
    url: String,
    people: Vec<(Person, RoomId)>,
    phase: watch::Sender<Phase>,
    /// Ends when each client has had its last answer.
    waiting: mpsc::Receiver<()>,
    /// Messages acknowledged so far.
    acknowledged: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Member>>,
    /// How long the last events may take.
    pub patience: Duration,
    /// What each room held at the end.
    stored: BTreeMap<RoomId, BTreeMap<Seq, Message>>,
    /// How long anyone was without a connection at most.
    away: Duration,
}

impl Crowd {
    /// Registers them at this address, and has them talk.
    ///
    /// # Panics
    /// The server doesn't answer as it should, or not in time.
    pub async fn gather(url: &str, size: Size) -> Self {
        let (phase, watched) = watch::channel(Phase::Send);
        let (waits, waiting) = mpsc::channel(1);
        let acknowledged = Arc::<AtomicUsize>::default();
        let (mut people, mut clients) = (Vec::new(), Vec::new());
        for room in 0..size.rooms {
            let mut members = Vec::new();
            for n in 0..size.in_a_room {
                members.push(Person::register(url, &format!("user{room}x{n}")).await);
            }
            let others: Vec<_> = members[1..].iter().collect();
            let room = RoomId(members[0].room_with("room", &others).await);
            // All listen before the first speaks: a connection begins at where the room stands.
            let mut connected = Vec::new();
            for person in members {
                let client = sdk(url, &person);
                let connection = client.connect().await.expect("it goes on");
                connected.push((person, client, connection));
            }
            for (person, client, connection) in connected {
                let member = Member {
                    name: person.username.clone(),
                    room,
                    client,
                    waits: Some(waits.clone()),
                    count: Arc::clone(&acknowledged),
                    sent: 0,
                    acknowledged: BTreeMap::new(),
                    seen: BTreeMap::new(),
                    send_every: size.send_every,
                    // The places of those who joined.
                    at: Seq(i64::try_from(size.in_a_room).expect("it goes on")),
                    problems: Vec::new(),
                    lost: None,
                    away: Duration::ZERO,
                };
                clients.push(tokio::spawn(member.run(connection, watched.clone())));
                people.push((person, room));
            }
        }
        Self {
            url: url.to_owned(),
            people,
            phase,
            waiting,
            acknowledged,
            clients,
            patience: PATIENCE,
            stored: BTreeMap::new(),
            away: Duration::ZERO,
        }
    }

    /// The admin of each room.
    pub fn admins(&self) -> impl Iterator<Item = (&Person, RoomId)> {
        let mut seen = BTreeSet::new();
        let people = self.people.iter().map(|(person, room)| (person, *room));
        people.filter(move |(_, room)| seen.insert(*room))
    }

    /// Where each room stands.
    ///
    /// # Panics
    /// The server doesn't answer as it should, or not in time.
    pub async fn places(&self) -> BTreeMap<RoomId, Seq> {
        let mut places = BTreeMap::new();
        for (admin, room) in self.admins() {
            let room = sdk(&self.url, admin)
                .room(room)
                .get()
                .await
                .expect("it goes on");
            places.insert(room.id, room.seq);
        }
        places
    }

    /// Rooms and places of the messages that these rooms held at the end beyond where they stood then.
    #[must_use]
    pub fn happened_since(&self, then: &BTreeMap<RoomId, Seq>) -> BTreeSet<(i64, i64)> {
        let rooms = then.iter().filter_map(|(room, place)| {
            let messages = self.stored.get(room)?;
            Some(
                messages
                    .keys()
                    .filter(move |seq| *seq > place)
                    .map(|seq| (room.0, seq.0)),
            )
        });
        rooms.flatten().collect()
    }

    /// Waits until so many more messages are acknowledged.
    ///
    /// # Panics
    /// The server doesn't answer as it should, or not in time.
    pub async fn acknowledges(&self, more: usize) {
        let enough = self.acknowledged.load(Ordering::Relaxed) + more;
        timeout(PATIENCE, async {
            while self.acknowledged.load(Ordering::Relaxed) < enough {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .expect("messages are acknowledged");
    }

    /// How long anyone who came to the end was without a connection, at most.
    #[must_use]
    pub const fn longest_away(&self) -> Duration {
        self.away
    }

    /// Sees that what a server holds of a room is what all saw at the end, up to a place.
    ///
    /// # Panics
    /// The server doesn't answer as it should, or not in time.
    pub async fn is_whole_up_to(&self, member: &Person, room: RoomId, head: i64) {
        let messages = sdk(member.api.url(), member)
            .room(room)
            .messages_after(None);
        let messages: Vec<Message> = messages.try_collect().await.expect("it goes on");
        let stored = self.stored[&room].range(..=Seq(head));
        let expected: Vec<_> = stored.map(|(_, message)| message.clone()).collect();
        assert_eq!(messages, expected, "room {room}");
    }

    /// Waits for the last answers and events; how many were sent, and what is wrong with it all.
    ///
    /// # Panics
    /// The server doesn't answer as it should, or not in time.
    pub async fn finish(&mut self) -> (usize, Vec<String>) {
        self.phase.send_replace(Phase::Finish);
        let answered = timeout(PATIENCE, self.waiting.recv()).await;
        assert_eq!(answered.expect("every send is answered"), None);
        let mut stored = BTreeMap::new();
        for (person, room) in &self.people {
            if !stored.contains_key(room) {
                let messages = sdk(&self.url, person).room(*room).messages_after(None);
                let messages: Vec<Message> = messages.try_collect().await.expect("it goes on");
                let by_place: BTreeMap<_, _> = messages.into_iter().map(|m| (m.seq, m)).collect();
                stored.insert(*room, by_place);
            }
        }
        let heads = stored.iter().filter_map(|(room, messages)| {
            let (head, _) = messages.last_key_value()?;
            Some((*room, *head))
        });
        self.phase.send_replace(Phase::End(heads.collect()));

        let (mut sent, mut problems) = (0, Vec::new());
        for (room, messages) in &stored {
            let places: Vec<_> = messages.keys().map(|seq| seq.0).collect();
            let joins = self
                .people
                .iter()
                .filter(|(_, theirs)| theirs == room)
                .count();
            let first = i64::try_from(joins).expect("it goes on") + 1;
            let unbroken: Vec<_> = (first..).take(places.len()).collect();
            if places != unbroken {
                problems.push(format!("room {room} has a hole: {places:?}"));
            }
            let ids: BTreeSet<_> = messages.values().map(|m| &m.client_message_id).collect();
            if ids.len() != messages.len() {
                problems.push(format!("a message of room {room} is stored twice"));
            }
        }
        let end = Instant::now() + self.patience;
        let mut away = Duration::ZERO;
        for client in self.clients.drain(..) {
            let Ok(client) = timeout_at(end, client).await else {
                problems.push("a client doesn't hear of every event".to_owned());
                continue;
            };
            let client = client.expect("it goes on");
            sent += client.sent;
            away = away.max(client.away);
            let stored = &stored[&client.room];
            problems.extend(client.compare(stored));
        }
        self.stored = stored;
        self.away = away;
        (sent, problems)
    }
}

fn sdk(url: &str, person: &Person) -> Client {
    Client::builder(url)
        .access_token(person.api.token().expect("it goes on"))
        .reconnect_pause(Duration::from_millis(50), Duration::from_secs(1))
        .send_timeout(PATIENCE)
        .build()
        .expect("it goes on")
}

/// One that sends and listens, as an application does: it knows nothing of what happens to the server.
#[derive(Debug)]
struct Member {
    name: String,
    room: RoomId,
    client: Client,
    /// Held until the last answer.
    waits: Option<mpsc::Sender<()>>,
    /// Counts what is acknowledged.
    count: Arc<AtomicUsize>,
    send_every: Duration,
    sent: usize,
    acknowledged: BTreeMap<String, Message>,
    /// What it was shown, by place.
    seen: BTreeMap<Seq, Message>,
    /// The place of the newest.
    at: Seq,
    problems: Vec<String>,
    /// Since when it has no connection.
    lost: Option<Instant>,
    /// How long it had none, at most.
    away: Duration,
}

impl Member {
    async fn run(mut self, mut connection: Connection, mut phase: watch::Receiver<Phase>) -> Self {
        let mut sends = FuturesUnordered::new();
        let mut ticks = interval(self.send_every);
        let mut state = connection.state();
        loop {
            let now = phase.borrow_and_update().clone();
            if sends.is_empty() && !matches!(now, Phase::Send) {
                self.waits.take();
            }
            if let Phase::End(heads) = &now
                && heads.get(&self.room).is_none_or(|head| self.at >= *head)
            {
                return self;
            }
            tokio::select! {
                event = connection.next() => match event {
                    Some(event) => self.hear(event),
                    None => {
                        let state = connection.state().borrow().clone();
                        self.problems.push(format!("{} is disconnected: {state:?}", self.name));
                        return self;
                    }
                },
                Some((id, answer)) = sends.next(), if !sends.is_empty() => match answer {
                    Ok(message) => {
                        self.count.fetch_add(1, Ordering::Relaxed);
                        self.acknowledged.insert(id, message);
                    }
                    Err(error) => self.problems.push(format!("{id} wasn't sent: {error}")),
                },
                _ = phase.changed() => {}
                Ok(()) = state.changed() => self.notice(&state.borrow_and_update()),
                _ = ticks.tick(), if matches!(now, Phase::Send) && sends.len() < IN_FLIGHT => {
                    let id = format!("{}-{}", self.name, self.sent);
                    self.sent += 1;
                    let room = self.client.room(self.room);
                    sends.push(async move {
                        let answer = room.send_as(id.clone(), format!("content of {id}")).await;
                        (id, answer)
                    });
                }
            }
        }
    }

    fn notice(&mut self, state: &ConnectionState) {
        if let ConnectionState::Connected = state {
            let away = self
                .lost
                .take()
                .map_or(Duration::ZERO, |lost| lost.elapsed());
            self.away = self.away.max(away);
        } else {
            self.lost.get_or_insert_with(Instant::now);
        }
    }

    fn hear(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Event(Event::MessageCreated(message)) => {
                if message.seq != self.at.next() {
                    let (name, at) = (&self.name, self.at);
                    let problem = format!("{name} stood at {at} and heard {}", message.seq);
                    self.problems.push(problem);
                }
                self.at = self.at.max(message.seq);
                self.seen.insert(message.seq, message);
            }
            ClientEvent::Connected(_) => {}
            other => self.problems.push(format!("{} heard {other:?}", self.name)),
        }
    }

    /// What is wrong with what it was told, if this is what is stored.
    fn compare(mut self, stored: &BTreeMap<Seq, Message>) -> Vec<String> {
        if self.seen != *stored {
            let (name, seen) = (&self.name, self.seen.len());
            let problem = format!("{name} saw {seen} messages, not those {}", stored.len());
            self.problems.push(problem);
        }
        for (id, message) in self.acknowledged {
            if message.client_message_id.as_ref() != Some(&id) {
                self.problems
                    .push(format!("{id} was answered with {message:?}"));
            }
            if stored.get(&message.seq) != Some(&message) {
                let problem = format!("{id} was acknowledged and isn't there: {message:?}");
                self.problems.push(problem);
            }
        }
        self.problems
    }
}
