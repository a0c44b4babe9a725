//! A hub client that shows what is on the wire, over any transport: records as JSON, in the order in which they come. Those
//! in MessagePack are shown as what they would be in JSON, read and written by another implementation than ours.

mod link;
mod packed;

use std::collections::VecDeque;
use std::time::Duration;

use chat_core::protocol::signalr::{Encoding, RecordReader};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{MaybeTlsStream, client_async, connect_async, tungstenite};

use self::link::{Link, Requests, Socket};
use self::packed::unpacked;
pub use self::packed::{framed, packed_of, text_of};
use crate::Person;

/// How long anything may take: only a bound for what would hang otherwise.
pub const WITHIN: Duration = Duration::from_secs(20);
/// Bytes that a record of the server's may have: far more than any has.
const RECORD_BYTES: usize = 4 * 1024 * 1024;

/// How a call ended: its result, or the text of its error.
pub type Completion = Result<Value, String>;

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// A WebSocket.
    WebSockets,
    /// Server-Sent Events, and POSTs.
    ServerSentEvents,
    /// Polls, and POSTs.
    LongPolling,
}

/// A connection to the hub.
#[derive(Debug)]
pub struct Hub {
    link: Link,
    reader: RecordReader,
    /// How records are written, once a handshake is accepted.
    encoding: Option<Encoding>,
    records: VecDeque<Value>,
    calls: u64,
    /// `Connected`, if it came.
    pub connected: Value,
}

impl Hub {
    /// Negotiates, connects over a WebSocket, shakes hands and waits for `Connected`.
    pub async fn connect(person: &Person) -> Self {
        Self::connect_in(person, Encoding::Json).await
    }

    /// As [`Hub::connect`], in this encoding.
    pub async fn connect_in(person: &Person, encoding: Encoding) -> Self {
        Self::connect_over(person, Over::WebSockets, encoding).await
    }

    /// As [`Hub::connect`], over this transport and in this encoding.
    pub async fn connect_over(person: &Person, over: Over, encoding: Encoding) -> Self {
        Self::try_connect_over(person, over, encoding)
            .await
            .expect("the hub takes the connection")
    }

    /// As [`Hub::connect`], while the server may go away.
    ///
    /// # Errors
    /// It did.
    pub async fn try_connect(person: &Person) -> anyhow::Result<Self> {
        Self::try_connect_over(person, Over::WebSockets, Encoding::Json).await
    }

    async fn try_connect_over(
        person: &Person,
        over: Over,
        encoding: Encoding,
    ) -> anyhow::Result<Self> {
        let offer = Self::negotiate(person).await?;
        let id = offer["connectionToken"].as_str().expect("a token");
        let mut hub = Self::open_over(person, over, id).await?;
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

    /// What negotiation answers.
    ///
    /// # Errors
    /// A refusal, or no server.
    pub async fn negotiate(person: &Person) -> anyhow::Result<Value> {
        let negotiate = person.api.request(
            reqwest::Method::POST,
            "/v1/hub/negotiate?negotiateVersion=1",
        );
        let offer = crate::Api::send(negotiate).await?;
        anyhow::ensure!(offer.status == 200, "{}: {}", offer.status, offer.text);
        Ok(offer.json())
    }

    /// Opens a negotiated connection over this transport, and no more.
    ///
    /// # Errors
    /// A refusal, or no server.
    pub async fn open_over(person: &Person, over: Over, id: &str) -> anyhow::Result<Self> {
        let api = &person.api;
        Ok(match over {
            Over::WebSockets => Self::open(person, &format!("?id={id}")).await?,
            Over::ServerSentEvents => Self::over(Link::Requests(Requests::events(api, id).await?)),
            Over::LongPolling => Self::over(Link::Requests(Requests::polls(api, id).await?)),
        })
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
        Ok(Self::over(Link::Socket(Box::new(Socket(socket)))))
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
        Ok(Self::over(Link::Socket(Box::new(Socket(socket)))))
    }

    const fn over(link: Link) -> Self {
        Self {
            link,
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
        let (payload, is_binary) = self.link.next().await.ok_or(anyhow::anyhow!("closed"))?;
        assert!(
            is_binary.is_none_or(|is| is == (encoding == Encoding::MessagePack)),
            "the answer is in the agreed kind of message"
        );
        let rest = payload
            .strip_prefix(b"{}\x1e")
            .unwrap_or_else(|| panic!("the handshake is accepted: {payload:?}"));
        self.encoding = Some(encoding);
        self.take(rest);
        Ok(())
    }

    /// The connection goes on over this socket: records come in this encoding, without a handshake.
    pub const fn resumed(&mut self, encoding: Encoding) {
        self.encoding = Some(encoding);
    }

    /// Sends a text frame, or posts it, as it is.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send_text(&mut self, text: &str) -> anyhow::Result<()> {
        self.send_frame(Message::text(text)).await
    }

    /// Sends a frame as it is, or posts what is in it.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send_frame(&mut self, frame: Message) -> anyhow::Result<()> {
        self.link.send(frame).await
    }

    /// Sends a record in the agreed encoding.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send_record(&mut self, record: &Value) -> anyhow::Result<()> {
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
            let (payload, is_binary) = self.link.next().await?;
            let is_packed = self.encoding == Some(Encoding::MessagePack);
            assert!(
                is_binary.is_none_or(|is| is == is_packed),
                "a message is of the agreed kind"
            );
            self.take(&payload);
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
    pub async fn call(&mut self, target: &str, argument: &Value) -> anyhow::Result<String> {
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
