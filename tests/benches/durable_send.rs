//! What a durable send costs from end to end: 1,000 connections in 250 rooms of 4, each sending its next message when the
//! last one is acknowledged, and the processor time for each acknowledged message: the server's on one core with SQLite inside,
//! then the server's and the database's with PostgreSQL beside it.
//!
//! `cargo bench -p chat-tests --bench durable_send`. That time holds all there is to a message: four sockets, one read and
//! four written to; parsing, checks, and the transaction that is on disk before anyone is told. With PostgreSQL also the event's
//! row in the outbox and the way over its bus, as on one of several nodes.

#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod measure;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chat_test_postgres::Server;
use futures_util::{SinkExt as _, StreamExt as _};
use measure::hub::{self, Socket};
use measure::process;
use measure::seed::Seed;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

/// Microseconds a message, with SQLite and with PostgreSQL.
const AIM: f64 = 45.0;
const AIM_POSTGRES: f64 = 120.0;
const ROOM: usize = 4;
const CONTENT: &str = "Plain words of a chat, as long as most of them are: about a line of text, sometimes a bit more.";

fn main() -> ExitCode {
    if let Some(code) = process::chat_server() {
        return code;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        measure(Seed::new().await, None).await;
        let postgres: &'static Server = Box::leak(Box::new(Server::start_durable()));
        let database = postgres.database(None).await;
        measure(Seed::on_postgres(database).await, Some(postgres)).await;
        postgres.stop();
    });
    ExitCode::SUCCESS
}

/// Measures the server on what is seeded, and with it the database that isn't a part of it.
async fn measure(seed: Seed, postgres: Option<&Server>) {
    let connections = if measure::is_asked_for() { 1_000 } else { 8 };
    let users = seed.users(connections).await;
    let mut places = Vec::new();
    for members in users.chunks(ROOM) {
        let room = seed.room(members).await;
        places.extend(members.iter().map(|&user| (room, seed.token(user))));
    }
    let served = seed.serve(postgres.is_none()).await;
    let mut sockets = Vec::new();
    for (room, token) in places {
        sockets.push((room, hub::connect(served.process.address, &token).await));
    }
    let acknowledged = Arc::new(AtomicU64::new(0));
    let delivered = Arc::new(AtomicU64::new(0));
    let mut senders = JoinSet::new();
    for (room, socket) in sockets {
        let argument = json!({"roomId": room, "content": CONTENT});
        let send = hub::call(1, "SendMessage", &argument);
        senders.spawn(send_on(
            socket,
            send,
            Arc::clone(&acknowledged),
            Arc::clone(&delivered),
        ));
    }

    let slices = if measure::is_asked_for() {
        measure::SLICES
    } else {
        1
    };
    let of_database = || postgres.map_or(Duration::ZERO, Server::cpu);
    let (mut costs, mut databases, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    // The first is to warm up.
    for _ in 0..=slices {
        let (start, cpu, database) = (Instant::now(), served.process.cpu(), of_database());
        let before = acknowledged.load(Ordering::Relaxed);
        tokio::time::sleep(measure::SLICE).await;
        let messages = acknowledged.load(Ordering::Relaxed) - before;
        let messages = f64::from(u32::try_from(messages).expect("not so many"));
        assert!(messages > 0.0, "the server answers");
        costs.push((served.process.cpu() - cpu).as_secs_f64() * 1e6 / messages);
        databases.push((of_database() - database).as_secs_f64() * 1e6 / messages);
        rates.push(messages / start.elapsed().as_secs_f64());
    }
    for measured in [&mut costs, &mut databases, &mut rates] {
        measured.remove(0);
    }
    if let Some(ended) = senders.try_join_next() {
        panic!("a sender ended: {ended:?}");
    }
    assert!(delivered.load(Ordering::Relaxed) > 0, "others hear of it");
    if measure::is_asked_for() {
        let (server, rate) = (measure::median(costs), measure::median(rates));
        print!("{connections} connections in rooms of {ROOM}, ");
        if postgres.is_some() {
            let database = measure::median(databases);
            println!(
                "PostgreSQL: {:.1} µs a message (aim: {AIM_POSTGRES}), {server:.1} of the server and {database:.1} of the database, {rate:.0} messages a second",
                server + database
            );
        } else {
            println!(
                "SQLite: {server:.1} µs of the server a message (aim: {AIM}), {rate:.0} messages a second"
            );
        }
    }
}

/// Sends again whenever it is acknowledged.
async fn send_on(
    mut socket: Socket,
    send: Message,
    acknowledged: Arc<AtomicU64>,
    delivered: Arc<AtomicU64>,
) {
    socket.send(send.clone()).await.expect("sent");
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else {
            continue;
        };
        for record in hub::records(&text) {
            if record.contains("\"MessageCreated\"") {
                delivered.fetch_add(1, Ordering::Relaxed);
            } else if record.contains("\"result\"") {
                acknowledged.fetch_add(1, Ordering::Relaxed);
                socket.send(send.clone()).await.expect("sent");
            } else {
                assert!(!record.contains("\"error\""), "refused: {record}");
            }
        }
    }
}
