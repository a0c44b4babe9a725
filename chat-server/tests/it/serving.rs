//! Connections: protocols, TLS, those that keep others waiting, and an end in order.

use std::net::SocketAddr;
use std::time::Duration;

use chat_server::Server;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use reqwest::{Client, Version};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::{Answer, TestServer, builder, client, config};

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("connected")
}

async fn write(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("written");
}

/// Reads one answer with a length, head and body.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_lowercase();
            let length = length.split("content-length: ").nth(1).expect("a length");
            let length: usize = length
                .lines()
                .next()
                .expect("a line")
                .parse()
                .expect("a number");
            if body.len() >= length {
                return text;
            }
        }
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).await.expect("read");
        assert_ne!(n, 0, "ended early: {text}");
        text.push_str(std::str::from_utf8(&buffer[..n]).expect("text"));
    }
}

/// Reads until the server ends the connection, in order or not.
async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    bytes
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_ends_the_connection_after_10_s() {
    let server = TestServer::start().await;
    for begin in ["", "GET /healthz HTT", "PRI * HTTP/2.0\r\n\r\nSM"] {
        let mut stream = connect(server.address).await;
        write(&mut stream, begin).await;
        let began = Instant::now();
        read_to_end(&mut stream).await;
        let waited = began.elapsed().as_secs();
        assert!((9..=11).contains(&waited), "{begin:?}: {waited} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_head_has_10_s_too_and_a_rest_75() {
    let server = TestServer::start().await;
    let mut stream = connect(server.address).await;
    for _ in 0..2 {
        write(&mut stream, HEALTH).await;
        read_answer(&mut stream).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    write(&mut stream, "GET /healthz").await;
    let began = Instant::now();
    read_to_end(&mut stream).await;
    assert!((9..=11).contains(&began.elapsed().as_secs()));

    let mut stream = connect(server.address).await;
    write(&mut stream, HEALTH).await;
    read_answer(&mut stream).await;
    let began = Instant::now();
    read_to_end(&mut stream).await;
    assert!((74..=76).contains(&began.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_read_ends_the_connection_after_30_s() {
    let server = TestServer::start().await;
    let mut stream = connect(server.address).await;
    // More than the system's buffers take.
    let requests = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: x\r\n\r\n".repeat(64);
    write(&mut stream, &requests).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let got = read_to_end(&mut stream).await.len();
    assert!(got < 64 * 300_000, "all of it came: {got}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_ends_the_request_after_15_s() {
    let server = TestServer::start().await;
    let mut stream = connect(server.address).await;
    write(&mut stream, "POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{").await;
    let began = Instant::now();
    let answer = read_answer(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("invalid_request"),
        "{answer}"
    );
    assert!((14..=16).contains(&began.elapsed().as_secs()));
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let server = TestServer::start().await;
    let mut stream = connect(server.address).await;
    let head = format!(
        "GET /healthz HTTP/1.1\r\nhost: x\r\nx: {}\r\n",
        "y".repeat(100_000)
    );
    // The server may close before it has read all.
    let _ = stream.write_all(head.as_bytes()).await;
    let answer = String::from_utf8_lossy(&read_to_end(&mut stream).await).into_owned();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    server.anyone().get("/healthz").await;
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_on_one_port() {
    let server = TestServer::start().await;
    let http2 = Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .expect("a client");
    for (client, version) in [(client(), Version::HTTP_11), (http2, Version::HTTP_2)] {
        let answer = Answer::of(client.get(format!("{}/healthz", server.url))).await;
        assert_eq!(
            (answer.status().as_u16(), answer.0.version()),
            (200, version)
        );
    }
}

#[tokio::test]
async fn beyond_the_bound_a_connection_waits_for_a_place() {
    let server = TestServer::with(&[("CHAT_MAX_CONNECTIONS", "1")]).await;
    let mut first = connect(server.address).await;
    write(&mut first, HEALTH).await;
    read_answer(&mut first).await;
    let mut second = connect(server.address).await;
    write(&mut second, HEALTH).await;
    let early = tokio::time::timeout(Duration::from_millis(200), second.readable()).await;
    assert!(early.is_err(), "there was no place");
    drop(first);
    read_answer(&mut second).await;
}

#[tokio::test]
async fn health_and_metrics_have_a_port_of_their_own_if_asked() {
    let server = TestServer::with(&[("CHAT_ADMIN_LISTEN", "127.0.0.1:0")]).await;
    let public = server.anyone();
    let mut admin = server.anyone();
    admin.url = format!("http://{}", server.admin.expect("an admin port"));
    for path in ["/healthz", "/readyz", "/metrics"] {
        public.get(path).await.problem(404, "not_found").await;
        assert_eq!(admin.get(path).await.status(), 200);
    }
    admin.get("/v1/rooms").await.problem(404, "not_found").await;
    admin
        .get("/openapi.json")
        .await
        .problem(404, "not_found")
        .await;
    let document = public.get("/openapi.json").await.ok().await;
    assert_eq!(document["paths"].get("/metrics"), None);
}

#[tokio::test]
async fn requests_are_counted_by_their_routes_template() {
    let server = TestServer::start().await;
    let mia = server.user("mia").await;
    mia.get("/v1/rooms/4711471147114711?limit=confidential")
        .await
        .problem(404, "not_found")
        .await;
    mia.get("/nothing/hidden")
        .await
        .problem(404, "not_found")
        .await;
    let room = mia.room("den").await;
    mia.post(&format!("{room}/messages"), &json!({"content": "hello"}))
        .await
        .created()
        .await;
    let metrics = mia.get("/metrics").await;
    assert_eq!(
        metrics.header("content-type"),
        Some("text/plain; version=0.0.4")
    );
    let metrics = metrics.0.text().await.expect("text");
    for line in [
        r#"chat_http_requests_total{method="GET",route="/v1/rooms/{roomId}",status="404"}"#,
        r#"chat_http_requests_total{method="GET",route="none",status="404"}"#,
        r#"chat_http_request_duration_seconds_bucket{method="GET",route="/v1/rooms/{roomId}",le="#,
        "chat_connections ",
        "chat_changes_total ",
        r#"chat_commit_duration_seconds_bucket{le="#,
        "chat_ready 1",
        "process_open_fds ",
    ] {
        assert!(
            metrics.lines().any(|l| l.starts_with(line)),
            "no {line} in {metrics}"
        );
    }
    for secret in ["4711471147114711", "hidden", "confidential"] {
        assert!(!metrics.contains(secret), "{metrics}");
    }
}

#[tokio::test]
async fn a_draining_server_is_not_ready() {
    let server = TestServer::start().await;
    let anyone = server.anyone();
    assert_eq!(anyone.get("/readyz").await.status(), 200);
    server.chat.drain(Duration::ZERO).await;
    anyone
        .get("/readyz")
        .await
        .problem(503, "unavailable")
        .await;
    assert_eq!(anyone.get("/healthz").await.status(), 200);
}

#[tokio::test]
async fn a_stopping_server_finishes_what_it_began_and_takes_no_more() {
    let server = TestServer::start().await;
    let address = server.address;
    let mut resting = connect(address).await;
    write(&mut resting, HEALTH).await;
    read_answer(&mut resting).await;
    let mut busy = connect(address).await;
    let body = r#"{"email":"a@b","username":"mia","password":"longenough"}"#;
    let head = format!(
        "POST /v1/auth/register HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    write(&mut busy, &head).await;
    // With this the handler is known to be waiting for the body.
    let mut buffer = [0; 25];
    busy.read_exact(&mut buffer).await.expect("to go on");
    assert!(buffer.starts_with(b"HTTP/1.1 100"));

    let stopped = server.begin_stop();
    assert_eq!(read_to_end(&mut resting).await, b"", "one at rest is ended");
    assert!(
        TcpStream::connect(address).await.is_err(),
        "no more are taken"
    );
    write(&mut busy, body).await;
    let answer = read_answer(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    stopped.await.expect("it ended in order");
}

#[tokio::test]
async fn what_does_not_end_is_cut_when_the_drain_is_over() {
    let server = TestServer::with(&[("CHAT_DRAIN_SECONDS", "0")]).await;
    let mut busy = connect(server.address).await;
    write(&mut busy, "POST /v1/auth/register HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n").await;
    busy.read_exact(&mut [0; 25]).await.expect("to go on");
    server.stop().await;
    assert_eq!(read_to_end(&mut busy).await, b"");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let server = TestServer::start().await;
    let config = config(&[("CHAT_LISTEN", &server.address.to_string())]);
    let chat = builder(&config).start().await.expect("a chat");
    let error = Server::bind_chat(config, chat)
        .await
        .expect_err("taken")
        .to_string();
    assert!(
        error.contains(&server.address.to_string()) && error.contains("another program"),
        "{error}"
    );
}

/// When that of [`certificate`] ends: the start of 2031.
const EXPIRY: i64 = 1_924_992_000;

/// A certificate for `localhost`, and its files.
struct Certificate {
    pem: String,
    cert: String,
    key: String,
    directory: tempfile::TempDir,
}

fn certificate() -> Certificate {
    let signing_key = KeyPair::generate().expect("made");
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    params.not_after = date_time_ymd(2031, 1, 1);
    let cert = params.self_signed(&signing_key).expect("signed");
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| {
        directory
            .path()
            .join(name)
            .to_str()
            .expect("text")
            .to_owned()
    };
    let (pem, cert_path, key_path) = (cert.pem(), path("cert.pem"), path("key.pem"));
    std::fs::write(&cert_path, &pem).expect("written");
    std::fs::write(&key_path, signing_key.serialize_pem()).expect("written");
    Certificate {
        pem,
        cert: cert_path,
        key: key_path,
        directory,
    }
}

#[tokio::test]
async fn https_is_served_from_files_in_both_versions() {
    let certificate = certificate();
    let server = TestServer::with(&[
        ("CHAT_TLS_CERT", &certificate.cert),
        ("CHAT_TLS_KEY", &certificate.key),
    ])
    .await;
    assert!(server.url.starts_with("https://127.0.0.1:"));
    let root = reqwest::Certificate::from_pem(certificate.pem.as_bytes()).expect("a certificate");
    let secure = || {
        Client::builder()
            .no_proxy()
            .tls_certs_only([root.clone()])
            .resolve("localhost", server.address)
    };
    let url = format!("https://localhost:{}/healthz", server.address.port());
    for (client, version) in [
        (secure(), Version::HTTP_2),
        (secure().http1_only(), Version::HTTP_11),
    ] {
        let answer = Answer::of(client.build().expect("a client").get(&url)).await;
        assert_eq!(
            (answer.status().as_u16(), answer.0.version()),
            (200, version)
        );
    }
    // Plain text on a TLS port is a failed handshake, and the next one is served.
    let mut plain = connect(server.address).await;
    write(&mut plain, HEALTH).await;
    assert!(!read_to_end(&mut plain).await.starts_with(b"HTTP"));
    let answer = Answer::of(secure().build().expect("a client").get(&url)).await;
    assert_eq!(answer.status(), 200);

    let metrics = format!("https://localhost:{}/metrics", server.address.port());
    let metrics = Answer::of(secure().build().expect("a client").get(&metrics)).await;
    let metrics = metrics.0.text().await.expect("text");
    let expiry = format!("chat_certificate_expiry_timestamp_seconds {EXPIRY}");
    assert!(metrics.lines().any(|l| l == expiry), "{metrics}");
}

#[tokio::test]
async fn files_that_are_no_certificate_are_refused_by_name() {
    let good = certificate();
    let other = certificate();
    let nonsense = good.directory.path().join("nonsense.pem");
    std::fs::write(&nonsense, "nonsense").expect("written");
    let nonsense = nonsense.to_str().expect("text");
    for (cert, key, named) in [
        ("/nowhere/cert.pem", good.key.as_str(), "/nowhere/cert.pem"),
        (&good.cert, "/nowhere/key.pem", "/nowhere/key.pem"),
        (nonsense, &good.key, nonsense),
        (&good.cert, nonsense, nonsense),
        (&good.cert, &good.cert, &good.cert),
        (&good.cert, &other.key, &other.key),
    ] {
        let config = config(&[("CHAT_TLS_CERT", cert), ("CHAT_TLS_KEY", key)]);
        let chat = builder(&config).start().await.expect("a chat");
        let error = Server::bind_chat(config, chat)
            .await
            .expect_err(named)
            .to_string();
        assert!(error.contains(named) && !error.contains('\n'), "{error}");
    }
}
