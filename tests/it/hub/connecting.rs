//! Negotiation, the upgrade, the handshake, and who is let in.

use chat_tests::{Answer, Api, Hub, Person, Server};
use reqwest::Method;
use serde_json::json;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::http::HeaderValue;

pub(super) async fn send(request: reqwest::RequestBuilder) -> Answer {
    Api::send(request).await.unwrap()
}

pub(super) async fn negotiate(person: &Person, query: &str) -> Answer {
    send(
        person
            .api
            .request(Method::POST, &format!("/v1/hub/negotiate{query}")),
    )
    .await
}

/// Makes sure that an answer is one of the hub's refusals: plain text of one line.
#[track_caller]
pub(super) fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert!(
        answer.header("content-type").starts_with("text/plain"),
        "{:?}",
        answer.headers
    );
    assert!(
        answer.text.starts_with(&format!("{code}: ")),
        "{}",
        answer.text
    );
    assert!(!answer.text.contains('\n'), "{}", answer.text);
}

/// The status and text of an upgrade that is refused.
#[track_caller]
pub(super) fn refusal(upgrade: Result<Hub, tungstenite::Error>) -> (u16, String) {
    match upgrade {
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            (response.status().as_u16(), String::from_utf8(body).unwrap())
        }
        other => panic!("no refusal: {other:?}"),
    }
}

#[tokio::test]
async fn negotiation_answers_each_version_as_aspnet_does() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let transports = json!([
        {"transport": "WebSockets", "transferFormats": ["Text", "Binary"]},
        {"transport": "ServerSentEvents", "transferFormats": ["Text"]},
        {"transport": "LongPolling", "transferFormats": ["Text", "Binary"]},
    ]);

    for query in [
        "?negotiateVersion=1",
        "?negotiateVersion=7",
        "?negotiateVersion=1&id=stale&_=1",
    ] {
        let answer = negotiate(&ann, query).await;
        assert_eq!(answer.header("content-type"), "application/json");
        let offer = answer.with(200);
        assert_eq!(
            offer["connectionId"].as_str().map(str::len),
            Some(22),
            "{offer}"
        );
        assert_ne!(offer["connectionId"], offer["connectionToken"]);
        assert_eq!(offer["negotiateVersion"], 1);
        assert!(offer["connectionToken"].is_string());
        assert!(
            offer.get("useStatefulReconnect").is_none(),
            "nobody asked for it: {offer}"
        );
    }
    for query in ["", "?negotiateVersion=0"] {
        let offer = negotiate(&ann, query).await.with(200);
        assert_eq!(offer["negotiateVersion"], 0);
        assert!(offer.get("connectionToken").is_none(), "{offer}");
    }
    let offer = negotiate(&ann, "?negotiateVersion=1").await.with(200);
    assert_eq!(offer["availableTransports"], transports);
    for (version, error) in [
        (
            "one",
            "The client requested a non-integer protocol version.",
        ),
        ("", "The client requested a non-integer protocol version."),
        (
            "-1",
            "The client requested version '-1', but the server does not support this version.",
        ),
    ] {
        let answer = negotiate(&ann, &format!("?negotiateVersion={version}")).await;
        assert_eq!(answer.with(200), json!({"error": error}));
    }
    let get = ann.api.get("/v1/hub/negotiate").await;
    refused(&get, 405, "method_not_allowed");
    assert_eq!(get.header("allow"), "POST");
    refused(&negotiate_as_nobody(&server).await, 401, "unauthenticated");
}

async fn negotiate_as_nobody(server: &Server) -> Answer {
    send(server.anyone().request(Method::POST, "/v1/hub/negotiate")).await
}

