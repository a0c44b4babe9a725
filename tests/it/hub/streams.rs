//! Server-Sent Events: the stream's head, its events to the byte, and its end (signalr.md, section 4).

use std::time::{Duration, Instant};

use chat_tests::{Hub, Over, Person, Server, WITHIN};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::connecting::refused;
use super::requests::{connect, id, request};

/// More than a socket's buffers and what waits in the server for a connection, together.
const MORE_THAN_WAITS: usize = 8 << 20;

async fn stream(person: &Person, id: &str) -> Response {
    let request = person
        .api
        .request(Method::GET, &format!("/v1/hub?id={id}"))
        .header("accept", "text/event-stream");
    request.send().await.unwrap()
}

/// Reads until the stream has so many bytes, or its end.
async fn read(stream: &mut Response, bytes: usize) -> String {
    let mut text = Vec::new();
    timeout(WITHIN, async {
        while text.len() < bytes
            && let Some(chunk) = stream.chunk().await.unwrap()
        {
            text.extend(chunk);
        }
    })
    .await
    .expect("it comes in time");
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_stream_is_there_before_there_is_data_and_each_record_is_an_event() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let id = id(&ann).await;
    let mut stream = stream(&ann, &id).await;
    assert_eq!(stream.status(), 200);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache,no-store"),
        ("pragma", "no-cache"),
        ("content-encoding", "identity"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(stream.headers()[name], value);
    }
    assert_eq!(read(&mut stream, 1).await, ":\r\n");
    let query = format!("?id={id}");
    let handshake = "{\"protocol\":\"json\",\"version\":1}\x1e";
    let posted = request(&ann, Method::POST, &query, handshake).await;
    assert_eq!((posted.status, &*posted.text), (200, ""));
    let accepted = "data: {}\x1e\r\n\r\n";
    let began = read(&mut stream, accepted.len() + 1).await;
    let connected = began
        .strip_prefix(accepted)
        .expect("the answer comes first");
    let connected = connected
        .strip_prefix("data: ")
        .and_then(|event| event.strip_suffix("\x1e\r\n\r\n"))
        .expect("one event");
    let connected: Value = serde_json::from_str(connected).unwrap();
    assert_eq!(connected["target"], "Connected");
    let close = request(&ann, Method::POST, &query, "{\"type\":7}\x1e").await;
    assert_eq!(close.status, 200);
    let rest = read(&mut stream, usize::MAX).await;
    assert_eq!(
        rest, "data: {\"type\":7}\x1e\r\n\r\n",
        "and the stream ends"
    );
    refused(
        &request(&ann, Method::POST, &query, "").await,
        404,
        "not_found",
    );
}

#[tokio::test]
async fn events_carry_no_messagepack() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let id = id(&ann).await;
    let mut stream = stream(&ann, &id).await;
    let handshake = "{\"protocol\":\"messagepack\",\"version\":1}\x1e";
    request(&ann, Method::POST, &format!("?id={id}"), handshake).await;
    assert_eq!(
        read(&mut stream, usize::MAX).await,
        ":\r\ndata: {\"error\":\"Cannot use the 'messagepack' protocol on the current transport. The transport does not \
         support 'Binary' transfer format.\"}\x1e\r\n\r\n"
    );
}

#[tokio::test]
async fn the_end_of_the_stream_is_the_connections() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let (hub, id) = connect(&ann, Over::ServerSentEvents).await;
    drop(hub);
    timeout(WITHIN, async {
        let query = format!("?id={id}");
        while request(&ann, Method::POST, &query, "").await.status != 404 {}
    })
    .await
    .expect("it is gone soon");
    assert_eq!(connections(&server).await, 0);
}

/// Connections that are open.
async fn connections(server: &Server) -> u64 {
    let metrics = server.anyone().get("/metrics").await;
    metrics
        .text
        .lines()
        .find_map(|line| line.strip_prefix("chat_hub_connections "))
        .and_then(|count| count.parse().ok())
        .unwrap_or_else(|| panic!("no count of connections in {}", metrics.text))
}

#[tokio::test]
async fn a_client_that_stops_reading_its_stream_is_gone_soon_and_others_are_unharmed() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let room = ann.room_with("room", &[&bob]).await;
    let mut sender = Hub::connect(&bob).await;
    let id = id(&ann).await;
    // Its system takes next to nothing for it, so that what it leaves unread waits in the server.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let address = server.url().strip_prefix("http://").unwrap();
    let mut stalled = socket.connect(address.parse().unwrap()).await.unwrap();
    let token = ann.api.token().unwrap();
    let head = format!(
        "GET /v1/hub?id={id}&access_token={token} HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n"
    );
    stalled.write_all(head.as_bytes()).await.unwrap();
    let mut begin = [0; 12];
    stalled.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    let handshake = "{\"protocol\":\"json\",\"version\":1}\x1e";
    request(&ann, Method::POST, &format!("?id={id}"), handshake).await;
    let began = Instant::now();
    while connections(&server).await < 2 {
        assert!(began.elapsed() < WITHIN, "it enters");
    }

    let content = "🐌".repeat(4_000);
    for _ in 0..MORE_THAN_WAITS / content.len() {
        let send = json!({"roomId": room, "content": content});
        sender.invoke("SendMessage", send).await.unwrap();
    }
    let full = Instant::now();
    while connections(&server).await > 1 {
        assert!(
            full.elapsed() < Duration::from_secs(60),
            "it is still there"
        );
        sender.is_quiet().await;
    }
}
