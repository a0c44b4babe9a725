//! A client of the hub that does as little as one can.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// What ends a record.
const SEPARATOR: char = '\u{1e}';

/// The record that keeps a connection alive.
pub(crate) const PING: &str = "{\"type\":6}\u{1e}";

/// The same in MessagePack.
pub(crate) const PACKED_PING: &[u8] = &[2, 0x91, 6];

/// A WebSocket to one of the servers.
pub(crate) type Socket = WebSocketStream<TcpStream>;

/// The records of a message from the server.
pub(crate) fn records(text: &str) -> impl Iterator<Item = &str> {
    text.split_terminator(SEPARATOR)
}

/// A WebSocket, before any handshake of the hub's.
pub(crate) async fn open(address: SocketAddr, query: &str) -> Socket {
    let stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    let config = WebSocketConfig::default().read_buffer_size(4 * 1_024);
    let url = format!("ws://{address}/v1/hub{query}");
    let opened = tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await;
    opened.expect("a WebSocket").0
}

/// A connection of the hub that has been told `Connected`.
pub(crate) async fn connect(address: SocketAddr, token: &str) -> Socket {
    let mut socket = open(address, &format!("?access_token={token}")).await;
    let handshake = format!("{{\"protocol\":\"json\",\"version\":1}}{SEPARATOR}");
    socket.send(handshake.into()).await.expect("sent");
    wait_for(&mut socket, |record| record.contains("\"Connected\"")).await;
    socket
}

/// As [`connect`], in MessagePack. Records aren't read but searched: names are text in both encodings.
pub(crate) async fn connect_packed(address: SocketAddr, token: &str) -> Socket {
    let mut socket = open(address, &format!("?access_token={token}")).await;
    let handshake = format!("{{\"protocol\":\"messagepack\",\"version\":1}}{SEPARATOR}");
    socket.send(handshake.into()).await.expect("sent");
    loop {
        let message = socket.next().await.expect("the server goes on");
        if contains(&message.expect("a sound frame").into_data(), "Connected") {
            return socket;
        }
    }
}

/// As [`connect`], with stateful reconnect: what comes is to be acknowledged from now on.
pub(crate) async fn connect_stateful(address: SocketAddr, token: &str) -> Socket {
    let id = negotiate(address, token).await;
    let mut socket = open(address, &format!("?id={id}&access_token={token}")).await;
    // With the Ping that the server waits for before it says anything that is counted.
    let first = format!("{{\"protocol\":\"json\",\"version\":2}}{SEPARATOR}{PING}");
    socket.send(first.into()).await.expect("sent");
    wait_for(&mut socket, |record| record.contains("\"Connected\"")).await;
    socket
}

/// Asks for a connection that can be resumed: the token that opens it.
async fn negotiate(address: SocketAddr, token: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!(
        "POST /v1/hub/negotiate?negotiateVersion=1&useStatefulReconnect=true HTTP/1.1\r\nhost: {address}\r\n\
         authorization: Bearer {token}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let offer: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(offer["useStatefulReconnect"], true, "{offer}");
    offer["connectionToken"].as_str().expect("text").to_owned()
}

/// Whether a record counts for stateful reconnect: not so a Ping, or what is about the counting itself.
pub(crate) fn is_counted(record: &str) -> bool {
    !["{\"type\":6", "{\"type\":7", "{\"type\":8", "{\"type\":9"]
        .iter()
        .any(|begin| record.starts_with(begin))
}

/// The record that acknowledges what was counted.
pub(crate) fn ack(messages: u64) -> Message {
    format!("{{\"type\":8,\"sequenceId\":{messages}}}{SEPARATOR}").into()
}

/// Whether this text stands somewhere in a record.
pub(crate) fn contains(record: &[u8], text: &str) -> bool {
    record
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

/// Reads until this record has come.
pub(crate) async fn wait_for(socket: &mut Socket, wanted: impl Fn(&str) -> bool) -> String {
    loop {
        let message = next_text(socket).await.expect("the server goes on");
        if let Some(record) = records(&message).find(|record| wanted(record)) {
            return record.to_owned();
        }
    }
}

async fn next_text(socket: &mut Socket) -> Option<String> {
    loop {
        match socket.next().await?.expect("a sound frame") {
            Message::Text(text) => return Some(text.to_string()),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

/// A call as it goes over the wire.
pub(crate) fn call(id: u64, target: &str, argument: &serde_json::Value) -> Message {
    let record = json!({
        "type": 1,
        "invocationId": id.to_string(),
        "target": target,
        "arguments": [argument],
    });
    format!("{record}{SEPARATOR}").into()
}
