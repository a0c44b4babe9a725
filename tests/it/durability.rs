//! A commit is on disk before it is answered: seen from outside, by the system calls of the server's process.

use std::time::Duration;

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
    // One after the other, so that no two share a commit.
    for n in 0..MESSAGES {
        ann.say(room, &format!("message {n}")).await;
    }
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
    let synced = |call: &&str| call.contains("sync(") && call.contains("chat.db-wal");
    let syncs = calls.lines().filter(synced).count();
    assert!(syncs >= MESSAGES, "{syncs} syncs:\n{calls}");
}
