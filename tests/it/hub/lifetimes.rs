//! How long connections live without a socket, and that nothing is left of them: against a server with shorter times, whose
//! tasks are counted.

use std::time::{Duration, Instant};

use chat_client::Encoding;
use chat_server::hub::HubOptions;
use chat_tests::{Hub, Local, Over, Person, WITHIN, text_of};
use reqwest::Method;
use serde_json::json;

use super::connecting::refused;
use super::requests::{connect, id, request};

/// How long the server waits for who doesn't come: long enough for everyone who does.
const DISCONNECT: Duration = Duration::from_secs(4);

fn short() -> HubOptions {
    HubOptions {
        handshake: DISCONNECT,
        disconnect: DISCONNECT,
        poll: Duration::from_secs(1),
        ..HubOptions::default()
    }
}

/// Asks by this method until the id is gone.
async fn until_gone(person: &Person, method: Method, id: &str) {
    let began = Instant::now();
    let query = format!("?id={id}");
    while request(person, method.clone(), &query, "").await.status != 404 {
        assert!(began.elapsed() < WITHIN, "it is still there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn until(is_so: impl Fn() -> bool, what: &str) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < WITHIN, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How many tasks a server has once it runs and has nothing to do: it listens before all of them are begun.
async fn settled(server: &Local) -> usize {
    drop(server.person("first").await);
    let (mut tasks, mut since) = (server.tasks(), Instant::now());
    while since.elapsed() < Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if server.tasks() != tasks {
            (tasks, since) = (server.tasks(), Instant::now());
        }
    }
    tasks
}

#[tokio::test]
async fn a_poll_without_news_is_answered_empty_and_the_connection_goes_on() {
    let server = Local::start(short()).await;
    let ann = server.person("ann").await;
    let (mut hub, id) = connect(&ann, Over::LongPolling).await;
    // Longer than several polls, and than a client without a poll is waited for.
    let began = Instant::now();
    while began.elapsed() < DISCONNECT + Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(server.connections(), 1);
    }
    hub.is_quiet().await;
    drop(hub);
    let query = format!("?id={id}");
    let began = Instant::now();
    let poll = loop {
        let poll = request(&ann, Method::GET, &query, "").await;
        // The hub's own last poll may have come later, or been given up just now.
        if poll.status == 200 && poll.header("content-type") == "text/plain" {
            break poll;
        }
        assert!(began.elapsed() < WITHIN, "{poll:?}");
    };
    assert_eq!((poll.header("content-length"), &*poll.text), ("0", ""));
}

#[tokio::test]
async fn a_negotiated_id_that_nobody_claims_is_gone_after_a_while() {
    let server = Local::start(short()).await;
    let ann = server.person("ann").await;
    let (untouched, posted) = (id(&ann).await, id(&ann).await);
    let query = format!("?id={posted}");
    assert_eq!(request(&ann, Method::POST, &query, "x").await.status, 200);
    // More than is kept is held back, and then refused.
    let long = "x".repeat(100_000);
    let held = request(&ann, Method::POST, &query, &long).await;
    refused(&held, 404, "not_found");
    until_gone(&ann, Method::POST, &posted).await;
    for id in [untouched, posted] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let late = request(&ann, method, &format!("?id={id}"), "").await;
            refused(&late, 404, "not_found");
        }
    }
}

