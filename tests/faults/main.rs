//! A whole cluster under load while each of its parts dies, stops or is cut off: what was acknowledged is in every transcript,
//! once, in order, without a hole, and webhooks tell of each event.
//!
//! `FAULT_ROUNDS=n` goes through all faults n times instead of once.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chat_test_kafka::Kafka;
use chat_test_postgres::{Database, Server as PostgreSql};
use chat_tests::cluster::{self, Bus};
use chat_tests::{Cluster, Crowd, Cut, Hub, Network, Receiver, Server, Size, Watched};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{sleep, timeout};

/// 125 messages a second, by 100 clients in 25 rooms.
const LOAD: Size = Size {
    rooms: 25,
    in_a_room: 4,
    send_every: Duration::from_millis(800),
};
/// What all together must send in a second.
const LEAST_A_SECOND: f64 = 100.0;
/// How long until brokers give one up: longer than its session with them.
const LOST_WITHIN: Duration = Duration::from_secs(10);
/// How long a node is cut off: longer than it takes to find out that nobody answers.
const CUT_OFF_FOR: Duration = Duration::from_secs(15);
/// How long what the bus doesn't bring takes through the database, whose heads are read every 5 s.
const BY_HEADS: Duration = Duration::from_secs(8);
/// How long it takes over the bus, which is then surely not the database.
const BY_BUS: Duration = Duration::from_secs(1);
/// How long until a network that works again is used again.
const HEALED_WITHIN: Duration = Duration::from_secs(40);
/// Rows of the outbox that no node in touch with Kafka leaves lying.
const BACKLOG: i64 = 100;

