//! The HTTP edge: what is repeated and what isn't, and answers that no server of ours would give.

use std::time::{Duration, Instant};

use chat_client::model::{Event, Seq};
use chat_client::protocol::ErrorCode;
use chat_client::protocol::rest::{ChangesQuery, ListQuery};
use chat_client::{Client, Error};
use futures_util::TryStreamExt as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wiremock::matchers::{query_param, query_param_is_missing};
use wiremock::{Mock, ResponseTemplate};

use crate::mock::{ROOM, Server, delete, get, ok, post, problem, room, user};

const MESSAGES: &str = "/v1/rooms/7/messages";

fn busy(status: u16, code: &str, retry_after: &str) -> ResponseTemplate {
    problem(status, code).insert_header("retry-after", retry_after)
}

async fn mount_first(server: &Server, mock: Mock) {
    mock.up_to_n_times(1)
        .with_priority(1)
        .mount(&server.http)
        .await;
}

trait Mounted {
    async fn mounted(self, server: &Server);
}

impl Mounted for Mock {
    async fn mounted(self, server: &Server) {
        self.mount(&server.http).await;
    }
}

#[tokio::test]
async fn a_busy_server_is_asked_again_after_the_wait_it_wants() {
    let server = Server::start().await;
    for (status, code) in [(429, "rate_limited"), (503, "unavailable")] {
        let refusal = get("/v1/users/me").respond_with(busy(status, code, "1"));
        mount_first(&server, refusal).await;
        get("/v1/users/me")
            .respond_with(ok(&user()))
            .mounted(&server)
            .await;
        let began = Instant::now();
        assert_eq!(server.client().me().await.unwrap().username, "ann");
        assert!(began.elapsed() >= Duration::from_secs(1));
    }
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_the_callers_to_decide() {
    let server = Server::start().await;
    let refusal = get("/v1/users/me").respond_with(busy(429, "rate_limited", "3600"));
    refusal.expect(1).mounted(&server).await;
    let error = server.client().me().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::RateLimited));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
    assert!(error.is_retryable());
}

#[tokio::test]
async fn tries_come_to_an_end() {
    let server = Server::start().await;
    let refusal = get("/v1/users/me").respond_with(problem(503, "unavailable"));
    refusal.expect(3).mounted(&server).await;
    let client = server
        .builder()
        .access_token("t")
        .retries(2)
        .build()
        .unwrap();
    let error = client.me().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Unavailable));
}

#[tokio::test]
async fn what_must_not_be_done_twice_is_not_repeated() {
    let server = Server::start().await;
    for path in [
        "/v1/rooms",
        "/v1/auth/login",
        "/v1/auth/register",
        "/v1/auth/password",
    ] {
        let refusal = post(path).respond_with(busy(503, "unavailable", "0"));
        refusal.expect(1).mounted(&server).await;
    }
    let client = server.client();
    assert!(client.create_room("tea").await.is_err());
    assert!(client.login("a@b", "password", None).await.is_err());
    assert!(client.register("a@b", "ann", "password").await.is_err());
    assert!(client.change_password("old", "password").await.is_err());
}

#[tokio::test]
async fn a_send_is_repeated_under_the_same_id() {
    let server = Server::start().await;
    mount_first(
        &server,
        post(MESSAGES).respond_with(problem(503, "unavailable")),
    )
    .await;
    let slow = ResponseTemplate::new(201).set_delay(Duration::from_secs(60));
    mount_first(&server, post(MESSAGES).respond_with(slow)).await;
    let stored = crate::hub::message(2, "hello");
    post(MESSAGES)
        .respond_with(ok(&stored))
        .mounted(&server)
        .await;
    let client = server.builder().access_token("t");
    let client = client
        .request_timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    assert_eq!(client.room(ROOM).send("hello").await.unwrap().seq, Seq(2));
    let bodies: Vec<_> = server.requests(MESSAGES).await;
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().all(|r| r.body == bodies[0].body));
    let body: serde_json::Value = serde_json::from_slice(&bodies[0].body).unwrap();
    assert_eq!(body["clientMessageId"].as_str().unwrap().len(), 32);
}