#[tokio::test]
async fn a_client_that_polls_no_more_is_gone_after_a_while() {
    let server = Local::start(short()).await;
    let ann = server.person("ann").await;
    let (hub, id) = connect(&ann, Over::LongPolling).await;
    assert_eq!(server.connections(), 1);
    drop(hub);
    until_gone(&ann, Method::POST, &id).await;
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn no_handshake_in_time_is_told_over_every_transport() {
    let server = Local::start(HubOptions {
        handshake: Duration::from_secs(1),
        ..HubOptions::default()
    })
    .await;
    let ann = server.person("ann").await;
    for over in [Over::WebSockets, Over::ServerSentEvents, Over::LongPolling] {
        let id = id(&ann).await;
        let mut hub = Hub::open_over(&ann, over, &id).await.unwrap();
        let error = json!({"error": "Handshake was canceled."});
        assert_eq!(hub.next().await, Some(error), "{over:?}");
        assert_eq!(hub.next().await, None, "{over:?}");
    }
}

#[tokio::test]
async fn a_renewed_connection_takes_the_token_it_began_with_although_that_has_run_out() {
    let server = Local::start(HubOptions::default()).await;
    for over in [Over::ServerSentEvents, Over::LongPolling] {
        let ann = server.person(&format!("ann-{over:?}")).await;
        let (mut hub, id) = connect(&ann, over).await;
        let query = format!("?id={id}");
        server.later(880);
        let again = ann.again().await;
        let token = json!({"accessToken": again.api.token()});
        hub.invoke("Authenticate", token).await.unwrap();
        server.later(60);
        // Nobody else may use it, nor it anything else.
        ann.api
            .get("/v1/users/me")
            .await
            .refused(401, "token_expired");
        hub.is_quiet().await;
        let fresh = self::id(&again).await;
        for other in [format!("?id={fresh}"), "?id=unknown".to_owned()] {
            let posted = request(&ann, Method::POST, &other, "").await;
            refused(&posted, 401, "token_expired");
        }
        // Once its session is over it is worth nothing here either.
        let sessions = again.api.get("/v1/auth/sessions").await.with(200);
        for session in sessions["items"].as_array().unwrap() {
            if session["current"] == false {
                let path = format!("/v1/auth/sessions/{}", session["id"]);
                again.api.delete(&path).await.with(204);
            }
        }
        let posted = request(&ann, Method::POST, &query, "").await;
        refused(&posted, 401, "token_expired");
        let posted = request(&again, Method::POST, &query, "").await;
        assert_eq!(posted.status, 200);
    }
}

#[tokio::test]
async fn nothing_is_left_of_connections_however_they_end() {
    let server = Local::start(short()).await;
    let before = settled(&server).await;
    {
        let ann = server.person("ann").await;
        let close = json!({"type": 7});
        for over in [Over::WebSockets, Over::ServerSentEvents, Over::LongPolling] {
            // By the client's Close, without a word, and in the handshake.
            let mut closed = Hub::connect_over(&ann, over, Encoding::Json).await;
            closed.send_record(&close).await.unwrap();
            closed.closes(None, close.clone()).await;
            drop(Hub::connect_over(&ann, over, Encoding::Json).await);
            let mut refused = Hub::open_over(&ann, over, &id(&ann).await).await.unwrap();
            refused.send_text("hello\x1e").await.unwrap();
            assert!(refused.next().await.unwrap()["error"].is_string());
            drop(Hub::open_over(&ann, over, &id(&ann).await).await.unwrap());
            // With a broken protocol, with a call under way, and with output unread.
            let mut broken = Hub::connect_over(&ann, over, Encoding::Json).await;
            broken.send_text("hello\x1e").await.unwrap();
            let mut busy = Hub::connect_over(&ann, over, Encoding::Json).await;
            let pings: String = (0..500)
                .map(|n| text_of(&json!({"type": 1, "invocationId": n.to_string(), "target": "Ping", "arguments": [{}]})))
                .collect();
            busy.send_text(&pings).await.unwrap();
        }
        // Ended by DELETE, and never opened.
        let (_hub, polled) = connect(&ann, Over::LongPolling).await;
        let ended = request(&ann, Method::DELETE, &format!("?id={polled}"), "").await;
        assert_eq!(ended.status, 202);
        let query = format!("?id={}", id(&ann).await);
        assert_eq!(request(&ann, Method::POST, &query, "x").await.status, 200);
        // Resumed, and then lost for good.
        let offer =
            super::connecting::negotiate(&ann, "?negotiateVersion=1&useStatefulReconnect=true");
        let offer = offer.await.with(200);
        let query = format!("?id={}", offer["connectionToken"].as_str().unwrap());
        let mut resumed = Hub::open(&ann, &query).await.unwrap();
        resumed
            .shake("{\"protocol\":\"json\",\"version\":2}\x1e")
            .await
            .unwrap();
        resumed.event("Connected").await;
        drop(Hub::open(&ann, &query).await.unwrap());
    }
    until(|| server.connections() == 0, "connections are left").await;
    until(|| server.tasks() <= before, "tasks are left").await;
}
