//! The previous release beside this one: on the way up, and back. `tests/previous/server` says which one it is.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::path::PathBuf;
use std::process::Command;

use chat_test_postgres::Server as PostgreSql;
use chat_tests::cluster::ready;
use chat_tests::{Crowd, Gateway, Server, Size};
use serde_json::json;

/// The previous release's binary, built where it isn't yet.
fn previous() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/previous/server");
    let built = Command::new(script).output().expect("bash is there");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    PathBuf::from(String::from_utf8_lossy(&built.stdout).trim_end())
}

/// As an operator does it: migrate with the new binary while the old one serves, replace the nodes, and go back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_previous_release_works_on_this_schema_and_this_one_waits_for_it() {
    let previous = previous();
    let database = PostgreSql::shared().database(None).await;
    let old = || Server::builder().program(previous.clone());
    let builder = old().on(&database);
    let migrated = builder.run(&["migrate"]);
    assert!(migrated.status.success(), "{}", migrated.log);
    let mut before = builder.start().await;
    let gateway = Gateway::to(&before).await;
    let mut crowd = Crowd::gather(gateway.url(), Size::pairs(4)).await;
    crowd.acknowledges(200).await;

    // The new one doesn't serve yet, and says what is missing.
    let key = before.signing_key();
    let with_key = |builder: chat_tests::ServerBuilder| {
        builder
            .set("CHAT_DATABASE_URL", database.url())
            .set("CHAT_SIGNING_KEY", key.to_string_lossy())
    };
    let after = with_key(Server::builder()).start().await;
    let answer = after.anyone().get("/readyz").await.with(503);
    let detail = answer["detail"].as_str().unwrap();
    assert!(detail.contains("chat-server migrate"), "{detail}");
    crowd.acknowledges(200).await;

    // The job runs beside the old one, twice at once.
    let job = || Server::builder().set("CHAT_DATABASE_URL", database.url());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let migrated = job().run(&["migrate"]);
                assert!(migrated.status.success(), "{}", migrated.log);
            });
        }
    });
    crowd.acknowledges(200).await;
    ready(&before).await;
    ready(&after).await;

    // Both at once, then the new one alone.
    gateway.lead_to(&after);
    crowd.acknowledges(200).await;
    before.kill().await;
    crowd.acknowledges(200).await;

    // And back: the old one starts on the newer schema, and its own job leaves it alone.
    let migrated = old().set("CHAT_DATABASE_URL", database.url());
    let migrated = migrated.run(&["migrate"]);
    assert!(migrated.status.success(), "{}", migrated.log);
    before.restart().await;
    ready(&before).await;
    gateway.lead_to(&before);
    drop(after);
    crowd.acknowledges(200).await;
    everything_else(&before).await;
    let (_, problems) = crowd.finish().await;
    assert_eq!(problems, [""; 0]);
}

/// What the crowd doesn't do: edits, deletions, roles, renaming, leaving, and the end of sessions.
async fn everything_else(server: &Server) {
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let room = ann.room_with("tea", &[&bob]).await;
    let said = ann.say(room, "hello").await;
    let message = format!("/v1/rooms/{room}/messages/{}", said["id"]);
    let edited = ann
        .api
        .patch(&message, &json!({"content": "hello, bob"}))
        .await;
    assert_eq!(edited.with(200)["content"], "hello, bob");
    ann.api.delete(&message).await.with(204);
    let member = format!("/v1/rooms/{room}/members/{}", bob.id);
    ann.api
        .patch(&member, &json!({"role": "admin"}))
        .await
        .with(200);
    let room_path = format!("/v1/rooms/{room}");
    bob.api
        .patch(&room_path, &json!({"name": "cake"}))
        .await
        .with(200);
    bob.api.delete(&member).await.with(204);
    let changes = ann.changes(room, 0).await;
    assert_eq!(changes["complete"], true, "{changes}");
    bob.api.post_empty("/v1/auth/logout").await.with(204);
    assert_eq!(bob.api.get("/v1/rooms").await.status, 401);
}