/// Has a receiver told of the events of some rooms; it fails every other event at first.
async fn watch(cluster: &Cluster, crowd: &Crowd) -> Watched {
    let receiver = Receiver::answering(Watched::every_other_fails_at_first).await;
    Watched::begin(receiver, crowd, cluster.rest.url()).await
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
    let (to_node, to_consumer) = (Network::open(3).await, Network::open(3).await);
    let kafka = Kafka::builder(3)
        .detour(to_node.ports())
        .detour(to_consumer.ports());
    let kafka = blocking(|| kafka.start()).await;
    to_node.lead_to(kafka.detour(0));
    to_consumer.lead_to(kafka.detour(1));
    let bus = Bus::Kafka(&kafka);
    let mut cluster = Cluster::start(&database, bus).await;
    // These two come to Kafka by networks of their own.
    for (server, network) in [
        (&mut cluster.realtime[1], &to_node),
        (&mut cluster.consumer, &to_consumer),
    ] {
        let brokers = network.addresses();
        let brokers = [("CHAT_KAFKA_BROKERS", brokers.as_str())];
        server.restart_with(&brokers).await;
        cluster::ready(server).await;
    }
    lead(&cluster);
    // Two share the webhooks' work.
    let other = cluster::consuming_node(&database, bus).start().await;
    let mut crowd = Crowd::gather(cluster.ingress.url(), LOAD).await;
    let watched = watch(&cluster, &crowd).await;
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

        // The network between one node and Kafka is cut, in either way, and then that of a consumer.
        for how in [Cut::Closed, Cut::Silent] {
            a_node_is_cut_off(&cluster, &to_node, how, &database).await;
            crowd.acknowledges(200).await;
            a_consumer_is_cut_off(&cluster, &to_consumer, how, &watched.receiver).await;
            crowd.acknowledges(200).await;
        }

        // One broker dies for good, then the others are away for 20 s.
        if round == 0 {
            blocking(|| kafka.kill(2)).await;
            // As long as the others count it among the replicas in sync, all that they can come back to might be what it has.
            sleep(LOST_WITHIN).await;
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
    let untold = watched.untold(&crowd).await;
    let metrics = other.anyone().get("/metrics").await.text;
    let of_webhooks: Vec<_> = metrics
        .lines()
        .filter(|line| line.starts_with("chat_webhook"))
        .collect();
    assert!(
        untold.is_empty(),
        "webhooks told nothing of {} events from {:?} on: {of_webhooks:#?}\n{}\n{}",
        untold.len(),
        untold.first(),
        cluster.consumer.log(),
        other.log(),
    );
    drop((cluster, other, database));
    postgres.stop();
}

/// Cuts the second realtime node off from Kafka, and heals it. Those who talk from node to node hear each message once and in
/// order all the while, through the database; what the node couldn't publish waits, and goes out in the end.
async fn a_node_is_cut_off(cluster: &Cluster, network: &Network, how: Cut, database: &Database) {
    let options: PgConnectOptions = database.url().parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    let mut outbox = async || -> i64 {
        let rows = sqlx::query_scalar("SELECT count(*) FROM outbox");
        rows.fetch_one(&mut connection).await.unwrap()
    };
    let mut talk = Talk::begin(cluster).await;
    talk.until_quick(HEALED_WITHIN).await;

    network.cut(how);
    let end = Instant::now() + CUT_OFF_FOR;
    while Instant::now() < end {
        let took = talk.exchange().await;
        assert!(took <= BY_HEADS, "{how:?}: heard after {took:?}");
    }
    let waiting = outbox().await;
    assert!(waiting > BACKLOG, "{how:?}: {waiting} rows in the outbox");
    is_up(&cluster.realtime[1], false).await;

    network.mend();
    talk.until_quick(HEALED_WITHIN).await;
    let healed = timeout(HEALED_WITHIN, async {
        while outbox().await > BACKLOG {
            sleep(Duration::from_millis(100)).await;
        }
    });
    assert!(healed.await.is_ok(), "{how:?}: events stay in the outbox");
    is_up(&cluster.realtime[1], true).await;
}

/// Cuts a consumer off from Kafka, and heals it. The other one takes its share over.
async fn a_consumer_is_cut_off(
    cluster: &Cluster,
    network: &Network,
    how: Cut,
    receiver: &Receiver,
) {
    network.cut(how);
    sleep(CUT_OFF_FOR).await;
    is_up(&cluster.consumer, false).await;
    let told = receiver.taken().len();
    let more = timeout(BY_HEADS, async {
        while receiver.taken().len() < told + 20 {
            sleep(Duration::from_millis(100)).await;
        }
    });
    assert!(more.await.is_ok(), "{how:?}: webhooks wait");
    network.mend();
    is_up(&cluster.consumer, true).await;
}

/// Waits until a node knows that the bus is there, or that it isn't.
async fn is_up(server: &Server, is_up: bool) {
    let said = format!("chat_bus_up {}", u8::from(is_up));
    let anyone = server.anyone();
    let seen = timeout(HEALED_WITHIN, async {
        while !anyone.get("/metrics").await.text.lines().any(|l| l == said) {
            sleep(Duration::from_millis(100)).await;
        }
    });
    assert!(seen.await.is_ok(), "no {said}: {}", server.log());
}

/// Two who talk in a room, each connected to another node.
struct Talk {
    room: i64,
    here: Hub,
    there: Hub,
}

impl Talk {
    async fn begin(cluster: &Cluster) -> Self {
        static TALKS: AtomicUsize = AtomicUsize::new(0);
        let n = TALKS.fetch_add(1, Ordering::Relaxed);
        let here = cluster.person(&format!("here{n}")).await;
        let there = cluster.person(&format!("there{n}")).await;
        let room = here.room_with("talk", &[&there]).await;
        let mut talk = Self {
            room,
            here: Hub::connect(&here.at(cluster.realtime[0].url())).await,
            there: Hub::connect(&there.at(cluster.realtime[1].url())).await,
        };
        // What came of the joins is no part of it.
        for hub in [&mut talk.here, &mut talk.there] {
            let id = hub.call("Ping", &json!({})).await.unwrap();
            while hub.next().await.unwrap()["invocationId"] != id {}
        }
        talk
    }

    /// Some messages each way, of which the other hears each once and in order; how long it took at most to hear them.
    async fn exchange(&mut self) -> Duration {
        let Self { room, here, there } = self;
        let there_heard = say(*room, here, there).await;
        there_heard.max(say(*room, there, here).await)
    }

    /// Waits until messages come as fast as over the bus.
    async fn until_quick(&mut self, within: Duration) {
        let end = Instant::now() + within;
        while self.exchange().await > BY_BUS {
            assert!(Instant::now() < end, "messages don't come over the bus");
        }
    }
}

/// Says some things, and has them heard: these, and nothing else.
async fn say(room: i64, from: &mut Hub, to: &mut Hub) -> Duration {
    let mut said = Vec::new();
    for n in 0..3 {
        let send = json!({"roomId": room, "content": n.to_string()});
        said.push(from.invoke("SendMessage", send).await.unwrap()["id"].clone());
    }
    let began = Instant::now();
    let mut heard = Vec::new();
    while heard.len() < said.len() {
        heard.push(to.event("MessageCreated").await["id"].clone());
    }
    let took = began.elapsed();
    assert_eq!(heard, said);
    took
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
    let mut watched = watch(&cluster, &crowd).await;
    crowd.patience = Duration::from_secs(20);
    watched.patience = Duration::from_secs(20);
    for _ in 0..3 {
        crowd.acknowledges(200).await;
        for node in 0..2 {
            cluster.realtime[node].kill().await;
            cluster.realtime[node].restart().await;
            lead(&cluster);
        }
    }
    let (_, problems) = crowd.finish().await;
    (problems, watched.untold(&crowd).await.len())
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
    // A client waits for ever, or takes what comes after the hole for what it missed.
    let is_found = any_says(&problems, "doesn't hear of") || any_says(&problems, "stood at");
    assert!(is_found, "{problems:?}");
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
