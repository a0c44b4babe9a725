//! MessagePack on the hub, and both encodings in one room.

use chat_client::{Client, ClientEvent, Encoding};
use chat_tests::{Hub, Person, Server, WITHIN, framed, packed_of};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

const HANDSHAKE: &[u8] = b"{\"protocol\":\"messagepack\",\"version\":1}\x1e";

async fn connect(person: &Person) -> Hub {
    Hub::connect_in(person, Encoding::MessagePack).await
}

/// The Close record of a broken protocol.
fn broken() -> Value {
    json!({"type": 7, "error": "Connection closed with an error.", "allowReconnect": true})
}

fn ping(id: &str) -> Vec<u8> {
    packed_of(&json!({"type": 1, "invocationId": id, "target": "Ping", "arguments": [{}]}))
}

/// The bytes of `"91 06"` as a record.
fn record(hex: &str) -> Message {
    let bytes = hex.split_whitespace();
    let bytes: Vec<u8> = bytes
        .map(|byte| u8::from_str_radix(byte, 16).expect("two digits"))
        .collect();
    Message::binary(framed(&bytes))
}

#[tokio::test]
async fn a_handshake_and_three_calls_come_in_one_frame_or_byte_by_byte_as_text_or_binary() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let mut all = HANDSHAKE.to_vec();
    for id in ["a", "b", "c"] {
        all.extend(ping(id));
    }
    // As the official JavaScript client sends it, as text; and in both versions and any case.
    let text = "{\"protocol\":\"MessagePack\",\"version\":2}\x1e";
    let mut hub = Hub::open(&ann, "").await.unwrap();
    hub.send_text(text).await.unwrap();
    hub.shaken(Encoding::MessagePack).await.unwrap();
    hub.event("Connected").await;
    hub.is_quiet().await;

    for pieces in [all.len(), 50, 1] {
        let mut hub = Hub::open(&ann, "").await.unwrap();
        for piece in all.chunks(pieces) {
            hub.send_frame(Message::binary(piece.to_vec()))
                .await
                .unwrap();
        }
        hub.shaken(Encoding::MessagePack).await.unwrap();
        hub.event("Connected").await;
        for id in ["a", "b", "c"] {
            hub.completion(id).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_room_of_both_encodings_is_told_the_same_in_the_same_order() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let room = ann.room_with("room", &[&bob]).await;
    let mut text = Hub::connect(&ann).await;
    let mut packed = connect(&ann).await;
    let mut other_text = Hub::connect(&bob).await;
    let mut other_packed = connect(&bob).await;
    let content = "Grüße, \"你\"\n".to_owned() + &"x".repeat(300);
    let mut told = Vec::new();
    for n in 0..4 {
        let send = json!({"roomId": room, "content": format!("{n}{content}"), "clientMessageId": format!("c-{n}")});
        let sender = if n % 2 == 0 { &mut text } else { &mut packed };
        let message = sender.invoke("SendMessage", send).await.unwrap();
        assert_eq!(message["seq"], n + 3);
        // Who called has its completion, in its own encoding; the others have the event.
        let others = if n % 2 == 0 { &mut packed } else { &mut text };
        assert_eq!(others.event("MessageCreated").await, message);
        told.push(message);
    }
    for hub in [&mut other_text, &mut other_packed] {
        for message in &told {
            assert_eq!(hub.event("MessageCreated").await, *message);
        }
    }
    // Pipelined by both: each has its completions among the others' events, in the room's order.
    for n in 0..20 {
        let send = json!({"roomId": room, "content": format!("{n}")});
        text.call("SendMessage", &send).await.unwrap();
        packed.call("SendMessage", &send).await.unwrap();
    }
    let mut seen = Vec::new();
    for hub in [&mut text, &mut packed, &mut other_text, &mut other_packed] {
        let mut messages = Vec::new();
        for _ in 0..40 {
            let record = hub.next().await.unwrap();
            messages.push(match record["type"].as_i64() {
                Some(3) => record["result"].clone(),
                _ => record["arguments"][0].clone(),
            });
        }
        seen.push(messages);
    }
    assert!(seen.iter().all(|messages| *messages == seen[0]));
    let places: Vec<_> = seen[0].iter().map(|m| m["seq"].as_i64()).collect();
    assert_eq!(places, (7..47).map(Some).collect::<Vec<_>>());
}

#[tokio::test]
async fn every_method_answers_the_same_in_both_encodings() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let room = ann.room_with("room", &[]).await;
    let sent = ann.say(room, "first").await;
    let mut text = Hub::connect(&ann).await;
    let mut packed = connect(&ann).await;
    assert_eq!(text.connected["rooms"], packed.connected["rooms"]);
    let id = &sent["id"];
    for (method, argument) in [
        ("GetMessages", json!({"roomId": room})),
        (
            "GetMessages",
            json!({"roomId": room, "after": 0, "before": null, "limit": 1}),
        ),
        ("GetChanges", json!({"roomId": room, "since": 0})),
        ("GetChanges", json!({"roomId": room, "since": -1})),
        ("GetMessages", json!({"roomId": room, "limit": 101})),
        (
            "EditMessage",
            json!({"roomId": room, "messageId": id, "content": " "}),
        ),
        ("DeleteMessage", json!({"roomId": room, "messageId": 0})),
        ("SendMessage", json!({"roomId": 0, "content": "x"})),
        ("SendMessage", json!({"roomId": "7", "content": "x"})),
        ("SendMessage", json!({"content": "x"})),
        ("SendMessage", json!([1, "x"])),
        ("StreamHistory", json!({"roomId": room})),
        ("Authenticate", json!({"accessToken": "none"})),
        ("NoSuchMethod", json!({})),
    ] {
        let answers = [
            text.invoke(method, argument.clone()).await,
            packed.invoke(method, argument.clone()).await,
        ];
        assert_eq!(answers[0], answers[1], "{method} {argument}");
    }
    // A member that a client has as `undefined`, and numbers as floats.
    let page = packed
        .invoke(
            "GetMessages",
            json!({"roomId": room as f64, "limit": 1.0, "before": null}),
        )
        .await
        .unwrap();
    assert_eq!(page["items"], json!([sent]));

    let call = json!({"type": 4, "invocationId": "s", "target": "StreamHistory", "arguments": [{"roomId": room}]});
    packed.send_record(&call).await.unwrap();
    assert_eq!(
        packed.next().await.unwrap(),
        json!({"type": 2, "invocationId": "s", "item": sent})
    );
    assert_eq!(
        packed.next().await.unwrap(),
        json!({"type": 3, "invocationId": "s"})
    );
    let edit = json!({"roomId": room, "messageId": id, "content": "second"});
    let edited = packed.invoke("EditMessage", edit).await.unwrap();
    assert_eq!(text.event("MessageEdited").await, edited);
    let delete = json!({"roomId": room, "messageId": id});
    let deleted = text.invoke("DeleteMessage", delete).await.unwrap();
    assert_eq!(packed.event("MessageDeleted").await, deleted);
}

