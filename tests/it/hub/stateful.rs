//! Stateful reconnect (signalr.md, section 10): a lost socket loses nothing and doubles nothing.

use std::time::{Duration, Instant};

use chat_client::Encoding;
use chat_tests::{Hub, Person, Server, packed_of, text_of};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message};

use super::connecting::{negotiate, refusal};
use super::requests::request;

/// A client that counts as the official ones do.
struct Client {
    person: Person,
    id: String,
    encoding: Encoding,
    hub: Hub,
    /// The number of the message that came last on this socket.
    at: usize,
    /// The highest that came.
    last: usize,
    /// What it has sent, in order; their numbers begin at 1.
    sent: Vec<Value>,
    /// How many of those the server has acknowledged.
    acknowledged: usize,
}

fn handshake(encoding: Encoding, version: i64) -> String {
    let protocol = encoding.name();
    format!("{{\"protocol\":\"{protocol}\",\"version\":{version}}}\x1e")
}

/// Negotiates for a connection that can be resumed.
async fn resumable_id(person: &Person) -> String {
    let offer = negotiate(person, "?negotiateVersion=1&useStatefulReconnect=true").await;
    let offer = offer.with(200);
    assert_eq!(offer["useStatefulReconnect"], true, "{offer}");
    offer["connectionToken"].as_str().unwrap().to_owned()
}

impl Client {
    async fn connect(person: &Person, encoding: Encoding) -> Self {
        let mut client = Self::shake(person, encoding).await;
        client.send_unnumbered(json!({"type": 6})).await;
        assert_eq!(client.next().await["target"], "Connected");
        client
    }

    /// Connects and shakes hands, and no more.
    async fn shake(person: &Person, encoding: Encoding) -> Self {
        let id = resumable_id(person).await;
        let mut hub = Hub::open(person, &format!("?id={id}")).await.unwrap();
        hub.shake(&handshake(encoding, 2)).await.unwrap();
        Self {
            person: person.clone(),
            id,
            encoding,
            hub,
            at: 0,
            last: 0,
            sent: Vec::new(),
            acknowledged: 0,
        }
    }

    async fn send_unnumbered(&mut self, record: Value) {
        self.hub.send_record(&record).await.unwrap();
    }

    /// Sends a call, whether it arrives or not.
    async fn call(&mut self, target: &str, argument: Value) {
        let id = self.sent.len().to_string();
        let call =
            json!({"type": 1, "invocationId": id, "target": target, "arguments": [argument]});
        self.sent.push(call.clone());
        let _ = self.hub.send_record(&call).await;
    }

    /// The next numbered record that it hasn't had but `Heads`, which come when they like.
    async fn next(&mut self) -> Value {
        tokio::time::timeout(chat_tests::WITHIN, async {
            loop {
                let record = self.record().await.expect("the connection is open");
                if !record.is_null() && record["target"] != "Heads" {
                    return record;
                }
            }
        })
        .await
        .expect("it comes in time")
    }

    /// The next record: `null` if it is of no interest.
    async fn record(&mut self) -> Option<Value> {
        let record = self.hub.next_of_all().await?;
        let number = || usize::try_from(record["sequenceId"].as_i64().unwrap()).unwrap();
        match record["type"].as_i64().unwrap() {
            1..=5 => {
                self.at += 1;
                if self.at > self.last {
                    self.last = self.at;
                    return Some(record);
                }
            }
            8 => self.acknowledged = self.acknowledged.max(number()),
            _ => {}
        }
        Some(Value::Null)
    }

    /// Loses its socket, with half a record on the way, and comes back on another.
    async fn cut(&mut self) {
        let half = json!({"type": 1, "invocationId": "half", "target": "Ping", "arguments": [{}]});
        let half = match self.encoding {
            Encoding::MessagePack => Message::binary(packed_of(&half)[..10].to_vec()),
            _ => Message::text(text_of(&half)[..10].to_owned()),
        };
        let _ = self.hub.send_frame(half).await;
        self.resume().await;
    }

