//! What a reconnect costs: a WebSocket opened with a token, its handshake, `Connected`, the changes of one room that were
//! missed, and the close; in the server's processor time.
//!
//! `cargo bench -p chat-tests --bench resume`. 16 clients reconnect at once, as many do after a server's restart: one alone
//! would pay for waking each of the server's threads.

#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod measure;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Instant;

use futures_util::SinkExt as _;
use measure::seed::Seed;
use measure::{hub, process};
use serde_json::json;

const AIM: f64 = 150.0;
/// Messages that were missed.
const MISSED: i64 = 5;
/// Reconnects under way.
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
    let seed = Seed::new().await;
    let users = seed.users(4).await;
    let room = seed.room(&users).await;
    let token = seed.token(users[0]);
    let served = seed.serve(true).await;
    let address = served.process.address;

    let mut sender = hub::connect(address, &token).await;
    let argument = json!({"roomId": room, "content": "Missed by those who were away."});
    for id in 0..20 {
        let call = hub::call(id, "SendMessage", &argument);
        sender.send(call).await.expect("sent");
        hub::wait_for(&mut sender, |record| record.contains("\"result\"")).await;
    }
    drop(sender);

    // The creator, three who joined, and the messages.
    let since = 4 + 20 - MISSED;
    let changes = json!({"roomId": room, "since": since});
    let slices = if measure::is_asked_for() {
        measure::SLICES
    } else {
        1
    };
    let mut costs = Vec::new();
    for _ in 0..slices {
        let (start, cpu) = (Instant::now(), served.process.cpu());
        let reconnects = measure::at_once(UNDER_WAY, async || {
            let mut reconnects = 0_u32;
            while reconnects == 0 || measure::is_asked_for() && start.elapsed() < measure::SLICE {
                reconnect(address, &token, &changes).await;
                reconnects += 1;
            }
            reconnects
        });
        let reconnects = reconnects.await;
        costs.push((served.process.cpu() - cpu).as_secs_f64() * 1e6 / f64::from(reconnects));
    }
    if measure::is_asked_for() {
        println!(
            "a reconnect that resumes one room: {:.0} µs of the server (aim: {AIM})",
            measure::median(costs)
        );
    }
}

/// Connects, catches up and closes.
async fn reconnect(address: SocketAddr, token: &str, changes: &serde_json::Value) {
    let mut socket = hub::connect(address, token).await;
    let call = hub::call(1, "GetChanges", changes);
    socket.send(call).await.expect("sent");
    let answer = hub::wait_for(&mut socket, |record| record.contains("\"result\"")).await;
    assert_eq!(
        answer.matches("messageCreated").count() as i64,
        MISSED,
        "{answer}"
    );
    socket.close(None).await.expect("closed");
}
