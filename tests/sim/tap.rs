//! A transport with a listener: what a node says on a line, seen before the SDK puts it in order.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use chat_client::{Transport, WebSocket};
use chat_core::model::{RoomId, Seq};
use futures_util::{Sink, Stream};
use serde_json::Value;

use crate::line::End;
use crate::world::World;

/// What ends a record of the JSON hub protocol.
const RECORD_END: u8 = 0x1e;

/// A client's transport.
pub(crate) struct Tap {
    socket: WebSocket<End>,
    ear: Ear,
}

impl Tap {
    pub(crate) fn boxed(
        socket: WebSocket<End>,
        world: Arc<World>,
        client: usize,
    ) -> Box<dyn Transport> {
        let ear = Ear {
            world,
            client,
            partial: Vec::new(),
            sends: BTreeMap::new(),
            heard: BTreeMap::new(),
        };
        Box::new(Self { socket, ear })
    }
}

struct Ear {
    world: Arc<World>,
    client: usize,
    partial: Vec<u8>,
    /// The `clientMessageId`s of this line's sends, by their invocations.
    sends: BTreeMap<String, String>,
    /// The places pushed or completed on this line.
    heard: BTreeMap<RoomId, Heard>,
}

#[derive(Default)]
struct Heard {
    last_push: Seq,
    last: Seq,
    pushed: BTreeSet<Seq>,
}

impl Ear {
    fn said(&mut self, record: &[u8]) {
        let Ok(record) = serde_json::from_slice::<Value>(record) else {
            return;
        };
        let (id, argument) = (&record["invocationId"], &record["arguments"][0]);
        if let (Some(id), Some(sent)) = (id.as_str(), argument["clientMessageId"].as_str()) {
            self.sends.insert(id.to_owned(), sent.to_owned());
            self.world.count_send(sent);
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        while let Some(end) = self.partial.iter().position(|b| *b == RECORD_END) {
            let record: Vec<u8> = self.partial.drain(..=end).collect();
            if let Ok(record) = serde_json::from_slice::<Value>(&record[..end]) {
                match record["type"].as_i64() {
                    Some(1) => self.event(&record),
                    Some(3) => self.completion(&record),
                    _ => {}
                }
            }
        }
    }

    fn event(&mut self, record: &Value) {
        let argument = &record["arguments"][0];
        let Some((room, seq)) = place(argument) else {
            return;
        };
        let target = record["target"].as_str().unwrap_or_default();
        let client = self.client;
        self.world
            .pushed(client, room, seq, target == "RoomDeleted");
        let heard = self.heard.entry(room).or_default();
        if seq <= heard.last_push {
            self.world.violation(format!(
                "OutOfOrder: client {client} was pushed {target} {room}/{seq} after {}",
                heard.last_push
            ));
        }
        heard.last_push = heard.last_push.max(seq);
        heard.last = heard.last.max(seq);
        heard.pushed.insert(seq);
    }

    fn completion(&mut self, record: &Value) {
        let id = record["invocationId"].as_str().unwrap_or_default();
        let Some(sent) = self.sends.remove(id) else {
            return;
        };
        let Some((room, seq)) = place(&record["result"]) else {
            return;
        };
        let client = self.client;
        let heard = self.heard.entry(room).or_default();
        // A send that went out more than once may be answered with what it did the first time.
        let is_first = self.world.sends_of(&sent) == 1;
        if is_first && seq < heard.last && !heard.pushed.contains(&seq) {
            self.world.violation(format!(
                "LateReply: client {client} had its completion of {room}/{seq} after {}, a hole until then",
                heard.last
            ));
        }
        heard.last = heard.last.max(seq);
    }
}

/// The place of an event or a message in its room.
fn place(argument: &Value) -> Option<(RoomId, Seq)> {
    let room = argument["roomId"].as_i64()?;
    let seq = argument["changedSeq"]
        .as_i64()
        .or(argument["seq"].as_i64())?;
    Some((RoomId(room), Seq(seq)))
}

impl Transport for Tap {}

impl Stream for Tap {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(Pin::new(&mut self.socket).poll_next(cx));
        if let Some(Ok(bytes)) = &item {
            self.ear.hear(bytes);
        }
        Poll::Ready(item)
    }
}

impl Sink<Bytes> for Tap {
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, record: Bytes) -> io::Result<()> {
        self.ear
            .said(record.strip_suffix(&[RECORD_END]).unwrap_or(&record));
        Pin::new(&mut self.socket).start_send(record)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx)
    }
}