    async fn resume(&mut self) {
        let query = format!("?id={}", self.id);
        // The old socket is dropped without a close frame.
        self.hub = Hub::open(&self.person, &query).await.unwrap();
        self.hub.resumed(self.encoding);
        let first = self.hub.next_of_all().await;
        let first = first.expect("the connection goes on");
        assert_eq!(first["type"], 9, "the first record is a Sequence");
        let sequence = usize::try_from(first["sequenceId"].as_i64().unwrap()).unwrap();
        assert!(sequence <= self.last + 1, "{sequence} after {}", self.last);
        self.at = sequence - 1;
        let first = self.acknowledged + 1;
        self.send_unnumbered(json!({"type": 9, "sequenceId": first}))
            .await;
        for call in &self.sent[self.acknowledged..] {
            self.hub.send_record(call).await.unwrap();
        }
    }

    async fn acknowledge(&mut self) {
        let ack = json!({"type": 8, "sequenceId": self.last});
        self.send_unnumbered(ack).await;
    }

    /// The status of an upgrade that is refused.
    async fn refused(&self) -> u16 {
        refusal(Hub::open(&self.person, &format!("?id={}", self.id)).await).0
    }
}

#[tokio::test]
async fn it_is_granted_to_those_who_ask_for_it() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    for (query, granted) in [
        ("?negotiateVersion=1&useStatefulReconnect=true", true),
        ("?UseStatefulReconnect=TRUE", true),
        ("?negotiateVersion=1&useStatefulReconnect=false", false),
        ("?negotiateVersion=1&useStatefulReconnect=1", false),
        ("?negotiateVersion=1", false),
    ] {
        let offer = negotiate(&ann, query).await.with(200);
        let answered = offer.get("useStatefulReconnect");
        assert_eq!(answered, granted.then_some(&json!(true)), "{query}");
    }
}

#[tokio::test]
async fn cut_in_mid_record_nothing_is_lost_and_nothing_comes_twice() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let room = ann.room_with("room", &[&bob]).await;
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        let mut client = Client::connect(&ann, encoding).await;
        let mut other = Hub::connect_in(&bob, encoding).await;
        let mut got = Vec::new();
        for round in 0..20 {
            for n in 0..10 {
                let content = json!({"roomId": room, "content": format!("{round} {n}")});
                if n % 3 == 0 {
                    client.call("SendMessage", content).await;
                } else {
                    other.call("SendMessage", &content).await.unwrap();
                }
                if n == round % 10 {
                    client.cut().await;
                }
            }
            if round % 4 == 0 {
                // What it has is less than what was sent, so that there is something to replay.
                got.push(client.next().await);
                client.acknowledge().await;
            }
            if round % 7 == 0 {
                client.cut().await;
                client.cut().await;
            }
        }
        while got.len() < 200 {
            got.push(client.next().await);
        }
        let mut seqs = Vec::new();
        let mut completions = Vec::new();
        for record in &got {
            let message = if record["type"] == 3 {
                completions.push(record["invocationId"].as_str().unwrap().to_owned());
                &record["result"]
            } else {
                &record["arguments"][0]
            };
            seqs.push(message["seq"].as_i64().unwrap());
        }
        let first = seqs[0];
        assert_eq!(seqs, (first..first + 200).collect::<Vec<_>>());
        // Each call was run once, and answered once.
        let ids: Vec<_> = (0..client.sent.len()).map(|n| n.to_string()).collect();
        assert_eq!(completions, ids);
        assert_eq!(ann.changes(room, first + 199).await["items"], json!([]));
        client.hub.send_record(&json!({"type": 7})).await.unwrap();
    }
}

