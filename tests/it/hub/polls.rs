//! Long polling: what each poll is answered (signalr.md, section 5).

use chat_tests::{Answer, Person, Server, text_of};
use futures_util::future::select;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::connecting::{refused, send};
use super::requests::{id, request};

const HANDSHAKE: &str = "{\"protocol\":\"json\",\"version\":1}\x1e";

/// Polls once.
async fn poll(person: &Person, id: &str) -> Answer {
    let poll = request(person, Method::GET, &format!("?id={id}"), "").await;
    if poll.status < 300 {
        for (name, value) in [
            ("cache-control", "no-cache, no-store"),
            ("pragma", "no-cache"),
            ("expires", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ] {
            assert_eq!(poll.header(name), value);
        }
    }
    poll
}

/// The records of a poll.
fn records(poll: &Answer) -> Vec<Value> {
    assert_eq!(poll.status, 200, "{}", poll.text);
    assert_eq!(poll.header("content-type"), "application/octet-stream");
    assert_eq!(poll.header("content-length"), poll.text.len().to_string());
    let whole = poll.text.strip_suffix('\x1e').expect("whole records");
    let records = whole.split('\x1e');
    records
        .map(|record| serde_json::from_str(record).expect("a record"))
        .collect()
}

async fn post(person: &Person, id: &str, body: &str) {
    let posted = request(person, Method::POST, &format!("?id={id}"), body).await;
    assert_eq!((posted.status, &*posted.text), (200, ""));
}

/// Opens a connection and takes what comes first.
async fn open(person: &Person) -> String {
    let id = id(person).await;
    let first = poll(person, &id).await;
    assert_eq!((first.status, &*first.text), (200, ""));
    assert_eq!(first.header("content-length"), "0");
    post(person, &id, HANDSHAKE).await;
    let mut got = Vec::new();
    while got.len() < 2 {
        got.extend(records(&poll(person, &id).await));
    }
    assert_eq!(got[0], json!({}));
    assert_eq!(got[1]["target"], "Connected");
    id
}

fn ping(id: &str) -> String {
    text_of(&json!({"type": 1, "invocationId": id, "target": "Ping", "arguments": [{}]}))
}

/// Polls in the background.
fn spawn_poll(person: &Person, id: &str) -> tokio::task::JoinHandle<Answer> {
    let (person, id) = (person.clone(), id.to_owned());
    tokio::spawn(async move { poll(&person, &id).await })
}

#[tokio::test]
async fn two_polls_at_once_end_the_older_and_the_newer_waits() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let id = open(&ann).await;
    // Whichever comes first is ended by the other.
    let polls = select(spawn_poll(&ann, &id), spawn_poll(&ann, &id));
    let (older, newer) = polls.await.factor_first();
    let older = older.unwrap();
    assert_eq!((older.status, &*older.text), (204, ""));
    assert_eq!(older.header("content-type"), "text/plain");
    post(&ann, &id, &ping("a")).await;
    assert_eq!(records(&newer.await.unwrap())[0]["invocationId"], "a");
}

#[tokio::test]
async fn delete_ends_the_connection_and_the_poll_that_waits_and_is_404_the_second_time() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let id = open(&ann).await;
    let query = format!("?id={id}");
    let room = ann.room_with("room", &[]).await;
    let joined = poll(&ann, &id).await;
    assert_eq!(records(&joined)[0]["target"], "RoomJoined");
    // What was posted before the end is done still.
    let send_one = json!({"type": 1, "target": "SendMessage", "arguments": [{"roomId": room, "content": "last words"}]});
    let waiting = spawn_poll(&ann, &id);
    post(&ann, &id, &text_of(&send_one)).await;
    let ended = request(&ann, Method::DELETE, &query, "").await;
    assert_eq!((ended.status, &*ended.text), (202, ""));
    // It has the message, or nothing, or came too late.
    let waiting = waiting.await.unwrap();
    assert!([200, 204, 404].contains(&waiting.status), "{waiting:?}");
    for method in [Method::DELETE, Method::GET, Method::POST] {
        refused(&request(&ann, method, &query, "").await, 404, "not_found");
    }
    loop {
        let changes = ann.changes(room, 1).await;
        match changes["items"].as_array().map(Vec::as_slice) {
            Some([sent]) => break assert_eq!(sent["content"], "last words"),
            _ => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn the_end_is_fetched_by_a_poll_told_by_the_next_and_then_the_id_is_gone() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let id = open(&ann).await;
    let query = format!("?id={id}");
    post(&ann, &id, &(ping("a") + &text_of(&json!({"type": 7})))).await;
    let mut got = Vec::new();
    while got.len() < 2 {
        got.extend(records(&poll(&ann, &id).await));
    }
    assert_eq!(got[0]["invocationId"], "a");
    assert_eq!(got[1], json!({"type": 7}));
    refused(
        &request(&ann, Method::POST, &query, "").await,
        404,
        "not_found",
    );
    let over = poll(&ann, &id).await;
    assert_eq!(
        (over.status, over.header("content-type")),
        (204, "text/plain")
    );
    refused(&poll(&ann, &id).await, 404, "not_found");
    refused(
        &request(&ann, Method::DELETE, &query, "").await,
        404,
        "not_found",
    );

    // A client that deletes as soon as it has the Close is told that it was there.
    let id = open(&ann).await;
    post(&ann, &id, &text_of(&json!({"type": 7}))).await;
    assert_eq!(records(&poll(&ann, &id).await), [json!({"type": 7})]);
    let ended = request(&ann, Method::DELETE, &format!("?id={id}"), "").await;
    assert_eq!(ended.status, 202);
    refused(&poll(&ann, &id).await, 404, "not_found");
}

#[tokio::test]
async fn a_refused_handshake_is_fetched_and_then_over() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let id = id(&ann).await;
    assert_eq!(poll(&ann, &id).await.status, 200);
    post(&ann, &id, "{\"protocol\":\"morse\",\"version\":1}\x1e").await;
    let error = json!({"error": "The protocol 'morse' is not supported."});
    assert_eq!(records(&poll(&ann, &id).await), [error]);
    assert_eq!(poll(&ann, &id).await.status, 204);
    refused(&poll(&ann, &id).await, 404, "not_found");
}

