//! The transports beside WebSockets, and which is taken, as HTTP requests.

use std::time::Duration;

use chat_client::protocol::ErrorCode;
use chat_client::{Client, ClientEvent, Connection, Encoding, Error, TransportKind};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use wiremock::matchers::{header, headers, method, path, query_param};
use wiremock::{Mock, MockBuilder, MockServer, Request, ResponseTemplate};

use crate::mock::{Server, get, ok, post};

const HUB: &str = "/v1/hub";
const NEGOTIATE: &str = "/v1/hub/negotiate";
const HANDSHAKE: &str = "{\"protocol\":\"json\",\"version\":1}\u{1e}";

/// All transports, as the n-th connection.
fn offer(n: u32) -> Value {
    json!({"negotiateVersion": 1, "connectionId": "public", "connectionToken": format!("secret-{n}"),
        "availableTransports": [
            {"transport": "WebSockets", "transferFormats": ["Text", "Binary"]},
            {"transport": "ServerSentEvents", "transferFormats": ["Text"]},
            {"transport": "LongPolling", "transferFormats": ["Text", "Binary"]}]})
}

/// The handshake's answer and the first event.
fn greeting() -> String {
    let connected = json!({"userId": 1, "connectionId": "public",
        "serverTime": "2026-01-31T12:00:00.000Z", "rooms": []});
    let event = json!({"type": 1, "target": "Connected", "arguments": [connected]});
    format!("{{}}\u{1e}{event}\u{1e}")
}

/// Negotiations are offered connections 1, 2, 3.
async fn mount_negotiation(http: &MockServer) {
    for n in 1..=3 {
        post(NEGOTIATE)
            .respond_with(ok(&offer(n)))
            .up_to_n_times(1)
            .mount(http)
            .await;
    }
}

fn upgrade() -> MockBuilder {
    get(HUB).and(header("upgrade", "websocket"))
}

fn stream() -> MockBuilder {
    get(HUB).and(header("accept", "text/event-stream"))
}

/// A poll of this connection.
fn poll(id: &str) -> MockBuilder {
    get(HUB).and(query_param("id", id))
}

/// Refuses upgrades and streams as a proxy does that knows neither.
async fn mount_old_proxy(http: &MockServer) {
    for request in [upgrade(), stream()] {
        request
            .respond_with(ResponseTemplate::new(502))
            .mount(http)
            .await;
    }
}

/// Takes what this connection says.
async fn mount_posts(http: &MockServer, id: &str) {
    post(HUB)
        .and(query_param("id", id))
        .respond_with(ResponseTemplate::new(200))
        .mount(http)
        .await;
}

/// A connection by polling: at first nothing, then the greeting, then nothing for a long time.
async fn mount_polls(http: &MockServer, id: &str) {
    let answers = [
        ResponseTemplate::new(200),
        ResponseTemplate::new(200).set_body_raw(greeting(), "application/octet-stream"),
    ];
    for answer in answers {
        poll(id)
            .respond_with(answer)
            .up_to_n_times(1)
            .mount(http)
            .await;
    }
    let held = ResponseTemplate::new(200).set_delay(Duration::from_secs(60));
    poll(id).respond_with(held).mount(http).await;
    mount_posts(http, id).await;
    Mock::given(method("DELETE"))
        .and(path(HUB))
        .and(query_param("id", id))
        .respond_with(ResponseTemplate::new(202))
        .expect(1)
        .mount(http)
        .await;
}

async fn greeted(connection: &mut Connection) {
    assert!(matches!(
        connection.next().await,
        Some(ClientEvent::Connected(_))
    ));
}

/// A request in one word and its `id`.
fn shown(request: &Request) -> String {
    let id = request.url.query_pairs().find(|(key, _)| key == "id");
    let id = id.map_or(String::new(), |(_, id)| format!(" {id}"));
    let what = match (request.method.as_str(), request.url.path()) {
        (_, NEGOTIATE) => "negotiate",
        ("GET", _) if request.headers.contains_key("upgrade") => "upgrade",
        ("GET", _) if request.headers["accept"] == "text/event-stream" => "stream",
        ("GET", _) => "poll",
        (other, _) => other,
    };
    format!("{what}{id}")
}

#[tokio::test]
async fn where_nothing_else_passes_the_client_polls() {
    let server = Server::start().await;
    mount_negotiation(&server.http).await;
    mount_old_proxy(&server.http).await;
    mount_polls(&server.http, "secret-3").await;
    let client = server.builder().access_token("ours").build().unwrap();
    let mut connection = client.connect().await.unwrap();
    greeted(&mut connection).await;
    connection.close().await;

    let requests = server.http.received_requests().await.unwrap();
    assert!(
        (requests.iter()).all(|request| request.headers["authorization"] == "Bearer ours"),
        "each under the token"
    );
    let mut shown: Vec<_> = requests.iter().map(shown).collect();
    // Whether a third poll was under way depends on who is faster.
    let polls = shown.iter().filter(|r| *r == "poll secret-3").count();
    assert!((2..=3).contains(&polls), "{shown:?}");
    shown.retain(|r| r != "poll secret-3");
    assert_eq!(
        shown,
        [
            "negotiate",
            "upgrade secret-1",
            "negotiate",
            "stream secret-2",
            "negotiate",
            "POST secret-3",
            "POST secret-3",
            "DELETE secret-3",
        ],
        "each try is negotiated"
    );
    let posts: Vec<_> = requests.iter().filter(|r| r.method == "POST").collect();
    let [.., handshake, close] = &posts[..] else {
        panic!("{posts:?}");
    };
    // No Ping: neither end sends any while it polls.
    assert_eq!(handshake.body, HANDSHAKE.as_bytes());
    assert_eq!(
        handshake.headers["content-type"],
        "text/plain;charset=UTF-8"
    );
    assert_eq!(close.body, b"{\"type\":7}\x1e");
}

