//! What a page of the newest 50 messages costs over REST, in a room of 1,000,000 among busier ones, and in a room of 1,000.
//!
//! `cargo bench -p chat-tests --bench page`. The server's processor time for each request, 16 at once over connections that
//! stay open, as a busy server has them: one alone would pay for waking each of the server's threads. The two rooms take
//! turns.

#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod measure;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use chat_core::model::{RoomId, UserId};
use measure::process::{self, Process};
use measure::seed::Seed;
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

const AIM: f64 = 40.0;
const LIMIT: f64 = 1.5;
const PAGE: usize = 50;
/// Requests under way.
const UNDER_WAY: usize = 16;

fn main() -> ExitCode {
    if let Some(code) = process::chat_server() {
        return code;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure());
    ExitCode::SUCCESS
}

async fn measure() {
    let scale = if measure::is_asked_for() { 1_000 } else { 1 };
    let seed = Seed::new().await;
    let users = seed.users(4).await;
    let mut rooms = Vec::new();
    for _ in 0..3 {
        rooms.push(seed.room(&users).await);
    }
    let token = seed.token(users[0]);
    let [busier, large, small] = rooms[..] else {
        panic!("three rooms");
    };
    // One after the other in time as in a life: everyone's messages lie between everyone's.
    let counts = [
        (busier, 1_500 * scale),
        (large, 1_000 * scale),
        (small, 1_000),
    ];
    fill(&seed.database(), users[0], &counts).await;
    let served = seed.serve(true).await;

    let client = reqwest::Client::new();
    let url = |room: RoomId| {
        format!(
            "http://{}/v1/rooms/{room}/messages?limit={PAGE}",
            served.process.address
        )
    };
    let (large, small) = (url(large), url(small));
    for url in [&large, &small] {
        let page: serde_json::Value =
            serde_json::from_str(&get(&client, url, &token).await).expect("JSON");
        assert_eq!(page["items"].as_array().map(Vec::len), Some(PAGE), "{page}");
    }
    let slices = if measure::is_asked_for() {
        measure::SLICES
    } else {
        1
    };
    let (mut of_large, mut of_small) = (Vec::new(), Vec::new());
    for _ in 0..slices {
        of_large.push(slice(&served.process, &client, &large, &token).await);
        of_small.push(slice(&served.process, &client, &small, &token).await);
    }
    if measure::is_asked_for() {
        let (large, small) = (measure::median(of_large), measure::median(of_small));
        println!(
            "the newest {PAGE} of 1,000,000: {large:.0} µs of the server (aim: {AIM}), of 1,000: {small:.0} µs, ratio {:.2} (at most {LIMIT})",
            large / small
        );
    }
}

/// Microseconds of the server's processor time for a request, over a slice.
async fn slice(server: &Process, client: &reqwest::Client, url: &str, token: &str) -> f64 {
    let (start, cpu) = (Instant::now(), server.cpu());
    let requests = measure::at_once(UNDER_WAY, async || {
        let mut requests = 0_u32;
        while requests == 0 || measure::is_asked_for() && start.elapsed() < measure::SLICE {
            get(client, url, token).await;
            requests += 1;
        }
        requests
    });
    let requests = requests.await;
    (server.cpu() - cpu).as_secs_f64() * 1e6 / f64::from(requests)
}

async fn get(client: &reqwest::Client, url: &str, token: &str) -> String {
    let response = client
        .get(url)
        .bearer_auth(token)
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 200, "{url}");
    response.text().await.expect("a body")
}

/// Writes so many messages into the rooms, in turns, past the server: a million sends would take minutes.
async fn fill(path: &Path, sender: UserId, counts: &[(RoomId, i64)]) {
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .synchronous(SqliteSynchronous::Off)
        .disable_statement_logging()
        .connect()
        .await
        .expect("the database");
    for (first_id, &(room, count)) in (1_i64..).zip(counts) {
        // An id of its own for each, and gaps of three between a room's ids.
        let sql = "
            BEGIN IMMEDIATE;
            WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < $3)
            INSERT INTO messages (room_id, seq, id, sender_id, changed_seq, sent_at, content)
            SELECT r.id, r.seq + 1 + i, $4 + i * 3, $2, r.seq + 1 + i, r.created_at + i,
                   'Plain words of a chat, number ' || i || ', as long as most of them are.'
            FROM n, rooms r WHERE r.id = $1;
            INSERT INTO message_places (id, room_id, seq, sent_at)
            SELECT id, room_id, seq, sent_at FROM messages WHERE room_id = $1;
            UPDATE rooms SET seq = seq + $3 WHERE id = $1;
            UPDATE counters SET value = max(value, $4 + $3 * 3) WHERE name = 'message';
            COMMIT";
        sqlx::query(sql)
            .bind(room.0)
            .bind(sender.0)
            .bind(count)
            .bind(first_id)
            .fetch_all(&mut connection)
            .await
            .expect("filled");
    }
    connection.close().await.expect("closed");
}
