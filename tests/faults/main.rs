//! A whole cluster under load while each of its parts dies, stops or is cut off: what was acknowledged is in every transcript,
//! once, in order, without a hole, and webhooks tell of each event.
//!
//! `FAULT_ROUNDS=n` goes through all faults n times instead of once.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use chat_client::model::{RoomId, Seq};
use chat_test_kafka::Kafka;
use chat_test_postgres::Server as PostgreSql;
use chat_tests::cluster::{self, Bus};
use chat_tests::{Cluster, Crowd, Receiver, Server, Size};
use http::StatusCode;
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::sleep;

/// 125 messages a second, by 100 clients in 25 rooms.
const LOAD: Size = Size {
    rooms: 25,
    in_a_room: 4,
    send_every: Duration::from_millis(800),
};
/// What all together must send in a second.
const LEAST_A_SECOND: f64 = 100.0;
/// The rooms whose events are told to a webhook.
const WATCHED: usize = 2;
/// How long the last webhooks may take, which may have failed at first.
const LAST_WEBHOOKS: Duration = Duration::from_secs(120);

/// Has a receiver told of the events of some rooms; it fails every other event at first.
async fn watch(cluster: &Cluster, crowd: &Crowd) -> Receiver {
    let receiver = Receiver::answering(|payload, before| {
        let place = payload["data"]["changedSeq"].as_i64().unwrap_or(0);
        if before == 0 && place % 2 == 0 {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        }
    })
    .await;
    for (admin, room) in crowd.admins().take(WATCHED) {
        let path = format!("/v1/rooms/{room}/webhooks");
        let hook = json!({"url": receiver.url(), "events": ["messageCreated"]});
        let made = admin.at(cluster.rest.url()).api.post(&path, &hook).await;
        made.with(201);
    }
    receiver
}

/// Where the watched rooms stand.
async fn watched(crowd: &Crowd) -> BTreeMap<RoomId, Seq> {
    let mut places = crowd.places().await;
    let rooms: BTreeSet<_> = crowd.admins().take(WATCHED).map(|(_, room)| room).collect();
    places.retain(|room, _| rooms.contains(room));
    places
}

