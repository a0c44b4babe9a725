//! A hub client that shows what is on the wire: records as JSON, in the order in which they come. Those in MessagePack are
//! shown as what they would be in JSON, read and written by another implementation than ours.

use std::collections::VecDeque;
use std::time::Duration;

use chat_core::protocol::signalr::{Encoding, RecordReader};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async, connect_async, tungstenite,
};

use crate::Person;

/// How long anything may take: only a bound for what would hang otherwise.
pub const WITHIN: Duration = Duration::from_secs(20);
/// Bytes that a record of the server's may have: far more than any has.
const RECORD_BYTES: usize = 4 * 1024 * 1024;

/// How a call ended: its result, or the text of its error.
pub type Completion = Result<Value, String>;

/// A connection to the hub.
#[derive(Debug)]
pub struct Hub {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    reader: RecordReader,
    /// How records are written, once a handshake is accepted.
    encoding: Option<Encoding>,
    records: VecDeque<Value>,
    calls: u64,
    /// `Connected`, if it came.
    pub connected: Value,
}

impl Hub {
    /// Negotiates, connects, shakes hands and waits for `Connected`.
    pub async fn connect(person: &Person) -> Self {
        Self::connect_in(person, Encoding::Json).await
    }

    /// As [`Hub::connect`], in this encoding.
    pub async fn connect_in(person: &Person, encoding: Encoding) -> Self {
        Self::try_connect_in(person, encoding)
            .await
            .expect("the hub takes the connection")
    }

    /// As [`Hub::connect`], while the server may go away.
    ///
    /// # Errors
    /// It did.
    pub async fn try_connect(person: &Person) -> anyhow::Result<Self> {
        Self::try_connect_in(person, Encoding::Json).await
    }

    async fn try_connect_in(person: &Person, encoding: Encoding) -> anyhow::Result<Self> {
        let negotiate = person.api.request(
            reqwest::Method::POST,
            "/v1/hub/negotiate?negotiateVersion=1",
        );
        let offer = crate::Api::send(negotiate).await?;
        anyhow::ensure!(offer.status == 200, "{}: {}", offer.status, offer.text);
        let offer = offer.json();
        let id = offer["connectionToken"]
            .as_str()
            .expect("a token")
            .to_owned();
        let mut hub = Self::open(person, &format!("?id={id}")).await?;
        let protocol = encoding.name();
        hub.shake(&format!(
            "{{\"protocol\":\"{protocol}\",\"version\":1}}\x1e"
        ))
        .await?;
        let connected = hub.next().await.ok_or(anyhow::anyhow!("closed"))?;
        assert_eq!(
            connected["target"], "Connected",
            "the first event: {connected}"
        );
        hub.connected = connected["arguments"][0].clone();
        assert_eq!(hub.connected["connectionId"], offer["connectionId"]);
        Ok(hub)
    }

    /// The request of an upgrade, to be changed before it is sent.
    #[must_use]
    pub fn request(person: &Person, query: &str) -> Request {
        let url = format!(
            "{}/v1/hub{query}",
            person.api.url().replacen("http", "ws", 1)
        );
        let mut request = url.into_client_request().expect("a sound address");
        if let Some(token) = person.api.token() {
            let bearer = HeaderValue::from_str(&format!("Bearer {token}")).expect("ASCII");
            request.headers_mut().insert("authorization", bearer);
        }
        request
    }

    /// Upgrades, and no more.
    ///
    /// # Errors
    /// A refusal, or no server.
    pub async fn open(person: &Person, query: &str) -> Result<Self, tungstenite::Error> {
        Self::upgrade(Self::request(person, query)).await
    }

    /// Upgrades by this request.
    ///
    /// # Errors
    /// A refusal, or no server.
    pub async fn upgrade(request: Request) -> Result<Self, tungstenite::Error> {
        let (socket, _) = connect_async(request).await?;
        Ok(Self::over(socket))
    }

    /// Upgrades by this request over a socket of the caller's.
    ///
    /// # Errors
    /// A refusal, or no server.
    pub async fn upgrade_over(
        stream: TcpStream,
        request: Request,
    ) -> Result<Self, tungstenite::Error> {
        let (socket, _) = client_async(request, MaybeTlsStream::Plain(stream)).await?;
        Ok(Self::over(socket))
    }

    const fn over(socket: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Self {
        Self {
            socket,
            reader: RecordReader::new(RECORD_BYTES),
            encoding: None,
            records: VecDeque::new(),
            calls: 0,
            connected: Value::Null,
        }
    }

    /// Sends a handshake and makes sure that it is accepted.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn shake(&mut self, handshake: &str) -> anyhow::Result<()> {
        self.send_text(handshake).await?;
        self.shaken(if handshake.contains("messagepack") {
            Encoding::MessagePack
        } else {
            Encoding::Json
        })
        .await
    }

