//! A hub to be scripted: each connection that the client opens is handed to the test, over memory instead of a network.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat_client::model::{Event, RoomId};
use chat_client::{
    Client, ClientBuilder, Connector, Error, Result, Transport, WebSocket, async_trait,
};
use futures_util::{SinkExt as _, StreamExt as _};
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// The user that connections belong to.
pub(crate) const ME: i64 = 1;
/// A room they are in.
pub(crate) const ROOM: RoomId = RoomId(7);

/// The server's side of all connections.
#[derive(Debug)]
pub(crate) struct Hub {
    opened: mpsc::UnboundedReceiver<(String, DuplexStream)>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    open: mpsc::UnboundedSender<(String, DuplexStream)>,
    refusals: Mutex<VecDeque<Error>>,
}

#[derive(Debug)]
struct InMemory(Arc<Shared>);

#[async_trait]
impl Connector for InMemory {
    async fn connect(&self, access_token: &str) -> Result<Box<dyn Transport>> {
        if let Some(error) = self.0.refusals.lock().unwrap().pop_front() {
            return Err(error);
        }
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let _ = self.0.open.send((access_token.to_owned(), theirs));
        Ok(Box::new(WebSocket::upgraded(ours, 1024 * 1024).await))
    }
}

/// The same bytes each run.
#[derive(Debug)]
pub(crate) struct Seeded(Mutex<rand::rngs::StdRng>);

impl Seeded {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(rand::rngs::StdRng::seed_from_u64(7))))
    }
}

impl chat_core::random::Random for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap().fill_bytes(bytes);
    }
}

impl Hub {
    pub(crate) fn new() -> Self {
        let (open, opened) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            open,
            refusals: Mutex::default(),
        });
        Self { opened, shared }
    }

    /// Sets up a client of this hub that has nothing else to talk to.
    pub(crate) fn builder(&self) -> ClientBuilder {
        Client::builder("http://127.0.0.1:1")
            .access_token("token")
            .connector(InMemory(Arc::clone(&self.shared)))
            .random(Seeded::new())
    }

    pub(crate) fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    /// Refuses the next try to connect.
    pub(crate) fn refuse_next(&self, error: Error) {
        self.shared.refusals.lock().unwrap().push_back(error);
    }

    /// The next connection that the client opens, with the handshake done.
    pub(crate) async fn accept(&mut self) -> Peer {
        let (token, stream) = self.opened.recv().await.expect("the client lives");
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        let mut peer = Peer {
            token,
            socket,
            records: VecDeque::new(),
            pings: 0,
        };
        let handshake = peer.record().await.expect("a handshake");
        assert_eq!(handshake, json!({"protocol": "json", "version": 1}));
        peer.write("{}").await;
        peer
    }

    /// The next connection, told these rooms and heads.
    pub(crate) async fn connected(&mut self, rooms: &[(RoomId, i64)]) -> Peer {
        let mut peer = self.accept().await;
        peer.connected(rooms).await;
        peer
    }
}

/// The server's side of one connection.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The access token that it was opened with.
    pub(crate) token: String,
    /// The Pings that came.
    pub(crate) pings: usize,
    socket: WebSocketStream<DuplexStream>,
    records: VecDeque<Value>,
}

/// A call of the client's.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) target: String,
    pub(crate) argument: Value,
}

impl Peer {
    async fn record(&mut self) -> Option<Value> {
        loop {
            if let Some(record) = self.records.pop_front() {
                return Some(record);
            }
            let message = self.socket.next().await?.ok()?;
            if let Message::Text(text) = message {
                for record in text.split_terminator('\u{1e}') {
                    self.records
                        .push_back(serde_json::from_str(record).unwrap());
                }
            }
        }
    }

    /// Writes one record.
    pub(crate) async fn write(&mut self, record: &str) {
        let text = format!("{record}\u{1e}");
        // A client that has closed is no failure of the script.
        let _ = self.socket.send(Message::text(text)).await;
    }