#[tokio::test]
async fn a_token_in_the_query_is_as_good_as_in_the_header() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let token = ann.api.token().unwrap();
    let request = server.anyone().request(
        Method::POST,
        &format!("/v1/hub/negotiate?negotiateVersion=1&access_token={token}"),
    );
    let offer = send(request).await.with(200);
    let id = offer["connectionToken"].as_str().unwrap();
    let mut request = Hub::request(&ann, &format!("?id={id}&access_token={token}"));
    request.headers_mut().remove("authorization");
    let mut hub = Hub::upgrade(request).await.unwrap();
    hub.shake("{\"protocol\":\"json\",\"version\":1}\x1e")
        .await
        .unwrap();
    assert_eq!(hub.event("Connected").await["userId"], ann.id);
    assert!(!server.log().contains(token), "a query is never logged");
    // On the rest it isn't taken: such addresses end up in logs and histories.
    let rest = server
        .anyone()
        .get(&format!("/v1/users/me?access_token={token}"))
        .await;
    rest.refused(401, "unauthenticated");
}

#[tokio::test]
async fn a_websocket_needs_no_negotiation() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    for query in ["", "?id=", "?connectionId=whatever"] {
        let mut hub = Hub::open(&ann, query).await.unwrap();
        hub.shake("{\"protocol\":\"json\",\"version\":1}\x1e")
            .await
            .unwrap();
        assert_eq!(hub.event("Connected").await["userId"], ann.id);
    }
}

#[tokio::test]
async fn an_id_opens_one_connection_of_its_own_user_once() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("ann").await, server.person("bob").await);
    let offer = negotiate(&ann, "?negotiateVersion=1").await.with(200);
    let query = format!("?id={}", offer["connectionToken"].as_str().unwrap());

    let (status, text) = refusal(Hub::open(&bob, &query).await);
    assert_eq!(status, 404, "{text}");
    assert!(text.starts_with("not_found: "), "{text}");
    assert_eq!(
        refusal(Hub::open(&ann.again().await, &query).await).0,
        404,
        "another session"
    );
    let public = format!("?id={}", offer["connectionId"].as_str().unwrap());
    assert_eq!(
        refusal(Hub::open(&ann, &public).await).0,
        404,
        "the public id opens nothing"
    );

    let mut hub = Hub::open(&ann, &query).await.unwrap();
    hub.shake("{\"protocol\":\"json\",\"version\":1}\x1e")
        .await
        .unwrap();
    hub.event("Connected").await;
    let (status, text) = refusal(Hub::open(&ann, &query).await);
    assert_eq!(status, 409, "{text}");
    assert_eq!(
        refusal(Hub::open(&bob, &query).await).0,
        404,
        "still nobody else's"
    );
    hub.is_quiet().await;

    // A closed one is gone.
    hub.send_record(&json!({"type": 7})).await.unwrap();
    hub.closes(None, json!({"type": 7})).await;
    drop(hub);
    loop {
        match refusal(Hub::open(&ann, &query).await).0 {
            404 => break,
            409 => tokio::task::yield_now().await,
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn an_upgrade_that_is_none_is_refused_in_plain_text() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let mut request = Hub::request(&ann, "");
    request
        .headers_mut()
        .insert("sec-websocket-version", HeaderValue::from_static("8"));
    assert_eq!(refusal(Hub::upgrade(request).await).0, 400);
    let mut request = Hub::request(&ann, "");
    request.headers_mut().remove("authorization");
    let (status, text) = refusal(Hub::upgrade(request).await);
    assert_eq!(status, 401, "{text}");
    assert!(text.starts_with("unauthenticated: "), "{text}");
}

#[tokio::test]
async fn a_page_of_a_foreign_origin_gets_nowhere() {
    let listed = "https://chat.example.com";
    let server = Server::builder()
        .set("CHAT_CORS_ORIGINS", listed)
        .start()
        .await;
    let ann = server.person("ann").await;
    let own = server.url().to_owned();
    for (origin, allowed) in [
        (listed, true),
        (&own, true),
        ("https://evil.example", false),
        ("null", false),
    ] {
        let request = ann
            .api
            .request(Method::POST, "/v1/hub/negotiate")
            .header("origin", origin);
        let answer = send(request).await;
        let headers = [
            "access-control-allow-origin",
            "access-control-allow-credentials",
            "vary",
        ];
        if allowed {
            assert_eq!(answer.status, 200, "{origin}");
            assert_eq!(
                headers.map(|h| answer.header(h)),
                [origin, "true", "Origin"]
            );
        } else {
            refused(&answer, 403, "forbidden");
            assert_eq!(headers.map(|h| answer.header(h)), ["", "", "Origin"]);
        }

        let preflight = server
            .anyone()
            .request(Method::OPTIONS, "/v1/hub/negotiate")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,x-requested-with,x-signalr-user-agent",
            );
        let answer = send(preflight).await;
        assert_eq!(answer.status, 204, "without a token: {}", answer.text);
        let headers = [
            "access-control-allow-origin",
            "access-control-allow-credentials",
            "access-control-allow-methods",
            "access-control-allow-headers",
        ];
        let expected = if allowed {
            let names = "authorization, content-type, x-requested-with, x-signalr-user-agent";
            [origin, "true", "GET, POST, DELETE", names]
        } else {
            [""; 4]
        };
        assert_eq!(headers.map(|h| answer.header(h)), expected, "{origin}");

        let mut request = Hub::request(&ann, "");
        request
            .headers_mut()
            .insert("origin", HeaderValue::from_str(origin).unwrap());
        match Hub::upgrade(request).await {
            Ok(_) => assert!(allowed, "{origin} was let in"),
            refused => {
                assert_eq!(refusal(refused).0, 403);
                assert!(!allowed, "{origin} was kept out");
            }
        }
    }
    // Refusals to an allowed page can be read by it.
    let request = server
        .anyone()
        .request(Method::POST, "/v1/hub/negotiate")
        .header("origin", listed);
    let answer = send(request).await;
    refused(&answer, 401, "unauthenticated");
    assert_eq!(answer.header("access-control-allow-origin"), listed);
}

