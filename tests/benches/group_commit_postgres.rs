//! What group commit is worth on PostgreSQL: 64 senders at once, every message forced to the server's disk before it is
//! acknowledged; the writer, which commits together what waits, against one transaction a message on 64 connections.
//!
//! `cargo bench -p chat-tests --bench group_commit_postgres`. The two sides take turns on two databases of one server on this
//! machine. The other side does a message's least work (membership, the room's next place, the row) in one call of a stored
//! function, prepared once on each connection: one round trip and one commit. PostgreSQL joins the commits of connections that
//! wait at the same time by itself, so the ratio is smaller than on SQLite; senders of one room wait for each other's commits.

#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod measure;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_core::store::postgres::Postgres;
use chat_test_postgres::{Database, Server};
use measure::grouped::{Grouped, Sender, senders};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

const SENDERS: usize = 64;
const AIM: f64 = 3.0;
const CONTENT: &str = "Plain words of a chat, as long as most of them are: about a line of text, sometimes a bit more.";

#[tokio::main]
async fn main() {
    let server: &'static Server = Box::leak(Box::new(Server::start_durable()));
    for room_size in [1, 4] {
        compare(server, room_size).await;
    }
    server.stop();
}

async fn compare(server: &'static Server, room_size: usize) {
    let (of_grouped, of_single) = (server.database(None).await, server.database(None).await);
    let store = migrated(&of_grouped).await;
    let grouped = Grouped::start(store, SENDERS, room_size).await;
    let single = Single::open(&of_single, room_size).await;
    let (slice, slices) = if measure::is_asked_for() {
        (measure::SLICE, measure::SLICES)
    } else {
        (Duration::ZERO, 1)
    };
    let (mut rates_grouped, mut rates_single) = (Vec::new(), Vec::new());
    let (mut acknowledged, mut alone) = (0, 0);
    for _ in 0..slices {
        let before = Instant::now();
        let sent = grouped.send_for(slice, CONTENT).await;
        rates_grouped.push(f64::from(sent) / before.elapsed().as_secs_f64());
        acknowledged += i64::from(sent);

        let before = Instant::now();
        let sent = single.send_for(slice).await;
        rates_single.push(f64::from(sent) / before.elapsed().as_secs_f64());
        alone += i64::from(sent);
    }
    assert_eq!(count(&of_grouped).await, acknowledged, "all is stored");
    assert_eq!(count(&of_single).await, alone, "and on the other side");
    if measure::is_asked_for() {
        let (grouped, single) = (
            measure::median(rates_grouped),
            measure::median(rates_single),
        );
        println!(
            "PostgreSQL, {SENDERS} senders, {room_size} in a room: {grouped:.0} messages a second in groups, {single:.0} one by one, ratio {:.1} (aim: {AIM})",
            grouped / single
        );
    }
}

async fn migrated(database: &Database) -> Postgres {
    let store = Postgres::connect(&database.url()).await.expect("a server");
    store.migrate().await.expect("a schema");
    store
}

async fn connect(database: &Database) -> PgConnection {
    let options: PgConnectOptions = database.url().parse().expect("a URL");
    let options = options.disable_statement_logging();
    options.connect().await.expect("a connection")
}

/// One transaction a message, on a connection for each sender.
struct Single {
    senders: Vec<(Sender, Arc<Mutex<PgConnection>>)>,
}

const FUNCTION: &str = "
    CREATE FUNCTION send_one(the_room bigint, sender bigint, text text, at bigint) RETURNS bigint LANGUAGE plpgsql AS $$
    DECLARE
        place bigint;
    BEGIN
        UPDATE rooms SET seq = seq + 1 WHERE id = the_room
            AND EXISTS (SELECT 1 FROM members WHERE room_id = the_room AND user_id = sender AND left_seq IS NULL)
            RETURNING seq INTO STRICT place;
        INSERT INTO messages (room_id, seq, id, sender_id, changed_seq, sent_at, content)
            VALUES (the_room, place, nextval('message_ids'), sender, place, at, text);
        RETURN place;
    END
    $$";

impl Single {
    async fn open(database: &Database, room_size: usize) -> Self {
        let store = migrated(database).await;
        let senders = senders(&store, SENDERS, room_size).await;
        store.close().await;
        let mut administrator = connect(database).await;
        let made = sqlx::raw_sql(FUNCTION).execute(&mut administrator).await;
        made.expect("a function");
        administrator.close().await.expect("closed");
        let mut connected = Vec::new();
        for sender in senders {
            let mut connection = connect(database).await;
            let plan = sqlx::query("SET plan_cache_mode = 'force_generic_plan'");
            plan.execute(&mut connection).await.expect("a setting");
            connected.push((sender, Arc::new(Mutex::new(connection))));
        }
        Self { senders: connected }
    }

    /// Messages sent until the time is over, at least one by each sender.
    async fn send_for(&self, time: Duration) -> u32 {
        let end = Instant::now() + time;
        let mut tasks = JoinSet::new();
        for (Sender { user, room }, connection) in &self.senders {
            let (user, room, connection) = (user.0, room.0, Arc::clone(connection));
            tasks.spawn(async move {
                let mut connection = connection.lock().await;
                let mut sent = 0;
                while sent == 0 || Instant::now() < end {
                    let _place: i64 = sqlx::query_scalar("SELECT send_one($1, $2, $3, $4)")
                        .bind(room)
                        .bind(user)
                        .bind(CONTENT)
                        .bind(1_769_860_800_000_i64 + i64::from(sent))
                        .fetch_one(&mut *connection)
                        .await
                        .expect("sent");
                    sent += 1;
                }
                sent
            });
        }
        tasks.join_all().await.into_iter().sum()
    }
}

/// Messages in a database.
async fn count(database: &Database) -> i64 {
    let mut connection = connect(database).await;
    let count = sqlx::query_scalar("SELECT count(*) FROM messages")
        .fetch_one(&mut connection)
        .await
        .expect("a count");
    connection.close().await.expect("closed");
    count
}