#[tokio::test]
async fn an_unknown_type_between_two_calls_leaves_both_answered() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let mut hub = connect(&ann).await;
    let mut frame = ping("first");
    for between in [
        "91 63",
        "92 08 01",
        "92 09 07",
        "95 03 80 a1 6e 03 01",
        "94 02 80 a1 6e 01",
    ] {
        frame.extend(record(between).into_data());
    }
    frame.extend(ping("second"));
    hub.send_frame(Message::binary(frame)).await.unwrap();
    for id in ["first", "second"] {
        hub.completion(id).await.unwrap();
    }
}

#[tokio::test]
async fn calls_are_taken_as_every_client_writes_them() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let mut hub = connect(&ann).await;
    let long = "x".repeat(300);
    for call in [
        // Some clients copy their HTTP headers into every call.
        json!({"type": 1, "headers": {"Authorization": "Bearer x"}, "invocationId": "你\"", "target": "Ping", "arguments": [{}]}),
        json!({"type": 1, "invocationId": long, "target": "Ping", "arguments": [{}], "streamIds": []}),
        json!({"type": 1, "invocationId": "more", "target": "Ping", "arguments": [{}], "streamIds": null}),
    ] {
        hub.send_record(&call).await.unwrap();
        let id = call["invocationId"].as_str().expect("text");
        hub.completion(id).await.unwrap();
    }
    // Failing calls without an id, and ends of what never was.
    for silent in [
        json!({"type": 1, "invocationId": "", "target": "Ping", "arguments": []}),
        json!({"type": 1, "target": "NoSuchMethod", "arguments": [{}]}),
        json!({"type": 5, "invocationId": "none"}),
        json!({"type": 2, "invocationId": "none", "item": 1}),
        json!({"type": 3, "invocationId": "none", "result": null}),
    ] {
        hub.send_record(&silent).await.unwrap();
    }
    hub.is_quiet().await;
}