#[tokio::test]
async fn a_failed_handshake_is_answered_in_aspnets_words() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let unexpected = "An unexpected error occurred during connection handshake.";
    let long = "x".repeat(64 * 1024 + 1);
    for (handshake, error) in [
        (
            "{\"protocol\":\"morse\",\"version\":1}\x1e",
            "The protocol 'morse' is not supported.",
        ),
        (
            "{\"protocol\":\"json\",\"version\":99}\x1e",
            "The server does not support version 99 of the 'json' protocol.",
        ),
        ("hello\x1e", unexpected),
        ("[]\x1e", unexpected),
        ("{}\x1e", unexpected),
        ("{\"protocol\":\"json\"}\x1e", unexpected),
        ("{\"protocol\":1,\"version\":1}\x1e", unexpected),
        ("{\"protocol\":\"json\",\"version\":\"1\"}\x1e", unexpected),
        ("{\"type\":6}\x1e", unexpected),
        (&long, "Handshake was canceled."),
    ] {
        let mut hub = Hub::open(&ann, "").await.unwrap();
        hub.send_text(handshake).await.unwrap();
        assert_eq!(hub.next().await, Some(json!({"error": error})));
        assert_eq!(hub.next().await, None, "and no Close record");
    }
}

#[tokio::test]
async fn a_handshake_is_taken_in_any_case_and_form() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    for handshake in [
        "{\"version\": 1, \"protocol\": \"JSON\", \"more\": [1]}\x1e",
        "{\"protocol\":\"json\",\"version\":0}\x1e",
        "{\"protocol\":\"json\",\"version\":2}\x1e",
    ] {
        let mut hub = Hub::open(&ann, "").await.unwrap();
        hub.shake(handshake).await.unwrap();
        hub.event("Connected").await;
        hub.is_quiet().await;
    }
}

#[tokio::test]
async fn no_handshake_for_fifteen_seconds_ends_the_connection() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let mut hub = Hub::open(&ann, "").await.unwrap();
    hub.send_text("{\"protocol\":\"json\"").await.unwrap();
    assert_eq!(
        hub.next().await,
        Some(json!({"error": "Handshake was canceled."}))
    );
    assert_eq!(hub.next().await, None);
}
