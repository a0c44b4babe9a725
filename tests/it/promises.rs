//! The design's promises, one by one.

use std::time::{Duration, Instant};

use chat_tests::{Hub, Server};
use serde_json::{Value, json};
use tokio::net::TcpSocket;

/// Bytes that surely don't wait for one who reads nothing: its queue takes 1 MiB, and the system on both sides 4 and a bit.
const MORE_THAN_WAITS: usize = 10 * 1024 * 1024;
/// How long it may stay then.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);

/// What 99 of 100 stay below.
fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

#[tokio::test]
async fn a_reader_that_never_reads_is_closed_within_ten_seconds_and_hurts_nobody() {
    let server = Server::start().await;
    let (ann, bob, carl) = (
        server.person("ann").await,
        server.person("bob").await,
        server.person("carl").await,
    );
    let room = ann.room_with("room", &[&bob, &carl]).await;
    let mut sender = Hub::connect(&ann).await;
    let mut reader = Hub::connect(&bob).await;
    // As long as a message may be, so that all buffers are full soon.
    let content = "🐌".repeat(4_000);
    let mut deliver = async || -> Duration {
        let send = json!({"roomId": room, "content": content});
        let sent = Instant::now();
        let message = sender.invoke("SendMessage", send).await.unwrap();
        assert_eq!(reader.event("MessageCreated").await, message);
        sent.elapsed()
    };
    let mut alone = Vec::new();
    for _ in 0..200 {
        alone.push(deliver().await);
    }

    // Its system takes next to nothing for it, so that what it leaves unread waits in the server.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let address = server.url().strip_prefix("http://").unwrap();
    let stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let mut slow = Hub::upgrade_over(stream, Hub::request(&carl, ""))
        .await
        .unwrap();
    slow.shake("{\"protocol\":\"json\",\"version\":1}\u{1e}")
        .await
        .unwrap();
    let metric = async |name: &str| -> Value {
        let metrics = server.anyone().get("/metrics").await;
        let value = metrics
            .text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .unwrap_or_else(|| panic!("no {name} in {}", metrics.text));
        value.parse().expect("a number")
    };
    let open = async || metric("chat_hub_connections").await;
    assert_eq!(open().await, 3);
    assert_eq!(metric("chat_slow_closes_total").await, 0);
    let mut beside = Vec::new();
    for _ in 0..MORE_THAN_WAITS / content.len() {
        beside.push(deliver().await);
    }
    let full = Instant::now();
    while open().await == 3 {
        assert!(full.elapsed() < CLOSED_WITHIN, "it is still there");
        beside.push(deliver().await);
    }
    assert_eq!(metric("chat_slow_closes_total").await, 1);
    let (alone, beside) = (p99(alone), p99(beside));
    // The machine may have other work; a reader that holds up the others would do so until it is closed.
    assert!(
        beside < (10 * alone).max(Duration::from_secs(1)),
        "a delivery takes {beside:?} beside the slow one, and {alone:?} alone"
    );
    drop(slow);

    // It comes back and is told all that it missed.
    let back = Hub::connect(&carl).await;
    let head = ann.api.get(&format!("/v1/rooms/{room}")).await.with(200);
    assert_eq!(back.connected["rooms"][0]["seq"], head["seq"]);
}

#[tokio::test]
async fn a_removed_member_hears_nothing_later_from_that_room() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let room = ann.room_with("room", &[&bob]).await;
    let other = ann.room_with("other", &[&bob]).await;
    let mut removed = Hub::connect(&bob).await;
    let mut admin = Hub::connect(&ann).await;
    // Messages are under way on both sides of the removal.
    for n in 0..50 {
        let send = json!({"roomId": room, "content": format!("before {n}")});
        admin.call("SendMessage", &send).await.unwrap();
    }
    let path = format!("/v1/rooms/{room}/members/{}", bob.id);
    ann.api.delete(&path).await.with(204);
    for n in 0..50 {
        let send = json!({"roomId": room, "content": format!("after {n}")});
        admin.call("SendMessage", &send).await.unwrap();
    }
    ann.say(other, "barrier").await;
    let mut at = 2;
    loop {
        let event = removed.next().await.unwrap();
        let argument = &event["arguments"][0];
        assert_eq!(argument["roomId"], room, "{event}");
        at += 1;
        assert_eq!(argument["seq"], at, "{event}");
        if event["target"] == "MemberLeft" {
            assert_eq!(argument["reason"], "removed");
            break;
        }
    }
    let barrier = removed.event("MessageCreated").await;
    assert_eq!(barrier["roomId"], other);
    for (method, argument) in [
        (
            "SendMessage",
            json!({"roomId": room, "content": "let me in"}),
        ),
        ("GetMessages", json!({"roomId": room})),
        ("GetChanges", json!({"roomId": room, "since": 0})),
    ] {
        let error = removed.invoke(method, argument).await.unwrap_err();
        assert!(error.starts_with("not_found: "), "{error}");
    }
}