#[tokio::test]
async fn a_deletion_whose_answer_was_lost_is_done_when_asked_again() {
    let server = Server::start().await;
    let room = server.client().room(ROOM);
    mount_first(
        &server,
        delete("/v1/rooms/7").respond_with(ResponseTemplate::new(502)),
    )
    .await;
    delete("/v1/rooms/7")
        .respond_with(problem(404, "not_found"))
        .mounted(&server)
        .await;
    room.delete().await.unwrap();
    // Where the first answer says so, it never was there.
    let error = room.delete().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NotFound));
}

#[tokio::test]
async fn refused_fields_are_named() {
    let server = Server::start().await;
    let body = json!({"type": "about:blank", "title": "No", "status": 422, "detail": "look at the fields",
        "code": "validation_failed",
        "errors": [{"field": "username", "code": "too_short", "detail": "must have at least 2 characters"}]});
    let refusal =
        ResponseTemplate::new(422).set_body_raw(body.to_string(), "application/problem+json");
    post("/v1/auth/register")
        .respond_with(refusal)
        .mounted(&server)
        .await;
    let error = server
        .client()
        .register("a@b", "a", "password")
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("username must have at least 2 characters"),
        "{error}"
    );
    let Error::Refused(refusal) = error else {
        panic!("{error}")
    };
    assert_eq!(
        (refusal.status, refusal.errors[0].code.as_str()),
        (422, "too_short")
    );
}

#[tokio::test]
async fn a_code_of_a_later_version_is_still_a_refusal() {
    let server = Server::start().await;
    get("/v1/users/me")
        .respond_with(problem(418, "teapot"))
        .mounted(&server)
        .await;
    let Error::Refused(refusal) = server.client().me().await.unwrap_err() else {
        panic!()
    };
    assert_eq!(
        (refusal.code, refusal.status, refusal.detail.as_str()),
        (None, 418, "what to do")
    );
}

#[tokio::test]
async fn a_proxys_page_is_a_refusal_without_a_code() {
    let server = Server::start().await;
    let page = ResponseTemplate::new(502).set_body_raw("<h1>Bad Gateway</h1>", "text/html");
    get("/v1/users/me")
        .respond_with(page)
        .mounted(&server)
        .await;
    let client = server
        .builder()
        .access_token("t")
        .retries(0)
        .build()
        .unwrap();
    let error = client.me().await.unwrap_err();
    assert!(error.is_retryable() && error.code().is_none(), "{error:?}");
}

