//! kill -9 under load: what was acknowledged is there, once, in one order, and clients of the SDK carry on by themselves.

use std::time::{Duration, Instant};

use chat_tests::{Crowd, Gateway, Server, Size};
use rand::RngExt as _;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::sleep;

const KILLS: usize = 20;
const ROOMS: usize = 4;
/// What all together must send in a second.
const LEAST_A_SECOND: f64 = 200.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_under_load_lose_nothing_double_nothing_and_leave_no_hole() {
    let mut server = Server::start().await;
    let gateway = Gateway::to(&server).await;
    let mut crowd = Crowd::gather(gateway.url(), Size::pairs(ROOMS)).await;
    let began = Instant::now();
    for _ in 0..KILLS {
        let moment = rand::rng().random_range(200..1_800);
        sleep(Duration::from_millis(moment)).await;
        server.kill().await;
        server.restart().await;
        gateway.lead_to(&server);
    }
    let took = began.elapsed();
    let (sent, problems) = crowd.finish().await;
    assert_eq!(problems, [""; 0]);
    let rate = sent as f64 / took.as_secs_f64();
    assert!(rate >= LEAST_A_SECOND, "only {rate:.0} messages a second");
}

/// A reply that comes before its commit is one whose commit may never come: here the server finds its database as it was
/// before the replies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_check_finds_replies_that_came_before_their_commit() {
    let mut server = Server::start().await;
    let gateway = Gateway::to(&server).await;
    let mut crowd = Crowd::gather(gateway.url(), Size::pairs(1)).await;
    let committed = server.database().with_extension("committed");
    copy(&server, &committed).await;
    crowd.acknowledges(50).await;
    server.kill().await;
    std::fs::rename(&committed, server.database()).unwrap();
    for log in ["db-wal", "db-shm"] {
        std::fs::remove_file(server.database().with_extension(log)).unwrap();
    }
    server.restart().await;
    gateway.lead_to(&server);
    let (_, problems) = crowd.finish().await;
    let lost = |problem: &String| problem.contains("was acknowledged and isn't there");
    assert!(problems.iter().any(lost), "{problems:?}");
}

/// Writes the database as it is committed now to another file.
async fn copy(server: &Server, to: &std::path::Path) {
    let mut database = SqliteConnectOptions::new()
        .filename(server.database())
        .connect()
        .await
        .unwrap();
    let to = to.to_str().unwrap();
    let copied = sqlx::query("VACUUM INTO $1").bind(to);
    copied.execute(&mut database).await.unwrap();
    database.close().await.unwrap();
}
