//! kill -9 under load: what was acknowledged is there, once, in one order.
//!
//! That a reply before the commit is found out is shown in the simulation, which plants that fault.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_tests::{Hub, Person, Server, WITHIN};
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::sync::{Barrier, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

const KILLS: usize = 20;
const ROOMS: usize = 4;
const CLIENTS_A_ROOM: usize = 2;
/// How often each client sends: 400 messages a second together.
const SEND_EVERY: Duration = Duration::from_millis(20);
/// What all together must get acknowledged in a second in which the server is there.
const LEAST_A_SECOND: f64 = 200.0;
/// Messages of a client that may be under way.
const IN_FLIGHT: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_under_load_lose_nothing_double_nothing_and_leave_no_hole() {
    let mut server = Server::start().await;
    let mut people = Vec::new();
    for n in 0..ROOMS * CLIENTS_A_ROOM {
        people.push(server.person(&format!("user{n}")).await);
    }
    let (address, watched) = watch::channel((server.url().to_owned(), false));
    let all_sent = Arc::new(Barrier::new(people.len()));
    let mut clients = Vec::new();
    for members in people.chunks(CLIENTS_A_ROOM) {
        let others: Vec<_> = members[1..].iter().collect();
        let room = members[0].room_with("room", &others).await;
        for person in members {
            let client = Client::new(person.clone(), room, watched.clone(), all_sent.clone());
            clients.push(tokio::spawn(client.run()));
        }
    }
    drop(watched);

    let mut up = Duration::ZERO;
    for _ in 0..KILLS {
        let since = Instant::now();
        let moment = rand::rng().random_range(200..1_800);
        sleep(Duration::from_millis(moment)).await;
        server.kill().await;
        up += since.elapsed();
        server.restart().await;
        address.send_replace((server.url().to_owned(), false));
    }
    let url = server.url().to_owned();
    address.send_replace((url.clone(), true));
    let mut rooms: BTreeMap<i64, Vec<Client>> = BTreeMap::new();
    let mut acknowledged = 0;
    for client in clients {
        let client = timeout(3 * WITHIN, client)
            .await
            .expect("it finishes")
            .unwrap();
        acknowledged += client.acknowledged.len();
        rooms.entry(client.room).or_default().push(client);
    }
    let rate = acknowledged as f64 / up.as_secs_f64();
    assert!(rate >= LEAST_A_SECOND, "only {rate:.0} messages a second");

    for (room, clients) in rooms {
        let reader = clients[0].person.at(&url);
        let stored = transcript(&reader, room).await;
        let places: Vec<_> = stored.keys().copied().collect();
        // The creator's place and the other's are 1 and 2.
        let expected: Vec<_> = (3..3 + places.len() as i64).collect();
        assert_eq!(places, expected, "no hole in room {room}");
        let once: BTreeSet<_> = stored.values().map(client_message_id).collect();
        assert_eq!(
            once.len(),
            stored.len(),
            "nothing is doubled in room {room}"
        );
        for client in clients {
            assert_eq!(client.seen, stored, "what {} saw", client.person.username);
            assert_eq!(
                client.acknowledged.len(),
                client.sent,
                "all were acknowledged"
            );
            for (id, message) in client.acknowledged {
                let place = message["seq"].as_i64().unwrap();
                assert_eq!(stored.get(&place), Some(&message), "{id} was acknowledged");
            }
        }
    }
}

/// All messages of a room by their places, read anew.
async fn transcript(person: &Person, room: i64) -> BTreeMap<i64, Value> {
    let mut all = BTreeMap::new();
    let mut after = json!(0);
    loop {
        let path = format!("/v1/rooms/{room}/messages?after={after}&limit=100");
        let page = person.api.get(&path).await.with(200);
        for message in page["items"].as_array().unwrap() {
            after = message["id"].clone();
            all.insert(message["seq"].as_i64().unwrap(), message.clone());
        }
        if page["hasMore"] == false {
            return all;
        }
    }
}

fn client_message_id(message: &Value) -> String {
    message["clientMessageId"]
        .as_str()
        .expect("it has one")
        .to_owned()
}

/// The server went away.
#[derive(Debug)]
struct Gone;

/// One that sends and listens, whatever happens to the server.
struct Client {
    person: Person,
    room: i64,
    /// Where the server is, and whether to finish what was begun.
    address: watch::Receiver<(String, bool)>,
    /// Passed by all at once, when each has had its last answer: who looks before sees less than there will be.
    all_sent: Arc<Barrier>,
    sent: usize,
    /// Sent and not answered, in order.
    unanswered: VecDeque<String>,
    acknowledged: BTreeMap<String, Value>,
    /// What it was shown, by place.
    seen: BTreeMap<i64, Value>,
    /// Up to here it has seen everything.
    at: i64,
}

impl Client {
    fn new(
        person: Person,
        room: i64,
        address: watch::Receiver<(String, bool)>,
        all_sent: Arc<Barrier>,
    ) -> Self {
        Self {
            person,
            room,
            address,
            all_sent,
            sent: 0,
            unanswered: VecDeque::new(),
            acknowledged: BTreeMap::new(),
            seen: BTreeMap::new(),
            at: 2,
        }
    }

    /// Goes on until it is to finish and everything sent was answered.
    async fn run(mut self) -> Self {
        loop {
            let url = self.address.borrow_and_update().0.clone();
            if let Ok(mut hub) = Hub::try_connect(&self.person.at(&url)).await
                && self.converse(&mut hub).await.is_ok()
            {
                return self;
            }
            // The server is gone; the next one has another address.
            let changed = timeout(WITHIN, self.address.changed()).await;
            changed.expect("another server comes").unwrap();
        }
    }

    async fn converse(&mut self, hub: &mut Hub) -> Result<(), Gone> {
        self.catch_up(hub).await?;
        // What wasn't answered is sent again: it may have been stored all the same.
        let again: BTreeSet<_> = self.unanswered.iter().cloned().collect();
        for id in self.unanswered.clone() {
            self.send(hub, &id).await?;
        }
        let mut ticks = interval(SEND_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let finishing = self.address.borrow().1;
            if finishing && self.unanswered.is_empty() {
                self.all_sent.wait().await;
                return self.catch_up(hub).await;
            }
            tokio::select! {
                biased;
                record = hub.next() => {
                    let record = record.ok_or(Gone)?;
                    self.take(&record, &again);
                }
                _ = ticks.tick() => {
                    if !finishing && self.unanswered.len() < IN_FLIGHT {
                        let id = format!("{}-{}", self.person.username, self.sent);
                        self.sent += 1;
                        self.unanswered.push_back(id.clone());
                        self.send(hub, &id).await?;
                    }
                }
            }
        }
    }

    async fn send(&self, hub: &mut Hub, id: &str) -> Result<(), Gone> {
        let send = json!({
            "type": 1, "invocationId": id, "target": "SendMessage",
            "arguments": [{"roomId": self.room, "content": format!("content of {id}"), "clientMessageId": id}],
        });
        hub.send_record(&send).await.map_err(|_| Gone)
    }

    /// Reads what changed since the last unbroken place, in pages.
    async fn catch_up(&mut self, hub: &mut Hub) -> Result<(), Gone> {
        let (from, mut since) = (self.at, self.at);
        loop {
            let page = json!({"roomId": self.room, "since": since, "from": from, "limit": 100});
            let call = hub.call("GetChanges", &page).await.map_err(|_| Gone)?;
            let page = loop {
                let record = hub.next().await.ok_or(Gone)?;
                if record["invocationId"] == call.as_str() {
                    break record["result"].clone();
                }
                self.take(&record, &BTreeSet::new());
            };
            assert_eq!(page["complete"], true);
            for item in page["items"].as_array().expect("items") {
                let mut message = item.clone();
                let kind = message.as_object_mut().unwrap().remove("type");
                assert_eq!(kind, Some(json!("messageCreated")));
                self.see(message);
            }
            since = page["seq"].as_i64().unwrap();
            if page["hasMore"] == false {
                return Ok(());
            }
        }
    }

    /// An event, or the answer to a send; `again` are those that were sent before.
    fn take(&mut self, record: &Value, again: &BTreeSet<String>) {
        if record["type"] == 3 {
            let id = record["invocationId"].as_str().unwrap();
            let message = record["result"].clone();
            assert!(message.is_object(), "a send was refused: {record}");
            assert_eq!(client_message_id(&message), id);
            if !again.contains(id) {
                assert_eq!(
                    self.unanswered.front().map(String::as_str),
                    Some(id),
                    "answers in order"
                );
            }
            self.unanswered.retain(|waiting| waiting != id);
            self.see(message.clone());
            let twice = self.acknowledged.insert(id.to_owned(), message);
            assert_eq!(twice, None, "answered once");
        } else {
            assert_eq!(record["target"], "MessageCreated", "{record}");
            let message = record["arguments"][0].clone();
            let place = message["seq"].as_i64().unwrap();
            assert!(
                !self.seen.contains_key(&place) || place <= self.at,
                "{record} came twice"
            );
            self.see(message);
        }
    }

    fn see(&mut self, message: Value) {
        let place = message["seq"].as_i64().unwrap();
        if let Some(before) = self.seen.get(&place) {
            assert_eq!(*before, message, "one place, one message");
        }
        self.seen.insert(place, message);
        while self.seen.contains_key(&(self.at + 1)) {
            self.at += 1;
        }
    }
}
