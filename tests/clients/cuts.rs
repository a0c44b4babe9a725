//! The official client with stateful reconnect, on a network that cuts its socket again and again: its application neither
//! does anything about it nor notices.

use chat_tests::{Hub, Person, Server};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::process::{Client, Kind, Program, Protocol, Transport};
use crate::shears::Shears;

/// Messages of each of the two who talk.
const EACH: usize = 5_000;
/// How often the client's socket is cut.
const CUTS: usize = 50;
/// Sends under way at once.
const UNDER_WAY: usize = 20;
/// How far the other may be ahead of what the client has heard: less than the server keeps for a connection.
const AHEAD: usize = 400;

#[tokio::test]
async fn ten_thousand_messages_and_fifty_cuts_in_json() {
    loses_and_doubles_nothing(Protocol::Json, 1).await;
}

#[tokio::test]
async fn ten_thousand_messages_and_fifty_cuts_in_messagepack() {
    loses_and_doubles_nothing(Protocol::MessagePack, 2).await;
}

async fn loses_and_doubles_nothing(protocol: Protocol, seed: u64) {
    let server = Server::start().await;
    let shears = Shears::start(server.url(), seed, CUTS).await;
    let ann = server.person("ann").await;
    let bob = server.person("bob").await;
    let room = ann.room_with("tea", &[&bob]).await;
    let kind = Kind::new(Program::Node, Transport::WebSockets, protocol).stateful();
    let mut client = Client::start(kind, shears.url());
    client.connect(ann.api.token().unwrap()).await;
    client.event("Connected").await;

    // Both talk at once. The client's calls have no id of their own: one that is run twice is a message more.
    let burst = json!({"do": "burst", "roomId": room, "count": EACH, "underWay": UNDER_WAY});
    let burst = client.begin(burst).await;
    let (heard_so_far, heard_of) = watch::channel(0);
    let hearing = async {
        let mut places = Vec::new();
        for n in 0..EACH {
            let message = client.event("MessageCreated").await;
            assert_eq!(message["content"], format!("theirs {n}"), "in order");
            places.push(message["seq"].as_u64().unwrap());
            heard_so_far.send_replace(n + 1);
        }
        places
    };
    let (mut places, ()) = tokio::join!(hearing, talk(&bob, room, heard_of));
    let own = client.answer(burst).await.unwrap();
    let own = own
        .as_array()
        .unwrap()
        .iter()
        .map(|seq| seq.as_u64().unwrap());
    places.extend(own);

    places.sort_unstable();
    let first = 3;
    let all: Vec<u64> = (first..).take(2 * EACH).collect();
    assert_eq!(places.len(), all.len());
    assert!(places == all, "each place once");
    assert_eq!(shears.cuts(), CUTS);
    assert!(client.states().is_empty(), "{:?}", client.states());
    let last = client
        .invoke(
            "SendMessage",
            json!({"roomId": room, "content": "the last"}),
        )
        .await
        .unwrap();
    assert_eq!(last["seq"].as_u64(), all.last().map(|seq| seq + 1));
    client.stop().await;
}

/// Says all that there is to say, but not too far ahead of who listens.
async fn talk(bob: &Person, room: i64, mut heard: watch::Receiver<usize>) {
    let mut hub = Hub::connect(bob).await;
    let (mut said, mut confirmed) = (0, 0);
    while confirmed < EACH {
        while said < EACH && said < confirmed + UNDER_WAY && said < *heard.borrow() + AHEAD {
            let send = json!({"roomId": room, "content": format!("theirs {said}")});
            hub.call("SendMessage", &send).await.unwrap();
            said += 1;
        }
        tokio::select! {
            biased;
            record = hub.next_of_all() => {
                let record = record.expect("the connection is open");
                assert_eq!(record.get("error"), None::<&Value>, "{record}");
                confirmed += usize::from(record["type"] == 3);
            }
            changed = heard.changed() => changed.unwrap(),
        }
    }
}