#[tokio::test]
async fn what_changed_while_away_is_caught_up_in_pages_to_what_a_full_read_shows() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let room = ann.room_with("room", &[&bob]).await;
    let mut author = Hub::connect(&ann).await;
    let mut known = std::collections::BTreeMap::new();
    let mut ids = Vec::new();
    for n in 0..20 {
        let send = json!({"roomId": room, "content": format!("known {n}")});
        let message = author.invoke("SendMessage", send).await.unwrap();
        ids.push(message["id"].clone());
        known.insert(message["id"].as_i64().unwrap(), message);
    }
    let away_at = 22;

    // 300 changes: of what was known, of what is new, and of one message again and again.
    for n in 0..300 {
        match n % 5 {
            0 | 1 => {
                let send = json!({"roomId": room, "content": format!("new {n}")});
                let message = author.invoke("SendMessage", send).await.unwrap();
                ids.push(message["id"].clone());
            }
            2 | 3 => {
                let id = &ids[(n * 7) % ids.len()];
                let edit = json!({"roomId": room, "messageId": id, "content": format!("edit {n}")});
                author.invoke("EditMessage", edit).await.unwrap();
            }
            _ => {
                let id = ids.remove((n * 3) % ids.len());
                let delete = json!({"roomId": room, "messageId": id});
                author.invoke("DeleteMessage", delete).await.unwrap();
            }
        }
    }

    let mut reader = Hub::connect(&bob).await;
    let (mut since, mut pages) = (away_at, 0);
    loop {
        let page = json!({"roomId": room, "since": since, "from": away_at, "limit": 10});
        let page = reader.invoke("GetChanges", page).await.unwrap();
        assert_eq!(page["complete"], true);
        for event in page["items"].as_array().unwrap() {
            let id = event["id"].as_i64().unwrap();
            let was_known = event["seq"].as_i64().unwrap() <= away_at;
            let mut message = event.clone();
            let kind = message.as_object_mut().unwrap().remove("type").unwrap();
            match kind.as_str().unwrap() {
                "messageCreated" => assert!(!was_known, "{event}"),
                "messageEdited" => assert!(was_known, "{event}"),
                "messageDeleted" => assert_eq!(event["content"], "", "{event}"),
                other => panic!("{other}: {event}"),
            }
            known.insert(id, message);
        }
        pages += 1;
        since = page["seq"].as_i64().unwrap();
        if page["hasMore"] == false {
            break;
        }
    }
    assert!(pages > 10, "{pages} pages");
    assert_eq!(since, away_at + 300);

    let call = json!({"type": 4, "invocationId": "all", "target": "StreamHistory", "arguments": [{"roomId": room}]});
    reader.send_record(&call).await.unwrap();
    let mut all = Vec::new();
    loop {
        let record = reader.next().await.unwrap();
        if record["type"] == 3 {
            break;
        }
        all.push(record["item"].clone());
    }
    let mut caught_up: Vec<_> = known
        .into_values()
        .filter(|message| message.get("deletedAt").is_none())
        .collect();
    caught_up.sort_by_key(|message| message["seq"].as_i64());
    assert_eq!(caught_up, all);
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let mut server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let room = ann.room_with("room", &[&bob]).await;
    for n in 0..5 {
        ann.say(room, &format!("message {n}")).await;
    }
    let paths = [
        "/v1/users/me".to_owned(),
        "/v1/rooms".to_owned(),
        format!("/v1/rooms/{room}/members"),
        format!("/v1/rooms/{room}/messages"),
        format!("/v1/rooms/{room}/invites"),
        format!("/v1/rooms/{room}/changes?since=0"),
        "/.well-known/jwks.json".to_owned(),
    ];
    let read = async |api: &chat_tests::Api| {
        let mut answers = Vec::new();
        for path in &paths {
            answers.push(api.get(path).await.with(200));
        }
        answers
    };
    let before = read(&ann.api).await;
    server.kill().await;
    server.restart().await;
    let ann = ann.at(server.url());
    assert_eq!(read(&ann.api).await, before);
    assert_eq!(ann.say(room, "goes on").await["seq"], 8);
}