    /// Makes sure that the handshake sent is accepted: in this encoding, from now on.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn shaken(&mut self, encoding: Encoding) -> anyhow::Result<()> {
        let (payload, is_binary) = self.frame().await.ok_or(anyhow::anyhow!("closed"))?;
        assert_eq!(
            is_binary,
            encoding == Encoding::MessagePack,
            "the answer is in the agreed kind of message"
        );
        let rest = payload
            .strip_prefix(b"{}\x1e")
            .unwrap_or_else(|| panic!("the handshake is accepted: {payload:?}"));
        self.encoding = Some(encoding);
        self.take(rest);
        Ok(())
    }

    /// Sends a text frame as it is.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send_text(&mut self, text: &str) -> Result<(), tungstenite::Error> {
        self.socket.send(Message::text(text)).await
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send_frame(&mut self, frame: Message) -> Result<(), tungstenite::Error> {
        self.socket.send(frame).await
    }

    /// Sends a record in the agreed encoding.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send_record(&mut self, record: &Value) -> Result<(), tungstenite::Error> {
        match self.encoding {
            Some(Encoding::MessagePack) => {
                self.send_frame(Message::binary(packed_of(record))).await
            }
            _ => self.send_text(&text_of(record)).await,
        }
    }

    /// The next record but Pings and `Heads`, which come when they like; `None` after the server's close frame.
    ///
    /// # Panics
    /// Nothing comes.
    pub async fn next(&mut self) -> Option<Value> {
        self.next_within(WITHIN).await
    }

    /// As [`Hub::next`], for what may take longer.
    ///
    /// # Panics
    /// Nothing comes.
    pub async fn next_within(&mut self, bound: Duration) -> Option<Value> {
        timeout(bound, async {
            loop {
                let record = self.next_of_all().await?;
                if record["type"] != 6 && record["target"] != "Heads" {
                    return Some(record);
                }
            }
        })
        .await
        .expect("a record comes in time")
    }

    /// The next record, whatever it is; waits for as long as it takes.
    ///
    /// # Panics
    /// What comes is no sound record.
    pub async fn next_of_all(&mut self) -> Option<Value> {
        loop {
            if let Some(record) = self.records.pop_front() {
                return Some(record);
            }
            let (payload, is_binary) = self.frame().await?;
            assert_eq!(
                is_binary,
                self.encoding == Some(Encoding::MessagePack),
                "a message is of the agreed kind"
            );
            self.take(&payload);
        }
    }

    /// The next message with something in it, and whether it is binary.
    async fn frame(&mut self) -> Option<(Vec<u8>, bool)> {
        loop {
            match self.socket.next().await? {
                Ok(Message::Text(text)) => return Some((text.as_bytes().to_vec(), false)),
                Ok(Message::Binary(bytes)) => return Some((bytes.to_vec(), true)),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            }
        }
    }

    /// Reads a message's records.
    fn take(&mut self, mut payload: &[u8]) {
        let encoding = self.encoding.unwrap_or(Encoding::Json);
        while let Some(record) = self
            .reader
            .next(encoding, &mut payload)
            .expect("records of a sound length")
        {
            self.records.push_back(match encoding {
                Encoding::MessagePack => unpacked(&record),
                _ => serde_json::from_slice(&record).expect("a JSON record"),
            });
        }
        // Clients throw on a record that is cut: each message ends on a whole one (signalr.md, rule 1).
        assert_eq!(
            self.reader.held_bytes(),
            0,
            "a message ends on a whole record"
        );
    }

    /// The argument of the next event, which must be this one.
    ///
    /// # Panics
    /// It is another record.
    pub async fn event(&mut self, target: &str) -> Value {
        let record = self.next().await.expect("the connection is open");
        assert_eq!(record["target"], target, "{record}");
        record["arguments"][0].clone()
    }

    /// Calls a method without waiting; the id of the call.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn call(
        &mut self,
        target: &str,
        argument: &Value,
    ) -> Result<String, tungstenite::Error> {
        let id = self.calls.to_string();
        self.calls += 1;
        let call =
            json!({"type": 1, "invocationId": id, "target": target, "arguments": [argument]});
        self.send_record(&call).await?;
        Ok(id)
    }

    /// Calls a method and waits for its completion, which must be the next record.
    ///
    /// # Panics
    /// Another record comes first.
    pub async fn invoke(&mut self, target: &str, argument: Value) -> Completion {
        let id = self
            .call(target, &argument)
            .await
            .expect("the connection is open");
        self.completion(&id).await
    }

    /// The next record, which must be the completion of this call.
    ///
    /// # Panics
    /// It is another record.
    pub async fn completion(&mut self, id: &str) -> Completion {
        let record = self.next().await.expect("the connection is open");
        assert_eq!(record["type"], 3, "{record}");
        assert_eq!(record["invocationId"], id, "{record}");
        match record.get("error") {
            Some(error) => Err(error.as_str().expect("a text").to_owned()),
            None => Ok(record["result"].clone()),
        }
    }

    /// Makes sure that nothing has come before the answer to a call made now.
    ///
    /// # Panics
    /// Something has.
    pub async fn is_quiet(&mut self) {
        self.invoke("Ping", json!({}))
            .await
            .expect("a Ping is answered");
    }

    /// Makes sure that the server says these last words: `Closing` where there is a reason, then this Close record, then
    /// its close frame.
    ///
    /// # Panics
    /// It says something else.
    pub async fn closes(&mut self, reason: Option<&str>, close: Value) {
        if let Some(reason) = reason {
            assert_eq!(self.event("Closing").await, json!({"reason": reason}));
        }
        assert_eq!(self.next().await, Some(close));
        assert_eq!(self.next().await, None, "nothing after Close");
    }
}

