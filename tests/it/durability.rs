//! A commit is on disk before it is answered: seen from outside, by the system calls of the server's process.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chat_tests::{Server, WITHIN};
use tokio::time::{sleep, timeout};

const MESSAGES: usize = 200;

#[tokio::test]
async fn each_commit_is_synced() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("syncs");
    let mut server = Server::builder().watch_syncs(log.clone()).start().await;
    let ann = server.person("ann").await;
    let room = ann.room_with("room", &[]).await;
    let began = now();
    // One after the other, so that no two share a commit.
    for n in 0..MESSAGES {
        ann.say(room, &format!("message {n}")).await;
    }
    let ended = now();
    server.kill().await;
    let calls = timeout(WITHIN, async {
        loop {
            let calls = std::fs::read_to_string(&log).unwrap();
            if calls.contains("+++ killed by SIGKILL") {
                return calls;
            }
            sleep(Duration::from_millis(10)).await;
        }
    });
    let calls = calls.await.expect("strace ends with the server");
    let synced = |call: &&str| {
        let at = call.split_whitespace().nth(1);
        let at = at.and_then(|at| at.parse::<f64>().ok());
        call.contains("sync(")
            && call.contains("chat.db-wal")
            && at.is_some_and(|at| (began..ended).contains(&at))
    };
    let syncs = calls.lines().filter(synced).count();
    assert!(syncs >= MESSAGES, "{syncs} syncs:\n{calls}");
}

/// Seconds since 1970.
fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs_f64()
}
