//! The way to a hub over HTTP: negotiation, directions elsewhere, the upgrade, and refusals.

use chat_client::protocol::ErrorCode;
use chat_client::{Client, ClientEvent, Error};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use wiremock::ResponseTemplate;
use wiremock::matchers::{header, query_param};

use crate::mock::{Server, ok, post};

const NEGOTIATE: &str = "/v1/hub/negotiate";

fn offer() -> Value {
    json!({"negotiateVersion": 1, "connectionId": "public", "connectionToken": "secret",
        "availableTransports": [{"transport": "WebSockets", "transferFormats": ["Text", "Binary"]},
            {"transport": "Pigeons", "transferFormats": ["Text"]}], "more": 1})
}

/// A server of WebSockets alone, and where it listens.
async fn hub() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// Answers one plain request with this JSON, and returns the request's head.
async fn answer(stream: &mut TcpStream, body: &Value) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let body = body.to_string();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8(head).unwrap()
}

/// Takes one WebSocket, checks its path and token, and greets it.
async fn serve(stream: TcpStream, path: &str, token: &str) {
    let (path, token) = (path.to_owned(), format!("Bearer {token}"));
    #[allow(clippy::result_large_err)]
    let check = move |request: &Request, response: Response| {
        assert_eq!(request.uri().to_string(), path);
        assert_eq!(request.headers()["authorization"], token);
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, check)
        .await
        .unwrap();
    let handshake = socket.next().await.unwrap().unwrap();
    assert_eq!(
        handshake.to_text().unwrap(),
        "{\"protocol\":\"json\",\"version\":1}\u{1e}"
    );
    let connected = json!({"userId": 1, "connectionId": "public",
        "serverTime": "2026-01-31T12:00:00.000Z", "rooms": []});
    let event = json!({"type": 1, "target": "Connected", "arguments": [connected]});
    // What lies behind the handshake's answer in the same message counts.
    let text = format!("{{}}\u{1e}{event}\u{1e}");
    socket.send(Message::text(text)).await.unwrap();
    // Until the client closes.
    while socket.next().await.is_some_and(|m| m.is_ok()) {}
}

async fn connects(client: &Client) {
    let mut connection = client.connect().await.unwrap();
    assert!(matches!(
        connection.next().await,
        Some(ClientEvent::Connected(_))
    ));
    connection.close().await;
}

#[tokio::test]
async fn the_client_follows_the_servers_directions() {
    let server = Server::start().await;
    let (listener, url) = hub().await;
    let elsewhere = json!({"url": format!("{url}/other/hub?region=eu"), "accessToken": "theirs"});
    post(NEGOTIATE)
        .and(query_param("negotiateVersion", "1"))
        .and(header("authorization", "Bearer ours"))
        .respond_with(ok(&elsewhere))
        .expect(1)
        .mount(&server.http)
        .await;
    let client = server.builder().access_token("ours").build().unwrap();
    let there = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = answer(&mut stream, &offer()).await;
        let request = "POST /other/hub/negotiate?region=eu&negotiateVersion=1 HTTP/1.1";
        assert!(head.starts_with(request), "{head}");
        assert!(
            head.to_lowercase().contains("authorization: bearer theirs"),
            "{head}"
        );
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, "/other/hub?region=eu&id=secret", "theirs").await;
    };
    tokio::join!(connects(&client), there);
}

#[tokio::test]
async fn negotiation_can_be_left_out() {
    let (listener, url) = hub().await;
    let client = Client::builder(&format!("{url}/chat"))
        .access_token("ours")
        .skip_negotiation();
    let client = client.build().unwrap();
    let there = async {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, "/chat/v1/hub", "ours").await;
    };
    tokio::join!(connects(&client), there);
}

#[tokio::test]
async fn a_server_that_sends_around_in_circles_is_given_up() {
    let server = Server::start().await;
    let here = json!({"url": format!("{}/v1/hub", server.http.uri())});
    post(NEGOTIATE)
        .respond_with(ok(&here))
        .expect(101)
        .mount(&server.http)
        .await;
    let client = server.builder().access_token("ours").build().unwrap();
    let error = client.connect().await.unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
}

#[tokio::test]
async fn refusals_of_the_hub_are_read() {
    let server = Server::start().await;
    for (status, text, code) in [
        (
            403,
            "forbidden: this origin isn't allowed\n",
            ErrorCode::Forbidden,
        ),
        (
            503,
            "unavailable: the server is stopping",
            ErrorCode::Unavailable,
        ),
        (404, "not_found: no hub here", ErrorCode::NotFound),
    ] {
        let refusal = ResponseTemplate::new(status).set_body_raw(text, "text/plain; charset=utf-8");
        post(NEGOTIATE)
            .respond_with(refusal)
            .up_to_n_times(1)
            .mount(&server.http)
            .await;
        let client = server.builder().access_token("ours").build().unwrap();
        let error = client.connect().await.unwrap_err();
        assert_eq!(error.code(), Some(code), "{error:?}");
    }
}

#[tokio::test]
async fn negotiations_that_make_no_sense_are_malformed() {
    let server = Server::start().await;
    let mut granted = offer();
    granted["useStatefulReconnect"] = true.into();
    let mut poor = offer();
    poor["availableTransports"] =
        json!([{"transport": "LongPolling", "transferFormats": ["Binary"]}]);
    let answers = [
        granted,
        poor,
        json!({}),
        json!({"error": "go away"}),
        json!([]),
        json!({"url": "http://elsewhere.example/hub"}),
        json!({"url": "morse:...---...", "accessToken": "t"}),
    ];
    for body in answers {
        post(NEGOTIATE)
            .respond_with(ok(&body))
            .up_to_n_times(1)
            .mount(&server.http)
            .await;
        let client = server.builder().access_token("ours").build().unwrap();
        let error = client.connect().await.unwrap_err();
        assert!(
            matches!(error, Error::Malformed { .. }),
            "{body}: {error:?}"
        );
    }
}

#[tokio::test]
async fn an_upgrade_that_was_not_meant_for_us_is_refused() {
    let (listener, url) = hub().await;
    let client = Client::builder(&url)
        .access_token("ours")
        .skip_negotiation()
        .build()
        .unwrap();
    let there = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await.unwrap();
        let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream
    };
    let (connected, _stream) = tokio::join!(async { client.connect().await }, there);
    let error = connected.unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
}
