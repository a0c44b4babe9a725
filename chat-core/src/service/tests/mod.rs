//! Stories of whole nodes, over a memory store and a bus that can be made to fail.

mod commits;
mod lost_events;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;

use super::{Chat, ChatBuilder, Error};
use crate::auth::{AuthError, Authenticator, Caller, Identity};
use crate::fanout::{Connection, Framing, Wire};
use crate::model::limits::Rates;
use crate::model::{Message, RoomId, UserId};
use crate::protocol::rest::{CreateInvite, SendMessage};
use crate::protocol::signalr::Encoding;
use crate::store::Store;

/// How long something may take that takes a few seconds at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// Takes nobody: callers are named by the tests.
#[derive(Debug)]
struct Nobody;

#[async_trait]
impl Authenticator for Nobody {
    async fn authenticate(&self, _: &http::request::Parts) -> Result<Identity, AuthError> {
        Err(AuthError::Unauthenticated)
    }

    async fn authenticate_token(&self, _: &str) -> Result<Identity, AuthError> {
        Err(AuthError::Unauthenticated)
    }
}

fn node(store: impl Store + 'static) -> ChatBuilder {
    let rates = Rates {
        enabled: false,
        ..Rates::default()
    };
    Chat::builder()
        .store(store)
        .authenticator(Nobody)
        .rates(rates)
        .cores(1)
}

async fn user(chat: &Chat, name: &str) -> Caller {
    let user = chat.identify("host".into(), name.to_owned(), name).await;
    caller(user.expect("nothing fails yet"))
}

const fn caller(user_id: UserId) -> Caller {
    Caller {
        user_id,
        session: None,
        expires_at: None,
    }
}

async fn room(chat: &Chat, by: &Caller) -> RoomId {
    chat.create_room(by, "Kitchen").await.expect("made").id
}

/// Invites `guest`, who accepts, both at one node.
async fn admit(chat: &Chat, by: &Caller, room: RoomId, guest: &Caller) {
    let invite = chat.create_invite(by, room, CreateInvite::default()).await;
    let token = invite.expect("invited").token.expect("shown once");
    chat.accept_invite(guest, &token).await.expect("accepted");
}

async fn say(chat: &Chat, by: &Caller, room: RoomId, content: &str) -> Result<Message, Error> {
    say_as(chat, by, room, content, None).await
}

async fn say_as(
    chat: &Chat,
    by: &Caller,
    room: RoomId,
    content: &str,
    client_message_id: Option<&str>,
) -> Result<Message, Error> {
    let send = SendMessage {
        content: content.to_owned(),
        client_message_id: client_message_id.map(str::to_owned),
    };
    Ok(chat.send_message(by, room, send).await?.message)
}

/// A connection, and what it was sent.
struct Listener {
    chat: Chat,
    connection: Arc<Connection>,
    heard: VecDeque<(String, Value)>,
}

impl Listener {
    async fn connect(chat: &Chat, caller: &Caller) -> Self {
        let number = chat.fanout().number();
        let wire = Wire {
            encoding: Encoding::Json,
            framing: Framing::WebSocketText,
        };
        let connection = Connection::new(number, number.to_string(), caller, wire, 1 << 20, None);
        let connection = Arc::new(connection);
        chat.connect(&connection, caller).await.expect("connects");
        Self {
            chat: chat.clone(),
            connection,
            heard: VecDeque::new(),
        }
    }

    /// The next record with a target, and its argument.
    async fn next(&mut self) -> (String, Value) {
        let read = async {
            loop {
                if let Some(record) = self.heard.pop_front() {
                    return record;
                }
                let mut chunks: Vec<Bytes> = Vec::new();
                let _ = self.connection.take(&mut chunks);
                if chunks.is_empty() {
                    self.connection.queued().await;
                    continue;
                }
                let bytes = chunks.concat();
                self.connection.written(bytes.len());
                self.heard.extend(records(&bytes));
            }
        };
        let read = tokio::time::timeout(PATIENCE, read).await;
        read.expect("something is heard")
    }

    /// The argument of the next record with this target, whatever came before it.
    async fn hears(&mut self, target: &str) -> Value {
        loop {
            let (heard, argument) = self.next().await;
            if heard == target {
                return argument;
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.chat.fanout().remove(&self.connection);
    }
}

/// The invocations in frames that a server sends: unmasked, one record a frame.
fn records(mut frames: &[u8]) -> Vec<(String, Value)> {
    let mut records = Vec::new();
    while let [_, length, rest @ ..] = frames {
        let (length, rest) = match (length, rest) {
            (126, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            (length, rest) => (usize::from(*length), rest),
        };
        let (record, rest) = rest.split_at(length);
        frames = rest;
        let record = record.strip_suffix(&[0x1e]).expect("a whole record");
        let record: Value = serde_json::from_slice(record).expect("JSON");
        if let Some(target) = record["target"].as_str() {
            records.push((target.to_owned(), record["arguments"][0].clone()));
        }
    }
    records
}
