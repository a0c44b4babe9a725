//! A role a process: each serves what is its own, and only role auth can sign.

use std::time::Duration;

use chat_test_postgres::Server as PostgreSql;
use chat_tests::cluster::{Bus, consuming_node, node, ready, signing_node};
use chat_tests::{Ingress, Person, Server, WITHIN};
use reqwest::Method;
use serde_json::json;
use tokio::time::{sleep, timeout};

/// One call of each role, and what it answers who doesn't say who they are.
const CALLS: [(&str, Method, &str, u16); 5] = [
    ("auth", Method::GET, "/v1/auth/sessions", 401),
    ("auth", Method::GET, "/v1/users/me", 401),
    ("auth", Method::GET, "/.well-known/jwks.json", 200),
    ("rest", Method::GET, "/v1/rooms", 401),
    ("realtime", Method::POST, "/v1/hub/negotiate", 401),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_serves_its_own_calls_and_no_others() {
    let database = PostgreSql::shared().database(None).await;
    let auth = signing_node(&database, Bus::Postgres).start().await;
    let start = |roles| node(roles, &database, Bus::Postgres, auth.url()).start();
    let (rest, realtime, both, consumer) = tokio::join!(
        start("rest"),
        start("realtime"),
        start("rest,realtime"),
        consuming_node(&database, Bus::Postgres).start()
    );
    for (server, roles) in [
        (&auth, &["auth"][..]),
        (&rest, &["rest"]),
        (&realtime, &["realtime"]),
        (&both, &["rest", "realtime"]),
        (&consumer, &["consumer"]),
    ] {
        ready(server).await;
        let anyone = server.anyone();
        for (role, method, path, status) in CALLS {
            let answer = chat_tests::Api::send(anyone.request(method, path)).await;
            let expected = if roles.contains(&role) { status } else { 404 };
            assert_eq!(answer.unwrap().status, expected, "{roles:?}: {path}");
        }
        for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
            assert_eq!(anyone.get(path).await.status, 200, "{roles:?}: {path}");
        }
        // Its description tells the same.
        let described = anyone.get("/openapi.json").await.json();
        for (role, _, path, _) in CALLS.iter().take(4) {
            let is_there = described["paths"].get(path).is_some();
            assert_eq!(is_there, roles.contains(role), "{roles:?}: {path}");
        }
    }
}

/// Nobody makes a key of their own: tokens of one would be refused by the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_sign_must_be_told_whom_to_trust() {
    let database = PostgreSql::shared().database(None).await;
    let untold = Server::builder()
        .set("CHAT_ROLES", "rest")
        .set("CHAT_DATABASE_URL", database.url());
    let folder = untold.folder().to_owned();
    let ended = untold.fail().await;
    assert!(ended.log.contains("CHAT_VERIFY_KEYS"), "{}", ended.log);
    assert!(!folder.join("chat-signing-key.pem").exists());
}

/// Whoever starts first waits for the one that has the keys, and refuses nobody for good meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_is_unready_until_the_keys_can_be_had() {
    let database = PostgreSql::shared().database(None).await;
    let ingress = Ingress::open().await;
    let auth = signing_node(&database, Bus::Postgres).start().await;
    let rest = node("rest", &database, Bus::Postgres, ingress.url())
        .start()
        .await;
    let anyone = rest.anyone();
    assert_eq!(anyone.get("/healthz").await.status, 200);
    anyone.get("/readyz").await.refused(503, "unavailable");
    ready(&auth).await;
    let ann = Person::register(auth.url(), "ann").await.at(rest.url());
    // Not 401, which would have a client log in again.
    ann.api.get("/v1/rooms").await.refused(503, "unavailable");

    ingress.lead_auth_to(&[&auth]);
    ready(&rest).await;
    let room = ann.room_with("tea", &[]).await;
    assert!(room > 0);
    assert!(!rest.log().contains("panicked"), "{}", rest.log());
}

/// What follows from a deleted account in its rooms is done by others: role auth changes no rooms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_account_leaves_its_rooms_by_another_role() {
    let database = PostgreSql::shared().database(None).await;
    let auth = signing_node(&database, Bus::Postgres).start().await;
    let rest = node("rest", &database, Bus::Postgres, auth.url())
        .start()
        .await;
    ready(&auth).await;
    ready(&rest).await;
    let ann = Person::register(auth.url(), "ann").await;
    let bob = Person::register(auth.url(), "bob").await;
    let (at_rest, bob_there) = (ann.at(rest.url()), bob.at(rest.url()));
    let room = at_rest.room_with("tea", &[&bob_there]).await;
    let goodbye = json!({"password": chat_tests::PASSWORD});
    let deleted = bob
        .api
        .request(Method::DELETE, "/v1/users/me")
        .json(&goodbye);
    let deleted = chat_tests::Api::send(deleted).await.unwrap();
    assert_eq!(deleted.status, 204, "{}", deleted.text);

    let path = format!("/v1/rooms/{room}/members");
    timeout(3 * WITHIN, async {
        while at_rest.api.get(&path).await.with(200)["items"]
            .as_array()
            .is_none_or(|members| members.len() > 1)
        {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("bob leaves the room");
}