#[tokio::test]
async fn a_record_that_is_none_ends_the_connection() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let mut too_long = vec![0x80, 0xe1, 0xeb, 0x17]; // 50,000,000
    too_long.resize(104, 0);
    for frame in [
        record(""),
        record("c0"),
        record("80"),
        record("90"),
        record("91 a1 36"),
        record("93 01 80 c0"),
        record("95 01 80 c0 a1 41 80"),
        record("94 04 80 a0 a1 41"),
        record("95 03 80 a1 31 04 01"),
        record("91 06 00"),
        Message::binary(vec![0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        Message::binary(too_long),
        // One byte more than a record may have.
        Message::binary(framed(&vec![0x91; 64 * 1024 - 2])),
    ] {
        let mut hub = connect(&ann).await;
        hub.send_frame(frame).await.unwrap();
        hub.closes(None, broken()).await;
    }
    connect(&ann).await.is_quiet().await;
}

#[tokio::test]
async fn a_record_of_64_kib_is_taken_in_messagepack_too() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let mut hub = connect(&ann).await;
    let call = |padding: usize| {
        packed_of(&json!({
            "type": 1, "invocationId": "long", "target": "Ping", "arguments": [{"padding": "x".repeat(padding)}],
        }))
    };
    let overhead = call(60_000).len() - 60_000;
    let record = call(64 * 1024 - overhead);
    assert_eq!(record.len(), 64 * 1024);
    let mut frame = record;
    // And far more than that of small ones behind it.
    for n in 0..3_000 {
        frame.extend(ping(&n.to_string()));
    }
    hub.send_frame(Message::binary(frame)).await.unwrap();
    hub.completion("long").await.unwrap();
    for n in 0..3_000 {
        hub.completion(&n.to_string()).await.unwrap();
    }
}

#[tokio::test]
async fn the_sdk_speaks_messagepack_when_asked() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let room = ann.room_with("room", &[&bob]).await;
    let client = |person: &Person, encoding| {
        Client::builder(server.url())
            .access_token(person.api.token().expect("a token"))
            .encoding(encoding)
            .build()
            .unwrap()
    };
    let packed = client(&ann, Encoding::MessagePack);
    let text = client(&bob, Encoding::Json);
    let mut packed_events = packed.connect().await.unwrap();
    let mut text_events = text.connect().await.unwrap();
    let room_id = chat_client::model::RoomId(room);
    let sent = packed.room(room_id).send("from MessagePack").await.unwrap();
    let answered = text.room(room_id).send("from JSON").await.unwrap();
    for events in [&mut packed_events, &mut text_events] {
        let mut seen = Vec::new();
        timeout(WITHIN, async {
            while seen.len() < 2 {
                let event = events.next().await.expect("the connection is open");
                if let ClientEvent::Event(chat_client::model::Event::MessageCreated(message)) =
                    event
                {
                    seen.push(message);
                }
            }
        })
        .await
        .expect("both come in time");
        assert_eq!(seen, [sent.clone(), answered.clone()]);
    }
    // What is asked over the connection, and a refusal.
    let edited = packed.room(room_id).edit(sent.id, "edited").await.unwrap();
    assert_eq!(edited.content, "edited");
    let refused = text.room(room_id).edit(sent.id, "no").await.unwrap_err();
    assert_eq!(
        refused.code(),
        Some(chat_client::protocol::ErrorCode::Forbidden)
    );
    packed_events.close().await;
    text_events.close().await;
}