#[tokio::test]
async fn the_first_event_waits_for_the_clients_first_frame_or_a_second() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let began = Instant::now();
    let mut silent = Client::shake(&ann, Encoding::Json).await;
    assert_eq!(silent.next().await["target"], "Connected");
    assert!(began.elapsed() >= Duration::from_secs(1));

    // A record behind the handshake is the first frame already.
    let id = resumable_id(&ann).await;
    let mut hub = Hub::open(&ann, &format!("?id={id}")).await.unwrap();
    let ping = text_of(&json!({"type": 6}));
    let first = handshake(Encoding::Json, 2) + &ping;
    hub.send_text(&first).await.unwrap();
    hub.shaken(Encoding::Json).await.unwrap();
    hub.event("Connected").await;
}

#[tokio::test]
async fn what_came_is_acknowledged_and_what_isnt_numbered_isnt() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let mut client = Client::connect(&ann, Encoding::Json).await;
    for _ in 0..3 {
        client.call("Ping", json!({})).await;
        client.send_unnumbered(json!({"type": 6})).await;
        assert_eq!(client.next().await["type"], 3);
    }
    while client.acknowledged < 3 {
        client.record().await.expect("the connection is open");
    }
    assert_eq!(client.acknowledged, 3);
    // Nothing is doubled by what was acknowledged before the cut.
    client.cut().await;
    client.call("Ping", json!({})).await;
    assert_eq!(client.next().await["invocationId"], "3");
}

#[tokio::test]
async fn a_client_that_acknowledges_nothing_gets_100_kb_and_the_rest_once_it_does() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let room = ann.room_with("room", &[&bob]).await;
    let mut client = Client::connect(&ann, Encoding::Json).await;
    let mut other = Hub::connect(&bob).await;
    let content = "x".repeat(4_000);
    let mut send = async |messages: usize| {
        for _ in 0..messages {
            let send = json!({"roomId": room, "content": content});
            other.invoke("SendMessage", send).await.unwrap();
        }
    };
    send(40).await;
    // A call is answered behind them: within the bound nothing else comes but the Ack of it.
    client.call("Ping", json!({})).await;
    let mut messages = 0;
    while client.acknowledged == 0 {
        let record = client.record().await.expect("the connection is open");
        messages += usize::from(record["target"] == "MessageCreated");
    }
    assert!((24..=26).contains(&messages), "{messages} of 4 KB each");
    client.acknowledge().await;
    while messages < 40 {
        assert_eq!(client.next().await["target"], "MessageCreated");
        messages += 1;
    }
    assert_eq!(client.next().await["type"], 3);

    // Without bound it doesn't wait: a mebibyte, and what may be replayed.
    send(400).await;
    let mut last = Value::Null;
    while let Some(record) = client.record().await {
        if !record.is_null() {
            last = record;
        }
    }
    assert_eq!(last["arguments"][0], json!({"reason": "slow"}));
    assert_eq!(client.refused().await, 404);
    other.is_quiet().await;
}

#[tokio::test]
async fn a_second_upgrade_takes_over_and_the_old_socket_is_closed() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let mut client = Client::connect(&ann, Encoding::Json).await;
    let query = format!("?id={}", client.id);
    for stranger in [&bob, &ann.again().await] {
        assert_eq!(refusal(Hub::open(stranger, &query).await).0, 404);
    }
    for (method, status) in [
        (Method::GET, 400),
        (Method::POST, 405),
        (Method::DELETE, 400),
    ] {
        assert_eq!(request(&ann, method, &query, "").await.status, status);
    }
    let next = Hub::open(&ann, &query).await.unwrap();
    let mut old = std::mem::replace(&mut client.hub, next);
    client.hub.resumed(Encoding::Json);
    assert_eq!(old.next().await, None, "it is closed without a word");
    let sequence = client.hub.next_of_all().await.unwrap();
    assert_eq!(sequence, json!({"type": 9, "sequenceId": 1}));
    // What isn't counted yet is dropped until the client's own Sequence: a Ping as well as a call.
    client.send_unnumbered(json!({"type": 6})).await;
    let early = json!({"type": 1, "invocationId": "early", "target": "Ping", "arguments": [{}]});
    client.send_unnumbered(early).await;
    client
        .send_unnumbered(json!({"type": 9, "sequenceId": 1}))
        .await;
    client.at = 0;
    client.call("Ping", json!({})).await;
    assert_eq!(client.next().await["invocationId"], "0");

    // Two at once: one of them goes on.
    let (one, two) = tokio::join!(Hub::open(&ann, &query), Hub::open(&ann, &query));
    drop((one, two));
    client.resume().await;
    client.call("Ping", json!({})).await;
    assert_eq!(client.next().await["invocationId"], "1");
}

