//! What is posted is one byte stream, however it is cut (signalr.md, section 5).

use chat_tests::{Over, Server, text_of};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::requests::{connect, request};

const OVER: [Over; 2] = [Over::ServerSentEvents, Over::LongPolling];

fn ping(id: &str) -> String {
    text_of(&json!({"type": 1, "invocationId": id, "target": "Ping", "arguments": [{}]}))
}

/// The Close record of a broken protocol.
fn broken() -> Value {
    json!({"type": 7, "error": "Connection closed with an error.", "allowReconnect": true})
}

#[tokio::test]
async fn many_records_come_in_one_post_and_one_record_in_many() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    for over in OVER {
        let (mut hub, id) = connect(&ann, over).await;
        let query = format!("?id={id}");
        // Far more than a record, a REST body and what waits unread may have.
        let body: String = (0..3_000).map(|n| ping(&n.to_string())).collect();
        assert!(body.len() > 3 * 64 * 1024);
        hub.send_text(&body).await.unwrap();
        for n in 0..3_000 {
            hub.completion(&n.to_string()).await.unwrap();
        }
        let record = ping("cut – twice");
        for cut in [1, 40, record.find('–').unwrap() + 1, record.len() - 1] {
            // Within a character as well, with any type of content.
            for part in [&record.as_bytes()[..cut], &record.as_bytes()[cut..]] {
                let post = ann
                    .api
                    .request(Method::POST, &format!("/v1/hub{query}"))
                    .header("content-type", "application/json")
                    .body(part.to_vec());
                assert_eq!(super::connecting::send(post).await.status, 200);
            }
            hub.completion("cut – twice").await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_posted_record_of_64_kib_is_taken_and_one_byte_more_ends_the_connection() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let call = |len: usize| {
        let mut call = json!({"type": 1, "invocationId": "long", "target": "Ping", "arguments": [{}], "padding": ""});
        let bare = text_of(&call).len();
        call["padding"] = json!("x".repeat(len - bare));
        text_of(&call)
    };
    for over in OVER {
        let (mut hub, _) = connect(&ann, over).await;
        hub.send_text(&call(64 * 1024)).await.unwrap();
        hub.completion("long").await.unwrap();
        hub.send_text(&call(64 * 1024 + 1)).await.unwrap();
        hub.closes(None, broken()).await;
    }
}

#[tokio::test]
async fn a_post_cut_in_mid_message_leaves_the_record_to_the_next_post() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let address = server.url().strip_prefix("http://").unwrap();
    let token = ann.api.token().unwrap();
    for over in OVER {
        let (mut hub, id) = connect(&ann, over).await;
        let (first, second) = (ping("first"), ping("second"));
        let (front, back) = second.split_at(30);
        let mut cut = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /v1/hub?id={id} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ncontent-length: 10000\r\n\r\n"
        );
        cut.write_all(format!("{head}{first}{front}").as_bytes())
            .await
            .unwrap();
        hub.completion("first").await.unwrap();
        // The server says what it thinks of that to whoever still listens.
        cut.shutdown().await.unwrap();
        let mut answer = String::new();
        let _ = cut.read_to_string(&mut answer).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
        let posted = request(&ann, Method::POST, &format!("?id={id}"), back).await;
        assert_eq!(posted.status, 200);
        hub.completion("second").await.unwrap();
    }
}

#[tokio::test]
async fn posts_at_once_are_taken_one_after_another() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    for over in OVER {
        let (mut hub, id) = connect(&ann, over).await;
        let body: String = (0..1_000).map(|_| ping("p")).collect();
        let post = || async {
            let query = format!("?id={id}");
            request(&ann, Method::POST, &query, &body).await.status
        };
        let posted = tokio::join!(post(), post(), post(), post());
        assert_eq!(posted, (200, 200, 200, 200));
        for _ in 0..4_000 {
            hub.completion("p").await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_no_record_ends_the_connection() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    for over in OVER {
        for record in [
            "\x1e",
            "hello\x1e",
            "{\"type\":\"1\"}\x1e",
            "{\"type\":5}\x1e",
        ] {
            let (mut hub, _) = connect(&ann, over).await;
            hub.send_text(record).await.unwrap();
            hub.closes(None, broken()).await;
        }
    }
}