    pub(crate) async fn event(&mut self, target: &str, argument: Value) {
        let record = json!({"type": 1, "target": target, "arguments": [argument]});
        self.write(&record.to_string()).await;
    }

    pub(crate) async fn connected(&mut self, rooms: &[(RoomId, i64)]) {
        let rooms: Vec<_> = rooms
            .iter()
            .map(|(id, seq)| json!({"id": id, "seq": seq}))
            .collect();
        let connected = json!({"userId": ME, "connectionId": "c",
            "serverTime": "2026-01-31T12:00:00.000Z", "rooms": rooms});
        self.event("Connected", connected).await;
    }

    /// The event that message `seq` of `ROOM` was created.
    pub(crate) async fn created(&mut self, seq: i64) {
        self.event("MessageCreated", message(seq, "someone's"))
            .await;
    }

    /// The next call; Pings are counted.
    pub(crate) async fn call(&mut self) -> Call {
        self.call_or_end().await.expect("a call")
    }

    /// The next call, or `None` at the connection's end.
    pub(crate) async fn call_or_end(&mut self) -> Option<Call> {
        loop {
            let record = self.record().await?;
            match record["type"].as_i64() {
                Some(1) => {
                    return Some(Call {
                        id: record["invocationId"].as_str().unwrap().to_owned(),
                        target: record["target"].as_str().unwrap().to_owned(),
                        argument: record["arguments"][0].clone(),
                    });
                }
                Some(6) => self.pings += 1,
                Some(7) => return None,
                _ => panic!("unexpected: {record}"),
            }
        }
    }

    /// The next call, if one comes within this time.
    pub(crate) async fn call_within(&mut self, limit: Duration) -> Option<Call> {
        tokio::time::timeout(limit, self.call()).await.ok()
    }

    /// The client's answer to a call of ours.
    pub(crate) async fn answer(&mut self) -> Value {
        loop {
            let record = self.record().await.expect("an answer");
            if record["type"] == 3 {
                return record;
            }
        }
    }

    pub(crate) async fn complete(&mut self, id: &str, result: Value) {
        let record = json!({"type": 3, "invocationId": id, "result": result});
        self.write(&record.to_string()).await;
    }

    pub(crate) async fn refuse(&mut self, id: &str, error: &str) {
        let record = json!({"type": 3, "invocationId": id, "error": error});
        self.write(&record.to_string()).await;
    }

    /// Answers a send as stored at `seq`.
    pub(crate) async fn stored(&mut self, call: &Call, seq: i64) {
        assert_eq!(call.target, "SendMessage");
        let mut message = message(seq, call.argument["content"].as_str().unwrap());
        message["senderId"] = ME.into();
        message["clientMessageId"] = call.argument["clientMessageId"].clone();
        self.complete(&call.id, message).await;
    }

    /// Answers the next call, a `GetChanges`, and returns its argument.
    pub(crate) async fn changes(
        &mut self,
        items: &[Event],
        seq: i64,
        more: bool,
        complete: bool,
    ) -> Value {
        let call = self.call().await;
        assert_eq!(call.target, "GetChanges");
        let page = json!({"items": items, "seq": seq, "hasMore": more, "complete": complete});
        self.complete(&call.id, page).await;
        call.argument
    }

    pub(crate) async fn closing(&mut self, reason: &str, allow_reconnect: bool) {
        self.event("Closing", json!({"reason": reason})).await;
        let record = json!({"type": 7, "allowReconnect": allow_reconnect});
        self.write(&record.to_string()).await;
    }
}

/// Message `seq` of `ROOM`, as its id says.
pub(crate) fn message(seq: i64, content: &str) -> Value {
    json!({"id": 100 + seq, "roomId": ROOM, "seq": seq, "changedSeq": seq, "senderId": 2,
        "content": content, "sentAt": "2026-01-31T12:00:00.000Z"})
}

/// The event that message `seq` of `ROOM` was created.
pub(crate) fn created(seq: i64) -> Event {
    Event::MessageCreated(serde_json::from_value(message(seq, "someone's")).unwrap())
}
