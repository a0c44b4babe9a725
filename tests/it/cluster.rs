//! Nodes that know of one another by the bus alone: what happens on one takes effect on the other.

use std::time::Duration;

use chat_test_kafka::Kafka;
use chat_test_postgres::Server as PostgreSql;
use chat_tests::cluster::Bus;
use chat_tests::{Cluster, Hub, Person, Server, WITHIN};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

/// Messages from node to node, one after the other. Heads are read every 5 s: without a bus they take longer than
/// [`IN_TIME`].
const ROUNDS: usize = 24;
const IN_TIME: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_are_one_over_kafka() {
    let database = PostgreSql::shared().database(None).await;
    let kafka = tokio::task::spawn_blocking(|| Kafka::start(1))
        .await
        .unwrap();
    let cluster = Cluster::start(&database, Bus::Kafka(&kafka)).await;
    two_nodes_are_one(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_are_one_over_postgresql() {
    let database = PostgreSql::shared().database(None).await;
    let cluster = Cluster::start(&database, Bus::Postgres).await;
    two_nodes_are_one(&cluster).await;
    no_stickiness_is_needed(&cluster).await;
}

pub(crate) async fn two_nodes_are_one(cluster: &Cluster) {
    let [here, there] = &cluster.realtime;
    let (ann, bob) = (cluster.person("ann").await, cluster.person("bob").await);
    let mut anns = Hub::connect(&ann.at(here.url())).await;
    let mut bobs = Hub::connect(&bob.at(there.url())).await;

    // A room that is made and joined over REST is there on both.
    let room = ann.room_with("tea", &[]).await;
    let joined = until(&mut anns, "RoomJoined").await;
    assert_eq!(joined["room"]["id"], room);
    bob.join(&ann.invite(room).await).await;
    assert_eq!(until(&mut bobs, "RoomJoined").await["room"]["id"], room);
    let joined = until(&mut anns, "MemberJoined").await;
    assert_eq!(joined["member"]["userId"], bob.id);

    // To and fro, each waiting for the other.
    timeout(IN_TIME, async {
        for n in 0..ROUNDS / 2 {
            passes_on(&mut anns, &mut bobs, room, &format!("to {n}")).await;
            passes_on(&mut bobs, &mut anns, room, &format!("fro {n}")).await;
        }
    })
    .await
    .expect("events come over the bus, and don't wait for the database to be asked");

    // A role takes effect on the other node at once.
    let path = format!("/v1/rooms/{room}/members/{}", bob.id);
    ann.api
        .patch(&path, &json!({"role": "admin"}))
        .await
        .with(200);
    let changed = until(&mut bobs, "MemberChanged").await;
    assert_eq!(changed["member"]["role"], "admin");
    let room_path = format!("/v1/rooms/{room}");
    bob.api
        .patch(&room_path, &json!({"name": "cake"}))
        .await
        .with(200);
    assert_eq!(
        until(&mut anns, "RoomChanged").await["room"]["name"],
        "cake"
    );
    bob.api
        .patch(&path, &json!({"role": "member"}))
        .await
        .with(200);

    // Who is removed hears it as the last thing from the room, wherever connected.
    ann.api.delete(&path).await.with(204);
    let left = until(&mut bobs, "MemberLeft").await;
    assert_eq!(
        (&left["userId"], &left["reason"]),
        (&json!(bob.id), &json!("removed"))
    );
    ann.say(room, "without bob").await;
    until(&mut anns, "MessageCreated").await;
    bobs.is_quiet().await;

    // A session that ends at role auth ends everywhere.
    let again = bob.again().await;
    let mut others = Hub::connect(&again.at(here.url())).await;
    bob.api.post_empty("/v1/auth/logout").await.with(204);
    bobs.closes(Some("sessionEnded"), json!({"type": 7})).await;
    others.is_quiet().await;
    let refused = bob
        .at(there.url())
        .api
        .post_empty("/v1/hub/negotiate")
        .await;
    assert_eq!(refused.status, 401, "{}", refused.text);
    // The role without connections is told as well, in its own time.
    timeout(3 * WITHIN, async {
        while bob.api.get("/v1/rooms").await.status != 401 {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("its token is refused everywhere");
}

/// What one says is heard by the other, next.
async fn passes_on(from: &mut Hub, to: &mut Hub, room: i64, content: &str) {
    let send = json!({"roomId": room, "content": content});
    let sent = from.invoke("SendMessage", send).await.expect("sent");
    let heard = to.event("MessageCreated").await;
    assert_eq!(heard["id"], sent["id"]);
    assert_eq!(heard["content"], content);
}

/// The argument of the next event of this kind, whatever comes before it.
async fn until(hub: &mut Hub, target: &str) -> Value {
    loop {
        let record = timeout(3 * WITHIN, hub.next()).await;
        let record = record.expect("it comes in time").expect("the hub stands");
        if record["target"] == target {
            return record["arguments"][0].clone();
        }
    }
}

/// Behind a proxy that gives each connection to the next node, what one node offers another takes.
async fn no_stickiness_is_needed(cluster: &Cluster) {
    let carl: Person = cluster.person("carl").await;
    let before = [
        hubs(&cluster.realtime[0]).await,
        hubs(&cluster.realtime[1]).await,
    ];
    let mut open = Vec::new();
    for _ in 0..6 {
        // Negotiation is one connection, the WebSocket the next.
        open.push(Hub::connect(&carl).await);
    }
    let after = [
        hubs(&cluster.realtime[0]).await,
        hubs(&cluster.realtime[1]).await,
    ];
    let grown = [after[0] - before[0], after[1] - before[1]];
    assert!(
        grown == [0, 6] || grown == [6, 0],
        "each WebSocket went to the node that did not negotiate it: {grown:?}"
    );
    let room = carl.room_with("cocoa", &[]).await;
    for hub in &mut open {
        assert_eq!(until(hub, "RoomJoined").await["room"]["id"], room);
    }
}

/// Connections to a node's hub.
async fn hubs(server: &Server) -> i64 {
    let metrics = server.anyone().get("/metrics").await.text;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("chat_hub_connections "));
    let count: f64 = line.expect("it is counted").parse().expect("a number");
    #[allow(clippy::cast_possible_truncation)] // a handful
    let count = count as i64;
    count
}
