//! Webhooks: who asked to be told is told of each event, signed, at least once, and nobody else.

use std::collections::BTreeSet;
use std::process::Output;

use chat_test_kafka::Kafka;
use chat_test_postgres::Server as PostgreSql;
use chat_tests::cluster::{Bus, consuming_node, node, ready, signing_node};
use chat_tests::{Person, Receiver, Server, ServerBuilder, WITHIN};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

/// A server whose webhooks may go to this machine.
async fn server() -> Server {
    let builder = Server::builder().set("CHAT_WEBHOOK_PRIVATE", "on");
    builder.start().await
}

fn hooks(room: i64) -> String {
    format!("/v1/rooms/{room}/webhooks")
}

async fn hook(admin: &Person, room: i64, url: &str) -> Value {
    let made = admin.api.post(&hooks(room), &json!({"url": url})).await;
    made.with(201)
}

async fn say(person: &Person, room: i64, content: &str) {
    let path = format!("/v1/rooms/{room}/messages");
    let said = person.api.post(&path, &json!({"content": content})).await;
    said.with(201);
}

fn places(received: &[chat_tests::Received]) -> Vec<i64> {
    received.iter().map(chat_tests::Received::place).collect()
}

/// The webhook's deliveries, once they are as wanted.
async fn deliveries(
    admin: &Person,
    room: i64,
    hook: &Value,
    wanted: impl Fn(&[Value]) -> bool,
) -> Vec<Value> {
    let path = format!("{}/{}/deliveries?limit=100", hooks(room), hook["id"]);
    let reading = async {
        loop {
            let page = admin.api.get(&path).await.with(200);
            let items = page["items"].as_array().expect("a page").clone();
            if wanted(&items) {
                return items;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let read = timeout(6 * WITHIN, reading).await;
    read.expect("the deliveries are as wanted in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_delivered_signed_and_in_order() {
    let server = server().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let room = ann.room_with("tea", &[&bob]).await;
    let receiver = Receiver::start().await;
    let made = hook(&ann, room, &receiver.url()).await;
    let secret = made["secret"].as_str().expect("a secret");
    assert!(secret.starts_with("whsec_"), "{secret}");
    let before = ann.api.get(&format!("/v1/rooms/{room}")).await.with(200);
    let head = before["seq"].as_i64().expect("a place");

    for n in 0..5 {
        say(&bob, room, &format!("message {n}")).await;
    }
    let renamed = json!({"name": "coffee"});
    let path = format!("/v1/rooms/{room}");
    ann.api.patch(&path, &renamed).await.with(200);
    ann.api.delete(&path).await.with(204);

    let received = receiver.until_count(7).await;
    assert_eq!(places(&received), (head + 1..=head + 7).collect::<Vec<_>>());
    for one in &received {
        assert!(one.is_signed_with(secret), "{one:?}");
        let stranger = "whsec_c3RyYW5nZXI=";
        assert!(!one.is_signed_with(stranger));
        assert_eq!(one.headers["content-type"], "application/json");
    }
    let first = received[0].json();
    assert_eq!(first["type"], "messageCreated");
    assert_eq!(first["data"]["type"], "messageCreated");
    assert_eq!(first["data"]["content"], "message 0");
    assert_eq!(first["timestamp"], first["data"]["sentAt"]);
    assert_eq!(received[5].json()["type"], "roomChanged");
    assert_eq!(received[6].json()["type"], "roomDeleted");
    let ids: BTreeSet<_> = received.iter().map(|one| one.id().to_owned()).collect();
    assert_eq!(ids.len(), 7, "each has an id of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_arrives_through_a_failing_receiver_and_a_killed_server() {
    const MESSAGES: i64 = 30;
    let mut server = server().await;
    let ann = server.person("ann").await;
    let room = ann.room_with("tea", &[]).await;
    // It fails every other event's first attempt.
    let receiver = Receiver::answering(|payload, before| {
        let place = payload["data"]["changedSeq"].as_i64().unwrap_or(0);
        if before == 0 && place % 2 == 0 {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        }
    })
    .await;
    let made = hook(&ann, room, &receiver.url()).await;
    let secret = made["secret"].as_str().expect("a secret");

    for n in 0..MESSAGES / 2 {
        say(&ann, room, &n.to_string()).await;
    }
    receiver.until_count(3).await;
    server.kill().await;
    server.restart().await;
    let ann = ann.at(server.url());
    for n in MESSAGES / 2..MESSAGES {
        say(&ann, room, &n.to_string()).await;
    }

    let all: BTreeSet<i64> = (2..2 + MESSAGES).collect();
    let have = |received: &[chat_tests::Received]| -> BTreeSet<i64> {
        let taken = received.iter().filter(|r| r.status.is_success());
        taken.map(chat_tests::Received::place).collect()
    };
    let received = receiver.until(|received| have(received) == all).await;
    assert!(received.iter().all(|one| one.is_signed_with(secret)));
    // A first attempt is never before that of an earlier event, whatever became of that one.
    let mut seen = BTreeSet::new();
    let firsts: Vec<i64> = places(&received)
        .into_iter()
        .filter(|place| seen.insert(*place))
        .collect();
    assert!(firsts.is_sorted(), "{firsts:?}");
    let done = |items: &[Value]| items.iter().all(|item| item["state"] == "delivered");
    let delivered = deliveries(&ann, room, &made, done).await;
    assert_eq!(delivered.len(), all.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_consumer_is_succeeded_on_postgresql() {
    a_killed_consumer_is_succeeded(Bus::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_consumer_is_succeeded_with_kafka() {
    let kafka = tokio::task::spawn_blocking(|| Kafka::start(1));
    let kafka = kafka.await.expect("a broker");
    a_killed_consumer_is_succeeded(Bus::Kafka(&kafka)).await;
}

/// Each role is a process of its own, and the receiver fails half of the first attempts.
async fn a_killed_consumer_is_succeeded(bus: Bus<'_>) {
    const ROOMS: usize = 4;
    const MESSAGES: usize = 10;
    let database = PostgreSql::shared().database(None).await;
    let allowed = |builder: ServerBuilder| builder.set("CHAT_WEBHOOK_PRIVATE", "on");
    let auth = signing_node(&database, bus).start().await;
    let rest = allowed(node("rest", &database, bus, auth.url()))
        .start()
        .await;
    ready(&auth).await;
    ready(&rest).await;
    let ann = auth.person("ann").await.at(rest.url());
    let receiver = Receiver::answering(|payload, before| {
        let place = payload["data"]["changedSeq"].as_i64().unwrap_or(0);
        if before == 0 && place % 2 == 0 {
            StatusCode::BAD_GATEWAY
        } else {
            StatusCode::OK
        }
    })
    .await;
    let mut rooms = Vec::new();
    for n in 0..ROOMS {
        let room = ann.room_with(&format!("room {n}"), &[]).await;
        rooms.push((room, hook(&ann, room, &receiver.url()).await));
    }
    for (room, _) in &rooms {
        for n in 0..MESSAGES {
            say(&ann, *room, &n.to_string()).await;
        }
    }

    receiver.answers(false);
    let consumer = || allowed(consuming_node(&database, bus)).start();
    let mut killed = consumer().await;
    receiver.until_begun(ROOMS).await;
    let _other = consumer().await;
    killed.kill().await;
    receiver.answers(true);
    for (room, made) in &rooms {
        let done = |items: &[Value]| {
            items.len() == MESSAGES && items.iter().all(|item| item["state"] == "delivered")
        };
        deliveries(&ann, *room, made, done).await;
    }
    let taken: BTreeSet<_> = receiver
        .taken()
        .iter()
        .map(|one| one.id().to_owned())
        .collect();
    assert_eq!(taken.len(), ROOMS * MESSAGES);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_to_a_private_address() {
    let mut server = server().await;
    let ann = server.person("ann").await;
    let room = ann.room_with("tea", &[]).await;
    let receiver = Receiver::start().await;
    let by_address = hook(&ann, room, &receiver.url()).await;
    let by_name = hook(&ann, room, &receiver.url_by_name()).await;

    let strict = [("CHAT_WEBHOOK_PRIVATE", "off")];
    server.restart_with(&strict).await;
    let ann = ann.at(server.url());
    for url in [
        receiver.url(),
        receiver.url_by_name(),
        "http://10.0.0.1/".to_owned(),
        "http://0x7f.1/".to_owned(),
        "http://[::1]:8080/".to_owned(),
        "http://[::ffff:10.0.0.1]/".to_owned(),
        "http://169.254.169.254/latest".to_owned(),
        "http://224.0.0.1/".to_owned(),
        "ftp://example.com/".to_owned(),
    ] {
        let refused = ann.api.post(&hooks(room), &json!({"url": url})).await;
        let problem = refused.with(422);
        assert_eq!(problem["errors"][0]["field"], "url", "{url}: {problem}");
    }

    // Those made while they were allowed are checked at each attempt.
    say(&ann, room, "hello").await;
    for made in [by_address, by_name] {
        let tried = |items: &[Value]| items.iter().any(|item| item["attempts"] != 0);
        let items = deliveries(&ann, room, &made, tried).await;
        let error = items[0]["lastError"].as_str().expect("why");
        assert!(error.contains("public address"), "{error}");
        assert_eq!(items[0]["state"], "pending");
    }
    assert!(receiver.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_looks_after_a_rooms_webhooks() {
    let server = server().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let eve = server.person("eve").await;
    let room = ann.room_with("tea", &[&bob]).await;
    let receiver = Receiver::answering(|_, before| match before {
        0 => StatusCode::FOUND,
        _ => StatusCode::OK,
    })
    .await;
    let url = receiver.url();
    let some = json!({"url": url, "events": ["messageCreated", "messageCreated"]});
    let made = ann.api.post(&hooks(room), &some).await.with(201);
    assert_eq!(made["roomId"], room);
    assert_eq!(made["url"], url);
    assert_eq!(made["events"], json!(["messageCreated"]));
    assert_eq!(made["enabled"], true);
    let one = format!("{}/{}", hooks(room), made["id"]);

    let listed = ann.api.get(&hooks(room)).await.with(200);
    assert_eq!(listed["items"][0]["id"], made["id"]);
    assert!(listed["items"][0].get("secret").is_none());
    for body in [
        json!({"url": url, "events": []}),
        json!({"url": url, "events": ["hearsay"]}),
        json!({"events": ["messageCreated"]}),
    ] {
        let refused = ann.api.post(&hooks(room), &body).await;
        refused.refused(422, "validation_failed");
    }
    let body = json!({"url": url});
    bob.api
        .post(&hooks(room), &body)
        .await
        .refused(403, "forbidden");
    bob.api.get(&hooks(room)).await.refused(403, "forbidden");
    bob.api.delete(&one).await.refused(403, "forbidden");
    eve.api.get(&hooks(room)).await.refused(404, "not_found");

    // A redirect is a failure; a retry delivers, signed with both secrets.
    let renewed = ann.api.post_empty(&format!("{one}/secret")).await.with(200);
    assert_ne!(renewed["secret"], made["secret"]);
    say(&bob, room, "hello").await;
    let failed = |items: &[Value]| items.iter().any(|item| item["lastStatus"] == 302);
    let items = deliveries(&ann, room, &made, failed).await;
    assert_eq!(items[0]["type"], "messageCreated");
    assert_eq!(items[0]["attempts"], 1);
    assert!(items[0]["nextAttemptAt"].is_string());
    let retry = format!("{one}/deliveries/{}/retry", items[0]["id"]);
    assert_eq!(ann.api.post_empty(&retry).await.status, 202);
    receiver.until(|received| received.len() >= 2).await;
    let delivered = |items: &[Value]| items.iter().all(|item| item["state"] == "delivered");
    let items = deliveries(&ann, room, &made, delivered).await;
    assert_eq!(ann.api.post_empty(&retry).await.status, 202);
    assert_eq!(items.len(), 1);
    for received in receiver.received() {
        for secret in [&made["secret"], &renewed["secret"]] {
            assert!(received.is_signed_with(secret.as_str().expect("a secret")));
        }
    }

    for _ in 1..20 {
        hook(&ann, room, &url).await;
    }
    let more = ann.api.post(&hooks(room), &body).await;
    more.refused(409, "limit_reached");
    assert_eq!(ann.api.delete(&one).await.status, 204);
    ann.api.delete(&one).await.refused(404, "not_found");
    ann.api.post_empty(&retry).await.refused(404, "not_found");
}

/// Runs `chat-server webhook` on the server's database.
async fn operator(server: &Server, arguments: &[&str]) -> Output {
    let database = format!("sqlite:{}", server.database().display());
    Command::new(chat_tests::chat_server())
        .arg("webhook")
        .args(arguments)
        .env_clear()
        .env("CHAT_DATABASE_URL", database)
        .env("CHAT_WEBHOOK_PRIVATE", "on")
        .output()
        .await
        .expect("it runs")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_gets_the_events_of_all_rooms() {
    let server = server().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let receiver = Receiver::answering(|payload, _| {
        if payload["data"]["content"] == "never mind" {
            StatusCode::GONE
        } else {
            StatusCode::OK
        }
    })
    .await;
    let events = ["--events", "messageCreated,memberJoined"];
    let added = operator(&server, &[&["add", &receiver.url()], &events[..]].concat()).await;
    let added: Value = serde_json::from_str(&text(&added)).expect("a webhook");
    let secret = added["secret"].as_str().expect("a secret");
    assert!(added.get("roomId").is_none());
    // A server that runs without webhooks looks for some each second: what happens meanwhile isn't told.
    let tea = ann.room_with("tea", &[]).await;
    let waiting = async {
        while receiver.received().is_empty() {
            say(&ann, tea, "anybody?").await;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    timeout(6 * WITHIN, waiting).await.expect("it is told");
    let coffee = bob.room_with("coffee", &[]).await;
    say(&bob, coffee, "hello").await;
    let told = |received: &[chat_tests::Received]| {
        received
            .iter()
            .any(|one| one.json()["data"]["content"] == "hello")
    };
    let received = receiver.until(told).await;
    assert!(received.iter().all(|one| one.is_signed_with(secret)));
    let of_coffee = |one: &&chat_tests::Received| one.json()["data"]["roomId"] == coffee;
    let types: Vec<_> = received
        .iter()
        .filter(of_coffee)
        .map(|one| one.json()["type"].clone())
        .collect();
    assert_eq!(types, ["memberJoined", "messageCreated"]);

    let listed = text(&operator(&server, &["list"]).await);
    let listed: Value = serde_json::from_str(&listed).expect("one webhook");
    assert_eq!(listed["id"], added["id"]);
    assert!(listed.get("secret").is_none());
    assert_eq!(listed["enabled"], true);

    // 410 disables it.
    say(&bob, coffee, "never mind").await;
    let disabled = async {
        while !text(&operator(&server, &["list"]).await).contains(r#""enabled":false"#) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    timeout(6 * WITHIN, disabled).await.expect("it is disabled");
    let id = added["id"].to_string();
    let replayed = operator(&server, &["replay", &id]).await;
    assert!(!replayed.status.success());
    text(&operator(&server, &["remove", &id]).await);
    assert_eq!(text(&operator(&server, &["list"]).await), "");
    let again = operator(&server, &["remove", &id]).await;
    assert!(!again.status.success());
    assert!(!server.log().contains(secret));
}