#[tokio::test]
async fn a_poll_aborted_while_a_record_is_written_loses_nothing() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let room = ann.room_with("room", &[&bob]).await;
    let id = open(&ann).await;
    let address = server.url().strip_prefix("http://").unwrap();
    let token = ann.api.token().unwrap();
    for n in 0..20 {
        let mut aborted = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "GET /v1/hub?id={id} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        aborted.write_all(head.as_bytes()).await.unwrap();
        if n % 2 == 0 {
            // Time for it to be waiting, on every other round.
            post(&ann, &id, "").await;
        }
        drop(aborted);
        let sent = bob.say(room, &format!("message {n}")).await;
        let mut got = Vec::new();
        while got.is_empty() {
            // The aborted one may come after ours, and end it.
            let poll = poll(&ann, &id).await;
            if poll.status == 200 && !poll.text.is_empty() {
                got = records(&poll);
            }
        }
        assert_eq!(got.len(), 1, "{got:?}");
        assert_eq!(got[0]["arguments"][0], sent);
    }
}

#[tokio::test]
async fn a_client_that_doesnt_poll_is_closed_as_slow_and_fetches_that() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let room = ann.room_with("room", &[&bob]).await;
    let id = open(&ann).await;
    let mut sender = chat_tests::Hub::connect(&bob).await;
    let content = "🐌".repeat(4_000);
    // A mebibyte waits for a connection at most.
    let mut calls = Vec::new();
    for _ in 0..(1 << 20) / content.len() + 2 {
        let send = json!({"roomId": room, "content": content});
        calls.push(sender.call("SendMessage", &send).await.unwrap());
    }
    for call in &calls {
        sender.completion(call).await.unwrap();
    }
    let got = records(&poll(&ann, &id).await);
    let closing = json!({"type": 1, "target": "Closing", "arguments": [{"reason": "slow"}]});
    assert_eq!(got, [closing, json!({"type": 7, "allowReconnect": true})]);
    assert_eq!(poll(&ann, &id).await.status, 204);
    sender.is_quiet().await;
}

#[tokio::test]
async fn binary_records_go_through_polls_as_they_are() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let id = id(&ann).await;
    assert_eq!(poll(&ann, &id).await.status, 200);
    post(
        &ann,
        &id,
        "{\"protocol\":\"messagepack\",\"version\":1}\x1e",
    )
    .await;
    let path = format!("/v1/hub?id={id}");
    let mut got = Vec::new();
    // The handshake's answer, and `Connected` behind its length.
    while got.len() < 4 {
        let poll = ann.api.request(Method::GET, &path).send().await.unwrap();
        got.extend(poll.bytes().await.unwrap());
    }
    assert_eq!(&got[..3], b"{}\x1e");
    let close = ann
        .api
        .request(Method::POST, &path)
        .body(vec![3, 0x92, 7, 0xc0]);
    assert_eq!(send(close).await.status, 200);
    let poll = ann.api.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(poll.bytes().await.unwrap(), [4, 0x93, 7, 0xc0, 0xc2][..]);
}
