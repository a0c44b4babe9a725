//! Records and how they are cut.

use chat_tests::{Hub, Server, text_of};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

const CLOSED_WITH_ERROR: &str = "Connection closed with an error.";

#[tokio::test]
async fn many_records_come_in_one_frame_and_one_record_in_many() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let mut hub = Hub::open(&ann, "").await.unwrap();
    let ping = |id: &str| {
        text_of(&json!({"type": 1, "invocationId": id, "target": "Ping", "arguments": [{}]}))
    };
    // The handshake, a call and half of the next one.
    let (first, second) = (ping("first"), ping("second"));
    let (front, back) = second.split_at(20);
    let frame = format!("{{\"protocol\":\"json\",\"version\":1}}\x1e{first}{front}");
    hub.send_text(&frame).await.unwrap();
    hub.send_text("").await.unwrap();
    hub.send_frame(Message::binary(back.as_bytes().to_vec()))
        .await
        .unwrap();
    assert_eq!(hub.next().await, Some(json!({})));
    hub.event("Connected").await;
    for id in ["first", "second"] {
        hub.completion(id).await.unwrap();
    }

    // Far more than the limit of one record, in a single frame.
    let frame: String = (0..3_000).map(|n| ping(&n.to_string())).collect();
    assert!(frame.len() > 2 * 64 * 1024);
    hub.send_text(&frame).await.unwrap();
    for n in 0..3_000 {
        hub.completion(&n.to_string()).await.unwrap();
    }
}

#[tokio::test]
async fn a_record_of_64_kib_is_taken_and_one_byte_more_ends_the_connection_unread() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let room = ann.room_with("room", &[]).await;
    // `len` bytes with the separator: unknown members are skipped, so that it is a sound call.
    let call = |len: usize| {
        let mut call = json!({
            "type": 1, "invocationId": "long", "target": "SendMessage",
            "arguments": [{"roomId": room, "content": "counted"}], "padding": "",
        });
        let bare = text_of(&call).len();
        call["padding"] = json!("x".repeat(len - bare));
        text_of(&call)
    };
    let mut hub = Hub::connect(&ann).await;
    hub.send_text(&call(64 * 1024)).await.unwrap();
    let sent = hub.completion("long").await.unwrap();
    assert_eq!(sent["seq"], 2);
    hub.send_text(&call(64 * 1024 + 1)).await.unwrap();
    hub.closes(
        None,
        json!({"type": 7, "error": CLOSED_WITH_ERROR, "allowReconnect": true}),
    )
    .await;
    assert_eq!(
        ann.changes(room, 2).await["items"],
        json!([]),
        "it was never run"
    );
}

#[tokio::test]
async fn a_record_that_is_none_ends_the_connection_and_types_of_later_versions_dont() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let mut hub = Hub::connect(&ann).await;
    for record in [
        json!({"type": 99}),
        json!({"type": 8, "sequenceId": 1}),
        json!({"type": 9, "sequenceId": 7}),
    ] {
        hub.send_record(&record).await.unwrap();
    }
    // Answers to what was never asked.
    hub.send_record(&json!({"type": 3, "invocationId": "none", "result": 1}))
        .await
        .unwrap();
    hub.send_record(&json!({"type": 2, "invocationId": "none", "item": 1}))
        .await
        .unwrap();
    // Nor are calls without an id answered, however they fail.
    for silent in [
        json!({"type": 1, "target": "Nonsense", "arguments": [{}]}),
        json!({"type": 1, "target": "Ping", "arguments": []}),
        json!({"type": 1, "invocationId": "", "target": "SendMessage", "arguments": [{"roomId": 999, "content": "x"}]}),
        json!({"type": 1, "invocationId": null, "target": "GetMessages", "arguments": ["x"]}),
        json!({"type": 5, "invocationId": "none"}),
    ] {
        hub.send_record(&silent).await.unwrap();
    }
    hub.is_quiet().await;

    for record in [
        "\x1e",
        "hello\x1e",
        "[]\x1e",
        "{}\x1e",
        "{\"type\":\"1\"}\x1e",
        "{\"type\":1,\"target\":\"Ping\"}\x1e",
        "{\"type\":1,\"arguments\":[{}]}\x1e",
        "{\"type\":1,\"target\":\"Ping\",\"arguments\":{}}\x1e",
        "{\"type\":4,\"target\":\"StreamHistory\",\"arguments\":[{}]}\x1e",
        "{\"type\":4,\"invocationId\":\"\",\"target\":\"StreamHistory\",\"arguments\":[{}]}\x1e",
        "{\"type\":3,\"invocationId\":\"1\",\"error\":\"a\",\"result\":1}\x1e",
        "{\"type\":5}\x1e",
    ] {
        let mut hub = Hub::connect(&ann).await;
        hub.send_text(record).await.unwrap();
        hub.closes(
            None,
            json!({"type": 7, "error": CLOSED_WITH_ERROR, "allowReconnect": true}),
        )
        .await;
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_and_frames_that_are_none_end_the_connection() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let mut hub = Hub::connect(&ann).await;
    hub.send_frame(Message::binary(vec![b'{', 0xff, 0xfe, 0x1e]))
        .await
        .unwrap();
    hub.closes(
        None,
        json!({"type": 7, "error": CLOSED_WITH_ERROR, "allowReconnect": true}),
    )
    .await;
    Hub::connect(&ann).await.is_quiet().await;
}