#[tokio::test]
async fn answers_that_make_no_sense_are_malformed() {
    let server = Server::start().await;
    let client = server.client();
    for body in [
        "",
        "hello",
        "{\"id\":1",
        "[]",
        "{\"id\":\"x\"}",
        "null",
        "\u{0}",
    ] {
        let answer = ResponseTemplate::new(200).set_body_raw(body, "application/json");
        mount_first(&server, get("/v1/users/me").respond_with(answer)).await;
        let error = client.me().await.unwrap_err();
        assert!(
            matches!(error, Error::Malformed { .. }),
            "{body:?}: {error:?}"
        );
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn a_body_past_the_limit_is_not_read() {
    let server = Server::start().await;
    let long =
        json!({"id": 1, "username": "x".repeat(100_000), "createdAt": "2026-01-31T12:00:00.000Z"});
    get("/v1/users/me")
        .respond_with(ok(&long))
        .mounted(&server)
        .await;
    let client = server
        .builder()
        .access_token("t")
        .response_limit_bytes(10_000)
        .build()
        .unwrap();
    let error = client.me().await.unwrap_err();
    assert!(
        matches!(&error, Error::Malformed { what, .. } if what.contains("10000 bytes")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_body_without_an_end_is_not_read_to_it() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::builder(&format!("http://{}", listener.local_addr().unwrap()));
    let client = client
        .access_token("t")
        .retries(0)
        .response_limit_bytes(1_000_000)
        .build()
        .unwrap();
    let endless = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        // A client takes no answer to what it hasn't asked yet.
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        let mut written = stream.write_all(head.as_bytes()).await;
        while written.is_ok() {
            written = stream.write_all(chunk.as_bytes()).await;
        }
    };
    let (error, ()) = tokio::join!(client.me(), endless);
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_given_up() {
    let server = Server::start().await;
    let slow = ok(&user()).set_delay(Duration::from_secs(60));
    get("/v1/users/me")
        .respond_with(slow)
        .mounted(&server)
        .await;
    let client = server.builder().access_token("t").retries(0);
    let client = client
        .request_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    let error = client.me().await.unwrap_err();
    assert!(
        matches!(error, Error::Timeout(_)) && error.is_retryable(),
        "{error:?}"
    );
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let client = Client::builder(&format!("http://127.0.0.1:{port}"));
    let client = client.access_token("s3cret").retries(0).build().unwrap();
    let error = client.me().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    assert!(!format!("{error:?}").contains("s3cret"));
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_token() {
    let server = Server::start().await;
    let elsewhere = Server::start().await;
    let redirect =
        ResponseTemplate::new(308).insert_header("location", elsewhere.http.uri().as_str());
    get("/v1/users/me")
        .respond_with(redirect)
        .mounted(&server)
        .await;
    let error = server.client().me().await.unwrap_err();
    assert!(error.to_string().contains(&elsewhere.http.uri()), "{error}");
    assert!(elsewhere.http.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let server = Server::start().await;
    let page = |ids: &[i64], more: bool| {
        let items: Vec<_> = ids.iter().map(|id| room(*id)).collect();
        ok(&json!({"items": items, "hasMore": more}))
    };
    let first = get("/v1/rooms").and(query_param_is_missing("after"));
    first
        .respond_with(page(&[1, 2], true))
        .expect(1)
        .mounted(&server)
        .await;
    let second = get("/v1/rooms").and(query_param("after", "2"));
    second
        .respond_with(page(&[5], false))
        .expect(1)
        .mounted(&server)
        .await;
    let rooms: Vec<_> = server.client().all_rooms().try_collect().await.unwrap();
    assert_eq!(rooms.iter().map(|r| r.id.0).collect::<Vec<_>>(), [1, 2, 5]);
}

#[tokio::test]
async fn a_list_ends_at_the_first_error() {
    let server = Server::start().await;
    get("/v1/rooms")
        .respond_with(problem(403, "forbidden"))
        .expect(1)
        .mounted(&server)
        .await;
    let rooms = server.client().all_rooms().try_collect::<Vec<_>>().await;
    assert_eq!(rooms.unwrap_err().code(), Some(ErrorCode::Forbidden));
}

#[tokio::test]
async fn changes_of_a_later_version_are_passed_over() {
    let server = Server::start().await;
    let page = json!({"items": [{"type": "roomPainted", "roomId": 7, "seq": 4},
        {"type": "roomDeleted", "roomId": 7, "seq": 5, "why": "tired"}],
        "seq": 5, "hasMore": false, "complete": true, "more": {}});
    let asked = get("/v1/rooms/7/changes")
        .and(query_param("since", "3"))
        .and(query_param("from", "1"));
    asked.respond_with(ok(&page)).mounted(&server).await;
    let query = ChangesQuery {
        since: Seq(3),
        from: Some(Seq(1)),
        limit: None,
    };
    let changes = server.client().room(ROOM).changes(query).await.unwrap();
    assert!(matches!(changes.items[..], [Event::RoomDeleted { .. }]));
}

#[tokio::test]
async fn the_token_goes_in_the_header_and_nowhere_else() {
    let server = Server::start().await;
    get("/v1/rooms")
        .respond_with(ok(&json!({"items": [], "hasMore": false})))
        .mounted(&server)
        .await;
    let client = server.client();
    client
        .rooms(ListQuery {
            limit: Some(3),
            after: None,
        })
        .await
        .unwrap();
    let request = &server.requests("/v1/rooms").await[0];
    assert_eq!(request.headers["authorization"], "Bearer access-1");
    assert_eq!(request.url.query(), Some("limit=3"));
    assert!(!format!("{client:?}").contains("access-1"));
}