#[tokio::test]
async fn a_wrong_sequence_ends_the_connection() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    for wrong in [0, -1, 3] {
        let mut client = Client::connect(&ann, Encoding::Json).await;
        client.call("Ping", json!({})).await;
        assert_eq!(client.next().await["type"], 3);
        client.hub = Hub::open(&ann, &format!("?id={}", client.id))
            .await
            .unwrap();
        client.hub.resumed(Encoding::Json);
        client
            .send_unnumbered(json!({"type": 9, "sequenceId": wrong}))
            .await;
        let mut last = Value::Null;
        while let Some(record) = client.hub.next_of_all().await {
            last = record;
        }
        let broken =
            json!({"type": 7, "error": "Connection closed with an error.", "allowReconnect": true});
        assert_eq!(last, broken, "{wrong}");
        assert_eq!(client.refused().await, 404);
    }
}

#[tokio::test]
async fn after_a_close_of_either_side_the_id_is_gone_at_once() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let mut client = Client::connect(&ann, Encoding::Json).await;
    client.send_unnumbered(json!({"type": 7})).await;
    client.hub.closes(None, json!({"type": 7})).await;
    assert_eq!(client.refused().await, 404);

    let mut client = Client::connect(&ann, Encoding::Json).await;
    client.hub.send_frame(Message::Close(None)).await.unwrap();
    assert_eq!(client.hub.next().await, None);
    assert_eq!(client.refused().await, 404);

    // Ended while it was away.
    let third = ann.again().await;
    let mut client = Client::connect(&third, Encoding::Json).await;
    let token = json!({"accessToken": ann.api.token()});
    client.call("Authenticate", token).await;
    assert_eq!(client.next().await["type"], 3);
    let Client { id, hub, .. } = client;
    drop(hub);
    ann.api.post_empty("/v1/auth/logout").await.with(204);
    assert_eq!(
        refusal(Hub::open(&third, &format!("?id={id}")).await).0,
        404
    );
}

#[tokio::test]
async fn sixteen_seconds_away_it_is_gone() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let client = Client::connect(&ann, Encoding::Json).await;
    let Client { id, hub, .. } = client;
    drop(hub);
    let query = format!("?id={id}");
    tokio::time::sleep(Duration::from_secs(16)).await;
    let began = Instant::now();
    // Each upgrade that is let in would be the connection's next socket: none is.
    loop {
        match Hub::open(&ann, &query).await {
            Err(tungstenite::Error::Http(refused)) => break assert_eq!(refused.status(), 404),
            other => assert!(began.elapsed() < Duration::from_secs(1), "{other:?}"),
        }
    }
}

#[tokio::test]
async fn without_all_three_it_is_off() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let granted = resumable_id(&ann).await;
    let plain = super::requests::id(&ann).await;
    for (query, version, second) in [
        // Granted, but not taken up; taken up, but not granted; not negotiated at all.
        (format!("?id={granted}"), 1, 409),
        (format!("?id={plain}"), 2, 409),
        (String::new(), 2, 101),
    ] {
        let mut hub = Hub::open(&ann, &query).await.unwrap();
        hub.shake(&handshake(Encoding::Json, version))
            .await
            .unwrap();
        hub.event("Connected").await;
        for record in [
            json!({"type": 8, "sequenceId": 99}),
            json!({"type": 9, "sequenceId": 7}),
        ] {
            hub.send_record(&record).await.unwrap();
        }
        for _ in 0..3 {
            hub.is_quiet().await;
        }
        if second != 101 {
            assert_eq!(refusal(Hub::open(&ann, &query).await).0, second);
        }
        hub.is_quiet().await;
    }
}