/// A record on the wire.
#[must_use]
pub fn text_of(record: &Value) -> String {
    format!("{record}\x1e")
}

/// The same record in MessagePack, as the official clients write it.
#[must_use]
pub fn packed_of(record: &Value) -> Vec<u8> {
    let headers = record.get("headers").cloned().unwrap_or(json!({}));
    let id = &record["invocationId"];
    let mut items = vec![record["type"].clone()];
    match record["type"].as_i64() {
        Some(1 | 4) => {
            items.extend([headers, id.clone(), record["target"].clone()]);
            items.push(record["arguments"].clone());
            items.extend(record.get("streamIds").cloned());
        }
        Some(2) => items.extend([headers, id.clone(), record["item"].clone()]),
        Some(3) => {
            items.extend([headers, id.clone()]);
            match (record.get("error"), record.get("result")) {
                (Some(error), _) => items.extend([json!(1), error.clone()]),
                (None, Some(result)) => items.extend([json!(3), result.clone()]),
                (None, None) => items.push(json!(2)),
            }
        }
        Some(5) => items.extend([headers, id.clone()]),
        Some(7) => items.extend([
            record["error"].clone(),
            json!(record["allowReconnect"] == true),
        ]),
        Some(8 | 9) => items.push(record["sequenceId"].clone()),
        _ => {}
    }
    framed(&rmp_serde::to_vec(&items).expect("a value"))
}

/// A MessagePack record behind its length.
#[must_use]
pub fn framed(record: &[u8]) -> Vec<u8> {
    let (mut out, mut length) = (Vec::new(), record.len());
    while length > 0x7f {
        out.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).expect("seven bits"));
    out.extend_from_slice(record);
    out
}

/// The record as it would be in JSON. It must have the items that the server is to write: all clients read those.
fn unpacked(record: &[u8]) -> Value {
    let mut rest = record;
    let items: Vec<Value> = rmp_serde::from_read(&mut rest).expect("a MessagePack array");
    assert!(rest.is_empty(), "nothing behind the array");
    let no_headers = json!({});
    match &items[..] {
        [kind, headers, id, target, arguments, stream_ids]
            if *kind == 1 && *headers == no_headers && *stream_ids == json!([]) =>
        {
            let mut record = json!({"type": 1, "target": target, "arguments": arguments});
            if !id.is_null() {
                record["invocationId"] = id.clone();
            }
            record
        }
        [kind, headers, id, item] if *kind == 2 && *headers == no_headers => {
            json!({"type": 2, "invocationId": id, "item": item})
        }
        [kind, headers, id, how, rest @ ..] if *kind == 3 && *headers == no_headers => {
            let mut record = json!({"type": 3, "invocationId": id});
            match (how.as_i64(), rest) {
                (Some(1), [error]) => record["error"] = error.clone(),
                (Some(2), []) => {}
                (Some(3), [result]) => record["result"] = result.clone(),
                other => panic!("not a completion: {other:?}"),
            }
            record
        }
        [kind] if *kind == 6 => json!({"type": 6}),
        [kind, error, allow_reconnect] if *kind == 7 => {
            let mut record = json!({"type": 7});
            if !error.is_null() {
                record["error"] = error.clone();
            }
            if *allow_reconnect == true {
                record["allowReconnect"] = json!(true);
            }
            record
        }
        [kind, sequence_id] if *kind == 8 || *kind == 9 => {
            json!({"type": kind, "sequenceId": sequence_id})
        }
        other => panic!("no record that clients read: {other:?}"),
    }
}
