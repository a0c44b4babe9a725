//! From a sender on node A to a receiver on node B: through Kafka, through PostgreSQL's bus, and on one node, where no bus is in
//! the way. PostgreSQL forces to disk what it acknowledges; one broker.
//!
//! `cargo bench -p chat-tests --bench nodes`. Each way in turn, at a rate that a small machine carries, so that what is measured is
//! the way and not a queue. The time is from handing the call to the sender's socket to reading the event on the receiver's: the
//! commit is in it.

#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod measure;

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chat_core::model::{Clock as _, SystemClock};
use chat_core::store::postgres::Postgres;
use chat_test_kafka::Kafka;
use chat_test_postgres::Server;
use futures_util::{SinkExt as _, StreamExt as _};
use measure::hub::{self, Socket};
use measure::process::{self, Process};
use measure::seed;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

/// Rooms of two, a sender and a receiver.
const PAIRS: usize = 8;
/// How often each sender sends: 160 messages a second together.
const EVERY: Duration = Duration::from_millis(50);

/// The way from a sender to its receiver.
#[derive(Clone, Copy)]
enum Way<'a> {
    OneNode,
    Postgres,
    Kafka(&'a Kafka),
}

impl Way<'_> {
    const fn name(self) -> &'static str {
        match self {
            Self::OneNode => "on one node",
            Self::Postgres => "node to node over PostgreSQL's bus",
            Self::Kafka(_) => "node to node over Kafka",
        }
    }
}

fn main() -> ExitCode {
    if let Some(code) = process::chat_server() {
        return code;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let server: &'static Server = Box::leak(Box::new(Server::start_durable()));
        let kafka = Kafka::start(1);
        for way in [Way::OneNode, Way::Postgres, Way::Kafka(&kafka)] {
            measure(server, way).await;
        }
        server.stop();
    });
    ExitCode::SUCCESS
}

async fn measure(server: &'static Server, way: Way<'_>) {
    let messages = if measure::is_asked_for() { 300 } else { 3 };
    let database = server.database(None).await;
    let store = Postgres::connect(&database.url()).await.expect("a server");
    store.migrate().await.expect("a schema");
    let at = SystemClock.now();
    let users = seed::users(&store, at, 2 * PAIRS).await;
    let mut rooms = Vec::new();
    for pair in users.chunks(2) {
        rooms.push((seed::room(&store, at, pair).await, pair[0], pair[1]));
    }
    store.close().await;

    let directory = measure::directory();
    let key = directory.path().join("key.pem");
    let keys = seed::keys(&key);
    let here = node(&database.url(), &key, way);
    let there = match way {
        Way::OneNode => None,
        Way::Postgres | Way::Kafka(_) => Some(node(&database.url(), &key, way)),
    };
    let receiving = there.as_ref().unwrap_or(&here).address;
    let mut pairs = JoinSet::new();
    for (room, sender, receiver) in rooms {
        let sends = hub::connect(here.address, &seed::token(&keys, sender)).await;
        let hears = hub::connect(receiving, &seed::token(&keys, receiver)).await;
        pairs.spawn(pair(room.0, sends, hears, messages));
    }
    let mut times: Vec<Duration> = pairs.join_all().await.into_iter().flatten().collect();
    times.sort_unstable();
    assert_eq!(times.len(), PAIRS * messages, "each is heard once");
    if measure::is_asked_for() {
        let at = |hundredth: usize| times[(times.len() - 1) * hundredth / 100].as_secs_f64() * 1e3;
        println!(
            "{}: p50 {:.1} ms, p99 {:.1} ms, {} messages at {:.0} a second",
            way.name(),
            at(50),
            at(99),
            times.len(),
            PAIRS as f64 / EVERY.as_secs_f64(),
        );
    }
}

/// A node that serves all roles.
fn node(database: &str, key: &Path, way: Way<'_>) -> Process {
    let mut settings = vec![
        ("CHAT_LISTEN", "127.0.0.1:0".to_owned()),
        ("CHAT_DATABASE_URL", database.to_owned()),
        ("CHAT_SIGNING_KEY", key.display().to_string()),
        ("CHAT_RATE_LIMITS", "off".to_owned()),
        ("CHAT_LOG", "error".to_owned()),
        ("CHAT_LOG_FORMAT", "json".to_owned()),
    ];
    match way {
        Way::OneNode => settings.push(("CHAT_BUS", "local".to_owned())),
        Way::Postgres => settings.push(("CHAT_BUS", "postgres".to_owned())),
        Way::Kafka(kafka) => {
            settings.push(("CHAT_BUS", "kafka".to_owned()));
            settings.push(("CHAT_KAFKA_BROKERS", kafka.bootstrap()));
        }
    }
    Process::serve(&settings, false)
}

/// One sends, the other hears; how long each message was on its way. The first is to warm up.
async fn pair(room: i64, mut sends: Socket, mut hears: Socket, messages: usize) -> Vec<Duration> {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        // Both nodes have read the room's last join.
        sleep(Duration::from_secs(1)).await;
        let mut ticks = interval(EVERY);
        for n in 0..=messages {
            ticks.tick().await;
            let argument = json!({"roomId": room, "content": n.to_string()});
            let call = hub::call(1, "SendMessage", &argument);
            noted.lock().expect("no panic").push(Instant::now());
            sends.send(call).await.expect("sent");
            hub::wait_for(&mut sends, |record| record.contains("\"result\"")).await;
        }
        sends
    });
    let mut times = Vec::new();
    while times.len() < messages {
        let message = hears.next().await.expect("the server goes on");
        let now = Instant::now();
        let text = message.expect("a sound frame").into_text().expect("text");
        for record in hub::records(&text) {
            let record: Value = serde_json::from_str(record).expect("JSON");
            if record["target"] == "MessageCreated" {
                let content = record["arguments"][0]["content"].as_str().expect("text");
                let n: usize = content.parse().expect("a number");
                if n > 0 {
                    times.push(now - sent.lock().expect("no panic")[n]);
                }
            }
        }
    }
    sending.await.expect("all are sent");
    times
}