/// What the receiver was never told of, though it happened after the webhooks were made.
async fn untold(
    receiver: &Receiver,
    happened: &BTreeSet<(i64, i64)>,
    patience: Duration,
) -> BTreeSet<(i64, i64)> {
    let end = Instant::now() + patience;
    loop {
        let told: BTreeSet<_> = receiver.taken().iter().map(place).collect();
        let untold: BTreeSet<_> = happened.difference(&told).copied().collect();
        if untold.is_empty() || Instant::now() > end {
            return untold;
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// The room and the place of what a webhook tells.
fn place(one: &chat_tests::Received) -> (i64, i64) {
    let room = one.json()["data"]["roomId"].as_i64();
    (room.expect("an event of a room"), one.place())
}

/// One cluster at a time is enough for a machine.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

fn signal(server: &Server, signal: &str) {
    let sent = Command::new("kill")
        .args([signal, &server.process_id().to_string()])
        .status();
    assert!(sent.expect("kill runs").success(), "no signal was sent");
}

/// Does something that takes its time and isn't async.
async fn blocking<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    tokio::task::block_in_place(work)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_its_promises_while_each_of_its_parts_dies() {
    let _alone = alone().await;
    let rounds = std::env::var("FAULT_ROUNDS").map_or(1, |n| n.parse().expect("a number"));
    let postgres: &'static PostgreSql = Box::leak(Box::new(PostgreSql::start()));
    let database = postgres.database(None).await;
    let kafka = blocking(|| Kafka::start(3)).await;
    let bus = Bus::Kafka(&kafka);
    let mut cluster = Cluster::start(&database, bus).await;
    // Two share the webhooks' work.
    let other = cluster::consuming_node(&database, bus).start().await;
    let mut crowd = Crowd::gather(cluster.ingress.url(), LOAD).await;
    let receiver = watch(&cluster, &crowd).await;
    let before = watched(&crowd).await;
    let began = Instant::now();

    for round in 0..rounds {
        // Each kind of process, killed and started again.
        crowd.acknowledges(200).await;
        cluster.realtime[0].kill().await;
        cluster.realtime[0].restart().await;
        lead(&cluster);
        crowd.acknowledges(200).await;
        cluster.rest.kill().await;
        cluster.rest.restart().await;
        cluster.auth.kill().await;
        cluster.auth.restart().await;
        lead(&cluster);
        cluster.consumer.kill().await;
        cluster.consumer.restart().await;
        crowd.acknowledges(200).await;

        // The database is away for 10 s.
        blocking(|| postgres.stop()).await;
        sleep(Duration::from_secs(10)).await;
        blocking(|| postgres.resume()).await;
        crowd.acknowledges(200).await;

        // A node is stopped, longer than its lease and than it may go without knowing who was signed out.
        signal(&cluster.realtime[1], "-STOP");
        sleep(Duration::from_secs(15)).await;
        signal(&cluster.realtime[1], "-CONT");
        crowd.acknowledges(200).await;

        // One broker dies for good, then the others are away for 20 s.
        if round == 0 {
            blocking(|| kafka.kill(2)).await;
            crowd.acknowledges(200).await;
        }
        blocking(|| {
            kafka.kill(0);
            kafka.kill(1);
        })
        .await;
        sleep(Duration::from_secs(20)).await;
        blocking(|| {
            std::thread::scope(|scope| {
                scope.spawn(|| kafka.resume(0));
                scope.spawn(|| kafka.resume(1));
            });
        })
        .await;
        crowd.acknowledges(200).await;
    }

    let took = began.elapsed();
    let (sent, problems) = crowd.finish().await;
    assert_eq!(problems, [""; 0]);
    let rate = sent as f64 / took.as_secs_f64();
    assert!(rate >= LEAST_A_SECOND, "only {rate:.0} messages a second");
    let happened = crowd.happened_since(&before);
    let untold = untold(&receiver, &happened, LAST_WEBHOOKS).await;
    let metrics = other.anyone().get("/metrics").await.text;
    let of_webhooks: Vec<_> = metrics
        .lines()
        .filter(|line| line.starts_with("chat_webhook"))
        .collect();
    assert!(
        untold.is_empty(),
        "webhooks told nothing of {} of {} from {:?} on: {of_webhooks:#?}\n{}\n{}",
        untold.len(),
        happened.len(),
        untold.first(),
        cluster.consumer.log(),
        other.log(),
    );
    drop((cluster, other, database));
    postgres.stop();
}

/// Leads the ingress to where the nodes are now.
fn lead(cluster: &Cluster) {
    cluster.ingress.lead_auth_to(&[&cluster.auth]);
    cluster.ingress.lead_rest_to(&[&cluster.rest]);
    let [here, there] = &cluster.realtime;
    cluster.ingress.lead_realtime_to(&[here, there]);
}

/// What the same check says of a cluster whose database was spoiled by this SQL: its problems, and how many events of the
/// watched rooms no webhook told of.
async fn spoiled_by(sql: &'static str) -> (Vec<String>, usize) {
    let _alone = alone().await;
    let database = PostgreSql::shared().database(None).await;
    let migrated = cluster::signing_node(&database, Bus::Postgres);
    drop(migrated);
    let options: PgConnectOptions = database.url().parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    let mut cluster = Cluster::start(&database, Bus::Postgres).await;
    let size = Size {
        rooms: 2,
        in_a_room: 4,
        send_every: Duration::from_millis(20),
    };
    let mut crowd = Crowd::gather(cluster.ingress.url(), size).await;
    let receiver = watch(&cluster, &crowd).await;
    crowd.patience = Duration::from_secs(20);
    let before = watched(&crowd).await;
    for _ in 0..3 {
        crowd.acknowledges(200).await;
        for node in 0..2 {
            cluster.realtime[node].kill().await;
            cluster.realtime[node].restart().await;
            lead(&cluster);
        }
    }
    let (_, problems) = crowd.finish().await;
    let happened = crowd.happened_since(&before);
    let patience = Duration::from_secs(20);
    let untold = untold(&receiver, &happened, patience).await.len();
    (problems, untold)
}

fn any_says(problems: &[String], what: &str) -> bool {
    problems.iter().any(|problem| problem.contains(what))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_check_finds_that_duplicates_are_not_looked_for() {
    let (problems, _) = spoiled_by(
        "DO $$ BEGIN
            EXECUTE replace(pg_get_functiondef('send_messages'::regproc),
                'm.client_message_id = s.client_id', 'false');
            DROP INDEX messages_by_sender;
            CREATE INDEX messages_by_sender ON messages (room_id, sender_id, client_message_id);
        END $$",
    )
    .await;
    assert!(any_says(&problems, "stored twice"), "{problems:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_check_finds_that_holes_are_not_filled() {
    let (problems, _) = spoiled_by(
        "DO $$ BEGIN
            EXECUTE replace(pg_get_functiondef('read_changes'::regproc),
                'm.changed_seq = m.seq', 'false');
        END $$",
    )
    .await;
    assert!(any_says(&problems, "doesn't hear of"), "{problems:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_check_finds_that_there_is_no_outbox() {
    let (_, untold) = spoiled_by(
        "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
         CREATE TRIGGER forgotten BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION forget()",
    )
    .await;
    assert!(untold > 0, "webhooks tell of all without an outbox");
}
