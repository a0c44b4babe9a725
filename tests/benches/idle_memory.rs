//! What an idle WebSocket connection costs: 5,000 of them, and what the server's resident memory grew by.
//!
//! `tests/idle-memory` runs it, and raises the limit of open files before.

#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod measure;

use std::process::ExitCode;

use measure::seed::Seed;
use measure::{hub, process};

const LIMIT: u64 = 8 * 1_024;
const AIM: u64 = 6 * 1_024;
/// Connections before the first look, so that what the server makes once isn't counted.
const WARM_UP: usize = 100;

fn main() -> ExitCode {
    if let Some(code) = process::chat_server() {
        return code;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if runtime.block_on(measure()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Whether it stays under the limit.
async fn measure() -> bool {
    let connections = if measure::is_asked_for() { 5_000 } else { 5 };
    let seed = Seed::new().await;
    let users = seed.users(connections / 5).await;
    for members in users.chunks(4) {
        seed.room(members).await;
    }
    let tokens: Vec<_> = users.iter().map(|&user| seed.token(user)).collect();
    let served = seed.serve(false).await;
    let mut sockets = Vec::new();
    let mut tokens = tokens.iter().cycle();
    for _ in 0..WARM_UP {
        let token = tokens.next().expect("someone");
        sockets.push(hub::connect(served.process.address, token).await);
    }
    let before = served.process.resident();
    for _ in 0..connections {
        let token = tokens.next().expect("someone");
        sockets.push(hub::connect(served.process.address, token).await);
    }
    let each = served.process.resident().saturating_sub(before) / connections as u64;
    if measure::is_asked_for() {
        println!(
            "{connections} idle connections: {each} bytes of the server's resident memory each (at most {LIMIT}, aim: {AIM})"
        );
        each <= LIMIT
    } else {
        true
    }
}