#[tokio::test]
async fn where_a_proxy_lets_no_websocket_through_events_are_streamed() {
    let server = Server::start().await;
    mount_negotiation(&server.http).await;
    upgrade()
        .respond_with(ResponseTemplate::new(400))
        .mount(&server.http)
        .await;
    let events = format!(":\r\n\r\ndata: {}\r\n\r\n", greeting());
    stream()
        .and(query_param("id", "secret-2"))
        .and(headers("authorization", vec!["Bearer ours"]))
        .respond_with(ResponseTemplate::new(200).set_body_raw(events, "text/event-stream"))
        .expect(1)
        .mount(&server.http)
        .await;
    // The mock says all that it has without waiting for the handshake.
    mount_posts(&server.http, "secret-2").await;
    let client = server.builder().access_token("ours").build().unwrap();
    let mut connection = client.connect().await.unwrap();
    greeted(&mut connection).await;
}

#[tokio::test]
async fn only_the_transports_allowed_are_tried() {
    let server = Server::start().await;
    mount_negotiation(&server.http).await;
    mount_polls(&server.http, "secret-1").await;
    let client = server
        .builder()
        .access_token("ours")
        .transports([TransportKind::LongPolling])
        .build()
        .unwrap();
    let mut connection = client.connect().await.unwrap();
    greeted(&mut connection).await;
    connection.close().await;
    let requests = server.http.received_requests().await.unwrap();
    assert!(requests.iter().map(shown).all(|r| r != "upgrade secret-1"));
    assert_eq!(
        requests
            .iter()
            .map(shown)
            .filter(|r| r == "negotiate")
            .count(),
        1
    );
}

#[tokio::test]
async fn messagepack_is_not_streamed() {
    let server = Server::start().await;
    mount_negotiation(&server.http).await;
    mount_old_proxy(&server.http).await;
    // The poll refuses too, so that the client has tried all that it can.
    let gone = ResponseTemplate::new(404).set_body_raw("not_found: no such id", "text/plain");
    poll("secret-2")
        .respond_with(gone)
        .mount(&server.http)
        .await;
    let client = server
        .builder()
        .access_token("ours")
        .encoding(Encoding::MessagePack)
        .build()
        .unwrap();
    let error = client.connect().await.unwrap_err();
    let Error::Refused(refusal) = error else {
        panic!("{error:?}");
    };
    assert_eq!(refusal.status, 502, "what the best transport said");
    let requests = server.http.received_requests().await.unwrap();
    let shown: Vec<_> = requests.iter().map(shown).collect();
    assert_eq!(
        shown,
        [
            "negotiate",
            "upgrade secret-1",
            "negotiate",
            "poll secret-2"
        ]
    );
}

#[tokio::test]
async fn a_hub_that_says_no_is_not_asked_again_in_another_way() {
    let server = Server::start().await;
    mount_negotiation(&server.http).await;
    let refusal = "forbidden: this web origin may not connect";
    upgrade()
        .respond_with(ResponseTemplate::new(403).set_body_raw(refusal, "text/plain"))
        .expect(1)
        .mount(&server.http)
        .await;
    let client = server.builder().access_token("ours").build().unwrap();
    let error = client.connect().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Forbidden));
    assert_eq!(server.requests(NEGOTIATE).await.len(), 1);
}

#[tokio::test]
async fn a_transport_that_opens_and_carries_nothing_is_followed_by_the_next() {
    let server = Server::start().await;
    mount_negotiation(&server.http).await;
    upgrade()
        .respond_with(ResponseTemplate::new(502))
        .expect(1)
        .mount(&server.http)
        .await;
    // A proxy that ends the stream when it has waited for its end long enough: what is opened says nothing.
    stream()
        .respond_with(ResponseTemplate::new(200).set_body_raw(":\r\n\r\n", "text/event-stream"))
        .expect(1)
        .mount(&server.http)
        .await;
    mount_posts(&server.http, "secret-2").await;
    mount_polls(&server.http, "secret-3").await;
    let client = server.builder().access_token("ours").build().unwrap();
    let mut connection = client.connect().await.unwrap();
    greeted(&mut connection).await;
    connection.close().await;
}

#[tokio::test]
async fn a_poll_that_ends_the_connection_has_it_made_again() {
    let server = Server::start().await;
    mount_negotiation(&server.http).await;
    for answer in [
        ResponseTemplate::new(200),
        ResponseTemplate::new(200).set_body_raw(greeting(), "application/octet-stream"),
        ResponseTemplate::new(204),
    ] {
        poll("secret-1")
            .respond_with(answer)
            .up_to_n_times(1)
            .mount(&server.http)
            .await;
    }
    mount_posts(&server.http, "secret-1").await;
    mount_polls(&server.http, "secret-2").await;
    let client: Client = server
        .builder()
        .access_token("ours")
        .transports([TransportKind::LongPolling])
        .build()
        .unwrap();
    let mut connection = client.connect().await.unwrap();
    greeted(&mut connection).await;
    greeted(&mut connection).await;
    connection.close().await;
}
