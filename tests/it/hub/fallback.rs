//! The SDK behind proxies that let not everything through.

use chat_client::model::{Event, Message, RoomId};
use chat_client::{Client, ClientEvent, Connection, Encoding};
use chat_tests::{Blocks, Person, Proxy, Server, WITHIN};
use futures_util::StreamExt as _;
use tokio::time::timeout;

fn client(person: &Person, url: &str, encoding: Encoding) -> Client {
    Client::builder(url)
        .access_token(person.api.token().expect("a token"))
        .encoding(encoding)
        .build()
        .unwrap()
}

/// The next message told of.
async fn message(connection: &mut Connection) -> Message {
    let told = timeout(WITHIN, async {
        loop {
            let event = connection.next().await.expect("the connection is open");
            if let ClientEvent::Event(Event::MessageCreated(message)) = event {
                return message;
            }
        }
    });
    told.await.expect("it comes in time")
}

/// Two people, of whom one connects through a proxy, talk; and how that one's hub was asked.
async fn talk(blocks: Blocks, encoding: Encoding) -> Vec<String> {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let room = ann.room_with("room", &[&bob]).await;
    let proxy = Proxy::to(&server, blocks).await;
    let behind = client(&ann, proxy.url(), encoding);
    let open = client(&bob, server.url(), Encoding::Json);
    let mut behind_events = behind.connect().await.unwrap();
    let mut open_events = open.connect().await.unwrap();
    let room = RoomId(room);

    let sent = behind.room(room).send("grüße, 你好\n").await.unwrap();
    let answered = open.room(room).send("and back").await.unwrap();
    // More than one POST takes, all under way at once.
    let sends = (0..100).map(|n| {
        let room = behind.room(room);
        async move { room.send(format!("{n}: {}", "x".repeat(2_000))).await }
    });
    let sent_at_once = futures_util::future::try_join_all(sends).await.unwrap();
    for events in [&mut behind_events, &mut open_events] {
        assert_eq!(message(events).await, sent);
        assert_eq!(message(events).await, answered);
        let mut told = Vec::new();
        for _ in 0..sent_at_once.len() {
            told.push(message(events).await);
        }
        told.sort_by_key(|message| message.content.clone());
        let mut expected = sent_at_once.clone();
        expected.sort_by_key(|message| message.content.clone());
        assert_eq!(told, expected);
    }
    let edited = behind.room(room).edit(sent.id, "edited").await.unwrap();
    assert_eq!(edited.content, "edited");
    behind_events.close().await;
    open_events.close().await;
    proxy.seen()
}

#[tokio::test]
async fn where_a_proxy_refuses_upgrades_the_sdk_has_events_streamed() {
    let seen = talk(Blocks::Upgrades, Encoding::Json).await;
    let begin = ["negotiate", "upgrade", "negotiate", "stream", "post"];
    assert_eq!(seen[..begin.len()], begin, "{seen:?}");
    assert!(!seen.contains(&"poll".to_owned()), "{seen:?}");
}

#[tokio::test]
async fn where_a_proxy_cuts_streams_too_the_sdk_polls() {
    let seen = talk(Blocks::UpgradesAndStreams, Encoding::Json).await;
    let begin = [
        "negotiate",
        "upgrade",
        "negotiate",
        "stream",
        "negotiate",
        "poll",
    ];
    assert_eq!(seen[..begin.len()], begin, "{seen:?}");
    assert_eq!(seen.last().map(String::as_str), Some("delete"));
}

#[tokio::test]
async fn what_is_no_text_is_never_streamed_but_polled() {
    let seen = talk(Blocks::Upgrades, Encoding::MessagePack).await;
    let begin = ["negotiate", "upgrade", "negotiate", "poll"];
    assert_eq!(seen[..begin.len()], begin, "{seen:?}");
    assert!(!seen.contains(&"stream".to_owned()), "{seen:?}");
}

#[tokio::test]
async fn where_a_proxy_keeps_events_for_itself_the_sdk_polls_after_a_while() {
    let seen = talk(Blocks::UpgradesAndEvents, Encoding::Json).await;
    let begin = ["negotiate", "upgrade", "negotiate", "stream", "post"];
    assert_eq!(seen[..begin.len()], begin, "{seen:?}");
    // The handshake has no answer for 15 s; then what is left is tried.
    assert!(seen.contains(&"poll".to_owned()), "{seen:?}");
}
