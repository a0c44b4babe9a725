//! A hub session over a stream in this process, on a clock that stands while anything is to be done: what depends on seconds,
//! and on how fast a client reads.

use std::time::Duration;

use async_trait::async_trait;
use chat_core::auth::{AuthError, Authenticator, Caller, Identity};
use chat_core::model::RoomId;
use chat_core::model::limits::Rates;
use chat_core::service::Chat;
use chat_core::store::memory::Memory;
use chat_server::hub::{Ids, serve};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// What the network holds: far less than a history.
const NETWORK_BYTES: usize = 16 * 1024;

/// Knows everyone by their name.
#[derive(Debug)]
struct ByName;

#[async_trait]
impl Authenticator for ByName {
    async fn authenticate(&self, _: &http::request::Parts) -> Result<Identity, AuthError> {
        Err(AuthError::Unauthenticated)
    }

    async fn authenticate_token(&self, token: &str) -> Result<Identity, AuthError> {
        Ok(Identity {
            issuer: "host".into(),
            subject: token.into(),
            name: token.into(),
            session: None,
            expires_at: None,
        })
    }
}

async fn chat() -> (Chat, Caller) {
    let rates = Rates {
        enabled: false,
        ..Rates::default()
    };
    let chat = Chat::builder()
        .store(Memory::new())
        .authenticator(ByName)
        .rates(rates)
        .start()
        .await
        .expect("a chat");
    let ann = chat.authenticate_token("ann").await.expect("ann");
    (chat, ann)
}

/// A room with far more in it than the network holds.
async fn long_history(chat: &Chat, ann: &Caller) -> (RoomId, usize) {
    let room = chat.create_room(ann, "long").await.expect("a room");
    let messages = 300;
    for _ in 0..messages {
        chat.send(ann.user_id, room.id, "x".repeat(4_000))
            .await
            .expect("sent");
    }
    (room.id, messages)
}

/// A client's end.
struct Client {
    socket: WebSocketStream<DuplexStream>,
    serving: JoinHandle<()>,
}

impl Client {
    async fn connect(chat: &Chat, caller: &Caller) -> Self {
        let (ours, theirs) = tokio::io::duplex(NETWORK_BYTES);
        let ids = Ids {
            number: chat.fanout().number(),
            public_id: "one".into(),
        };
        let serving = tokio::spawn(serve(chat.clone(), caller.clone(), ids, theirs));
        let socket = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
        let mut client = Self { socket, serving };
        client
            .send(&[json!({"protocol": "json", "version": 1})])
            .await;
        assert_eq!(client.next().await, json!({}));
        assert_eq!(client.next().await["target"], "Connected");
        client
    }

    /// Sends records in one message.
    async fn send(&mut self, records: &[Value]) {
        let text: String = records.iter().map(|r| format!("{r}\u{1e}")).collect();
        self.socket
            .send(Message::text(text))
            .await
            .expect("connected");
    }

    /// The next record but `Heads`, Pings included.
    async fn next(&mut self) -> Value {
        loop {
            let message = self.socket.next().await.expect("connected");
            let text = message.expect("sound").into_text().expect("text");
            let record = text.strip_suffix('\u{1e}').expect("one whole record");
            let record: Value = serde_json::from_str(record).expect("JSON");
            if record["target"] != "Heads" {
                return record;
            }
        }
    }

    /// The next record that is no Ping.
    async fn answer(&mut self) -> Value {
        loop {
            let record = self.next().await;
            if record["type"] != 6 {
                return record;
            }
        }
    }
}

fn stream(id: &str, room: RoomId) -> Value {
    json!({"type": 4, "invocationId": id, "target": "StreamHistory", "arguments": [{"roomId": room}]})
}

fn call(id: &str) -> Value {
    json!({"type": 1, "invocationId": id, "target": "Ping", "arguments": [{}]})
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_pings_may_be_silent_and_one_that_has_pinged_once_may_not() {
    let (chat, ann) = chat().await;
    let mut client = Client::connect(&chat, &ann).await;
    let start = Instant::now();
    let mut pings = 0;
    while start.elapsed() < Duration::from_secs(60) {
        assert_eq!(client.next().await, json!({"type": 6}), "and nothing else");
        pings += 1;
    }
    assert_eq!(pings, 4, "one every 15 s");
    client.send(&[call("still here")]).await;
    assert_eq!(client.answer().await["invocationId"], "still here");

    // Each whole record is a sign of life, known or not.
    client.send(&[json!({"type": 6})]).await;
    for sign in [json!({"type": 6}), json!({"type": 99}), call("alive")] {
        tokio::time::sleep(Duration::from_secs(20)).await;
        client.send(&[sign]).await;
    }
    let silent = Instant::now();
    assert_eq!(client.answer().await["invocationId"], "alive");
    let closed =
        json!({"type": 7, "error": "Connection closed with an error.", "allowReconnect": true});
    assert_eq!(client.answer().await, closed);
    let after = silent.elapsed();
    assert!(
        (Duration::from_secs(30)..=Duration::from_millis(31_500)).contains(&after),
        "{after:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_cancelled_at_once_has_one_completion() {
    let (chat, ann) = chat().await;
    let (room, messages) = long_history(&chat, &ann).await;
    let mut client = Client::connect(&chat, &ann).await;
    let cancel = json!({"type": 5, "invocationId": "s"});
    let again = cancel.clone();
    client
        .send(&[stream("s", room), cancel, again, call("behind")])
        .await;
    let (mut items, mut completions) = (0, 0);
    loop {
        let record = client.answer().await;
        if record["invocationId"] == "behind" {
            break;
        }
        if record["type"] == 3 {
            assert_eq!(record, json!({"type": 3, "invocationId": "s"}));
            completions += 1;
        } else {
            assert_eq!(completions, 0, "nothing comes behind the completion");
            items += 1;
        }
    }
    assert_eq!(completions, 1);
    assert!(items < messages, "{items} items");
}

#[tokio::test(start_paused = true)]
async fn a_second_stream_under_an_id_in_use_is_refused_and_the_first_goes_on() {
    let (chat, ann) = chat().await;
    let (room, messages) = long_history(&chat, &ann).await;
    let mut client = Client::connect(&chat, &ann).await;
    client.send(&[stream("s", room), stream("s", room)]).await;
    let (mut items, mut refusals) = (0, 0);
    loop {
        let record = client.answer().await;
        assert_eq!(record["invocationId"], "s");
        match record["error"].as_str() {
            Some(error) => {
                assert!(error.starts_with("conflict: "), "{error}");
                refusals += 1;
            }
            None if record["type"] == 3 => break,
            None => items += 1,
        }
    }
    assert_eq!((items, refusals), (messages, 1));
}

#[tokio::test(start_paused = true)]
async fn a_connection_lost_in_a_stream_leaves_nothing_running() {
    let (chat, ann) = chat().await;
    let (room, _) = long_history(&chat, &ann).await;
    let running = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = running();
    let mut client = Client::connect(&chat, &ann).await;
    client.send(&[stream("a", room), stream("b", room)]).await;
    assert_eq!(client.answer().await["type"], 2);
    assert!(running() >= before + 3, "the session and its streams");
    let Client { socket, serving } = client;
    drop(socket);
    serving.await.expect("it ends");
    // A task that is told to end does so when it is run next.
    while running() > before {
        tokio::task::yield_now().await;
    }
    assert!(chat.fanout().connections().is_empty());
}
