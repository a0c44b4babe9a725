//! What group commit is worth: 64 senders at once on SQLite, every message on disk before it is acknowledged; the writer,
//! which commits together what waits, against one transaction a message.
//!
//! `cargo bench -p chat-tests --bench group_commit`. The two sides take turns on two databases beside each other, so the
//! ratio says little about the disk. The other side has the same schema, settings and work for a message (membership, the
//! room's next place, the rows), in one prepared call that begins, writes and commits: fewer calls than the store's own way
//! would need for a single message. With a faster disk the ratio is smaller, since a sync is what is saved. Once with a room for
//! each sender, so that a batch touches as many pages as it can, and once with rooms of four.

#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod measure;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_core::store::sqlite::Sqlite;
use measure::grouped::{Grouped, Sender, senders};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

const SENDERS: usize = 64;
const AIM: f64 = 8.0;
const CONTENT: &str = "Plain words of a chat, as long as most of them are: about a line of text, sometimes a bit more.";

#[tokio::main]
async fn main() {
    for room_size in [1, 4] {
        compare(room_size).await;
    }
}

async fn compare(room_size: usize) {
    let directory = measure::directory();
    let path = directory.path().join("grouped.db");
    let store = Sqlite::open(&path).await.expect("a database");
    let grouped = Grouped::start(store, SENDERS, room_size).await;
    let single = Single::open(&directory.path().join("single.db"), room_size).await;
    let (slice, slices) = if measure::is_asked_for() {
        (measure::SLICE, measure::SLICES)
    } else {
        (Duration::ZERO, 1)
    };
    let (mut of_grouped, mut of_single) = (Vec::new(), Vec::new());
    let (mut acknowledged, mut alone) = (0, 0);
    for _ in 0..slices {
        let before = Instant::now();
        let sent = grouped.send_for(slice, CONTENT).await;
        of_grouped.push(f64::from(sent) / before.elapsed().as_secs_f64());
        acknowledged += i64::from(sent);

        let before = Instant::now();
        let sent = single.send_for(slice).await;
        of_single.push(f64::from(sent) / before.elapsed().as_secs_f64());
        alone += i64::from(sent);
    }
    let stored = count(&path).await;
    assert_eq!(stored, acknowledged, "acknowledged is stored");
    assert_eq!(
        count(&single.path).await,
        alone,
        "and so is the other side's"
    );
    if measure::is_asked_for() {
        let (grouped, single) = (measure::median(of_grouped), measure::median(of_single));
        println!(
            "{SENDERS} senders, {room_size} in a room: {grouped:.0} messages a second in groups, {single:.0} one by one, ratio {:.1} (aim: {AIM})",
            grouped / single
        );
    }
}

/// One transaction a message, in one call to the database.
struct Single {
    path: std::path::PathBuf,
    connection: Arc<Mutex<SqliteConnection>>,
    senders: Vec<Sender>,
}

/// `$1`: the room, `$2`: the sender, `$3`: the content, `$4`: the time. The last row is the new message's place and id.
const SEND: &str = "
    BEGIN IMMEDIATE;
    UPDATE counters SET value = value + 1 WHERE name = 'message';
    UPDATE rooms SET seq = seq + 1 WHERE id = $1
        AND EXISTS (SELECT 1 FROM members WHERE room_id = $1 AND user_id = $2 AND left_seq IS NULL);
    INSERT INTO messages (room_id, seq, id, sender_id, changed_seq, sent_at, content)
        SELECT r.id, r.seq, c.value, $2, r.seq, $4, $3 FROM rooms r, counters c
        WHERE r.id = $1 AND c.name = 'message' AND changes() = 1;
    INSERT INTO message_places (id, room_id, seq, sent_at)
        SELECT c.value, r.id, r.seq, $4 FROM rooms r, counters c
        WHERE r.id = $1 AND c.name = 'message' AND changes() = 1
        RETURNING seq, id;
    COMMIT";

impl Single {
    async fn open(path: &Path, room_size: usize) -> Self {
        let store = Sqlite::open(path).await.expect("a database");
        let senders = senders(&store, SENDERS, room_size).await;
        drop(store);
        let connection = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .pragma("cache_size", "-32768")
            .pragma("wal_autocheckpoint", "4000")
            .pragma("secure_delete", "FAST")
            .disable_statement_logging()
            .connect()
            .await
            .expect("the same database");
        Self {
            path: path.to_owned(),
            connection: Arc::new(Mutex::new(connection)),
            senders,
        }
    }

    /// Messages sent until the time is over, at least one by each sender.
    async fn send_for(&self, time: Duration) -> u32 {
        let end = Instant::now() + time;
        let mut tasks = JoinSet::new();
        for &Sender { user, room } in &self.senders {
            let connection = Arc::clone(&self.connection);
            tasks.spawn(async move {
                let mut sent = 0;
                while sent == 0 || Instant::now() < end {
                    let mut connection = connection.lock().await;
                    let rows = sqlx::query(SEND)
                        .bind(room.0)
                        .bind(user.0)
                        .bind(CONTENT)
                        .bind(1_769_860_800_000_i64 + i64::from(sent))
                        .fetch_all(&mut *connection)
                        .await
                        .expect("sent");
                    assert_eq!(rows.len(), 1, "the message's place");
                    sent += 1;
                }
                sent
            });
        }
        tasks.join_all().await.into_iter().sum()
    }
}

/// Messages in a database.
async fn count(path: &Path) -> i64 {
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .connect()
        .await
        .expect("the database");
    let count = sqlx::query_scalar("SELECT count(*) FROM messages")
        .fetch_one(&mut connection)
        .await
        .expect("a count");
    connection.close().await.expect("closed");
    count
}
