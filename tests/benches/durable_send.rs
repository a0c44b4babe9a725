//! What a durable send costs from end to end: 1,000 connections in 250 rooms of 4, each sending its next message when the
//! last one is acknowledged, and the server's processor time for each acknowledged message, on one core.
//!
//! `cargo bench -p chat-tests --bench durable_send`. That time holds all there is to a message: four sockets, one read and
//! four written to; parsing, checks, and the transaction that is on disk before anyone is told.

#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod measure;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::{SinkExt as _, StreamExt as _};
use measure::hub::{self, Socket};
use measure::process;
use measure::seed::Seed;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

const AIM: f64 = 45.0;
const ROOM: usize = 4;
const CONTENT: &str = "Plain words of a chat, as long as most of them are: about a line of text, sometimes a bit more.";

fn main() -> ExitCode {
    if let Some(code) = process::chat_server() {
        return code;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure());
    ExitCode::SUCCESS
}

async fn measure() {
    let connections = if measure::is_asked_for() { 1_000 } else { 8 };
    let seed = Seed::new().await;
    let users = seed.users(connections).await;
    let mut places = Vec::new();
    for members in users.chunks(ROOM) {
        let room = seed.room(members).await;
        places.extend(members.iter().map(|&user| (room, seed.token(user))));
    }
    let served = seed.serve(true).await;
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
    let (mut costs, mut rates) = (Vec::new(), Vec::new());
    // The first is to warm up.
    for _ in 0..=slices {
        let (start, cpu) = (Instant::now(), served.process.cpu());
        let before = acknowledged.load(Ordering::Relaxed);
        tokio::time::sleep(measure::SLICE).await;
        let messages = acknowledged.load(Ordering::Relaxed) - before;
        let messages = f64::from(u32::try_from(messages).expect("not so many"));
        assert!(messages > 0.0, "the server answers");
        costs.push((served.process.cpu() - cpu).as_secs_f64() * 1e6 / messages);
        rates.push(messages / start.elapsed().as_secs_f64());
    }
    costs.remove(0);
    rates.remove(0);
    if let Some(ended) = senders.try_join_next() {
        panic!("a sender ended: {ended:?}");
    }
    assert!(delivered.load(Ordering::Relaxed) > 0, "others hear of it");
    if measure::is_asked_for() {
        println!(
            "{connections} connections in rooms of {ROOM}: {:.1} µs of the server a message (aim: {AIM}), {:.0} messages a second",
            measure::median(costs),
            measure::median(rates)
        );
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
