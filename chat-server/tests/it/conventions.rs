//! What holds for all calls: bodies, queries, paths, methods, errors, headers.

use chat_core::protocol::paths;
use reqwest::Method;
use serde_json::{Value, json};

use crate::documentation::with_ids;
use crate::harness::{Answer, Caller, TestServer};

const REGISTER: &str = "/v1/auth/register";

async fn send(
    caller: &Caller,
    path: &str,
    content_type: Option<&str>,
    body: impl Into<reqwest::Body>,
) -> Answer {
    let mut request = caller.request(Method::POST, path).body(body);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    Answer::of(request).await
}

async fn json_text(caller: &Caller, path: &str, body: impl Into<reqwest::Body>) -> Answer {
    send(caller, path, Some("application/json"), body).await
}

#[tokio::test]
async fn an_unknown_route_is_a_problem() {
    let server = TestServer::start().await;
    let anyone = server.anyone();
    for path in [
        "/",
        "/v1",
        "/v1/rooms/",
        "/v2/rooms",
        "/v1/rooms/1/nothing",
        "//v1/rooms",
        "/%ff",
    ] {
        anyone.get(path).await.problem(404, "not_found").await;
    }
}

#[tokio::test]
async fn a_wrong_method_names_the_right_ones() {
    let server = TestServer::start().await;
    let anyone = server.anyone();
    for (method, path, allowed) in [
        (Method::PUT, "/v1/rooms", "GET,HEAD,POST"),
        (Method::GET, REGISTER, "POST"),
        (Method::OPTIONS, "/v1/rooms/1", "GET,HEAD,PATCH,DELETE"),
        (
            Method::from_bytes(b"BREW").expect("a method"),
            "/healthz",
            "GET,HEAD",
        ),
    ] {
        let answer = Answer::of(anyone.request(method, path)).await;
        let mut allow: Vec<_> = answer
            .header("allow")
            .expect("Allow")
            .split(',')
            .map(str::trim)
            .collect();
        allow.sort_unstable();
        let mut expected: Vec<_> = allowed.split(',').collect();
        expected.sort_unstable();
        assert_eq!(allow, expected, "{path}");
        answer.problem(405, "method_not_allowed").await;
    }
}

#[tokio::test]
async fn a_body_must_be_json_by_name() {
    let server = TestServer::start().await;
    let anyone = server.anyone();
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/jsonx"),
        Some(""),
    ] {
        let answer = send(&anyone, REGISTER, content_type, "{}").await;
        answer.problem(415, "unsupported_media_type").await;
    }
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/merge-patch+json",
    ] {
        send(&anyone, REGISTER, Some(content_type), "{}")
            .await
            .problem(422, "validation_failed")
            .await;
    }
    let compressed = anyone
        .request(Method::POST, REGISTER)
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .body("{}");
    Answer::of(compressed)
        .await
        .problem(415, "unsupported_media_type")
        .await;
}

#[tokio::test]
async fn a_body_that_is_not_json_is_malformed() {
    let server = TestServer::start().await;
    let anyone = server.anyone();
    for body in [
        "",
        "{",
        "{} {}",
        "nonsense",
        "{\"a\":01}",
        "{\"a\":\"\u{1}\"}",
        "{\"a\" 1}",
        "[1,]",
    ] {
        json_text(&anyone, REGISTER, body)
            .await
            .problem(400, "invalid_request")
            .await;
    }
    json_text(&anyone, REGISTER, &b"{\"email\":\"\xff\"}"[..])
        .await
        .problem(400, "invalid_request")
        .await;
}

#[tokio::test]
async fn a_key_twice_in_one_object_is_refused() {
    let server = TestServer::start().await;
    let anyone = server.anyone();
    for body in [
        r#"{"email":"a@b","email":"a@b"}"#,
        r#"{"email":"a@b","\u0065mail":"a@b"}"#,
        r#"{"unknown":{"a":1,"a":2}}"#,
    ] {
        json_text(&anyone, REGISTER, body)
            .await
            .problem(400, "invalid_request")
            .await;
    }
}

#[tokio::test]
async fn nesting_is_bounded_at_32() {
    let server = TestServer::start().await;
    let anyone = server.anyone();
    let nested = |depth: usize| {
        format!(
            "{{\"x\":{}{}}}",
            "[".repeat(depth - 1),
            "]".repeat(depth - 1)
        )
    };
    json_text(&anyone, REGISTER, nested(32))
        .await
        .problem(422, "validation_failed")
        .await;
    json_text(&anyone, REGISTER, nested(33))
        .await
        .problem(400, "invalid_request")
        .await;
    json_text(&anyone, REGISTER, nested(20_000))
        .await
        .problem(400, "invalid_request")
        .await;
}

#[tokio::test]
async fn a_body_has_at_most_64_kib() {
    let server = TestServer::start().await;
    let anyone = server.anyone();
    let padded = |bytes: usize| {
        let frame = r#"{"x":""}"#.len();
        format!(r#"{{"x":"{}"}}"#, "y".repeat(bytes - frame))
    };
    json_text(&anyone, REGISTER, padded(65_536))
        .await
        .problem(422, "validation_failed")
        .await;
    json_text(&anyone, REGISTER, padded(65_537))
        .await
        .problem(413, "payload_too_large")
        .await;
    let mia = server.user("mia").await;
    send(&mia, "/v1/auth/logout", None, padded(65_537))
        .await
        .problem(413, "payload_too_large")
        .await;
    // Without a length the bytes are counted as they come.
    let chunks =
        futures_util::stream::iter((0..70).map(|_| Ok::<_, std::io::Error>("y".repeat(1024))));
    let chunked = reqwest::Body::wrap_stream(chunks);
    json_text(&anyone, REGISTER, chunked)
        .await
        .problem(413, "payload_too_large")
        .await;
}

#[tokio::test]
async fn a_missing_or_wrong_field_is_named() {
    let server = TestServer::start().await;
    let user = server.user("mia").await;
    let register = |body: Value| {
        let user = user.clone();
        async move { user.post(REGISTER, &body).await }
    };
    register(json!({"username": "kim", "password": "longenough"}))
        .await
        .invalid("email", "required")
        .await;
    register(json!({"email": null, "username": "kim", "password": "longenough"}))
        .await
        .problem(422, "validation_failed")
        .await;
    register(json!({"email": 7, "username": "kim", "password": "longenough"}))
        .await
        .invalid("email", "invalid_type")
        .await;
    register(json!([]))
        .await
        .problem(422, "validation_failed")
        .await;
    register(json!("text"))
        .await
        .problem(422, "validation_failed")
        .await;
    user.post("/v1/rooms", &json!({"name": ""}))
        .await
        .invalid("name", "too_short")
        .await;
    user.post("/v1/rooms", &json!({"name": "x".repeat(65)}))
        .await
        .invalid("name", "too_long")
        .await;
    let room = user.room("den").await;
    let members = format!("{room}/members/{}", user.id());
    user.patch(&members, &json!({"role": "owner"}))
        .await
        .problem(422, "validation_failed")
        .await;
    let invites = format!("{room}/invites");
    user.post(&invites, &json!({"expiresIn": 59}))
        .await
        .invalid("expiresIn", "out_of_range")
        .await;
    user.post(&invites, &json!({"maxUses": 1.5}))
        .await
        .invalid("maxUses", "invalid_value")
        .await;
    user.post(
        &invites,
        &json!({"maxUses": 7.0, "expiresIn": null, "other": 1}),
    )
    .await
    .created()
    .await;
}

#[tokio::test]
async fn a_query_is_checked() {
    let server = TestServer::start().await;
    let user = server.user("mia").await;
    let room = user.room("den").await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=1.5", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=1&limit=1", "limit"),
        ("before=0", "before"),
        ("before=1&after=1", "before"),
    ] {
        let problem = user
            .get(&format!("{room}/messages?{query}"))
            .await
            .problem(422, "validation_failed")
            .await;
        assert_eq!(problem["errors"][0]["field"], field, "{query}");
    }
    user.get(&format!("{room}/changes"))
        .await
        .invalid("since", "required")
        .await;
    user.get(&format!("{room}/changes?since=-1"))
        .await
        .problem(422, "validation_failed")
        .await;
    let member = format!("{room}/members/me?deleteMessages=1");
    user.delete(&member)
        .await
        .problem(422, "validation_failed")
        .await;
    user.get(&format!("{room}/messages?limit=100&unknown=x&unknown=y"))
        .await
        .problem(422, "validation_failed")
        .await;
    user.get(&format!("{room}/messages?limit=100&unknown=x"))
        .await
        .ok()
        .await;
    user.get(&format!("{room}/messages?after=99999999999999999999"))
        .await
        .problem(404, "not_found")
        .await;
}

#[tokio::test]
async fn a_path_id_that_is_none_is_not_found() {
    let server = TestServer::start().await;
    let user = server.user("mia").await;
    for id in [
        "0",
        "-1",
        "+1",
        "01",
        "1.0",
        "1e3",
        "x",
        "9007199254740992",
        "99999999999999999999",
        "%31%00",
        "%FF",
        "1%2F2",
    ] {
        user.get(&format!("/v1/rooms/{id}"))
            .await
            .problem(404, "not_found")
            .await;
        user.get(&format!("/v1/users/{id}"))
            .await
            .problem(404, "not_found")
            .await;
        user.delete(&format!("/v1/auth/sessions/{id}"))
            .await
            .problem(404, "not_found")
            .await;
    }
    let room = user.room("den").await;
    user.get(&format!("{room}/messages/x"))
        .await
        .problem(404, "not_found")
        .await;
    user.get(&format!(
        "{}/messages/1",
        room.replace("/v1/rooms/", "/v1/rooms/0")
    ))
    .await
    .problem(404, "not_found")
    .await;
}

#[tokio::test]
async fn who_is_asking_comes_first() {
    let server = TestServer::start().await;
    let mut caller = server.anyone();
    for token in [None, Some("nonsense"), Some("")] {
        caller.token = token.map(ToOwned::to_owned);
        json_text(&caller, "/v1/rooms", "{")
            .await
            .problem(401, "unauthenticated")
            .await;
        send(&caller, "/v1/rooms", None, "x".repeat(100_000))
            .await
            .problem(401, "unauthenticated")
            .await;
        caller
            .get("/v1/rooms?limit=0")
            .await
            .problem(401, "unauthenticated")
            .await;
        caller
            .get("/v1/rooms/x")
            .await
            .problem(401, "unauthenticated")
            .await;
    }
}

#[tokio::test]
async fn a_request_id_comes_back() {
    let server = TestServer::start().await;
    let anyone = server.anyone();
    let with = |id: &'static str| {
        let request = anyone
            .request(Method::GET, "/healthz")
            .header("x-request-id", id);
        async move {
            Answer::of(request)
                .await
                .header("x-request-id")
                .map(ToOwned::to_owned)
        }
    };
    assert_eq!(with("my-request.7").await.as_deref(), Some("my-request.7"));
    let made = with("not {sound}").await.expect("one");
    assert_eq!(made.len(), 32);
    assert_ne!(with("").await.expect("one"), made);
}

#[tokio::test]
async fn listed_origins_may_call_from_a_browser() {
    let server = TestServer::with(&[(
        "CHAT_CORS_ORIGINS",
        "https://a.example, http://localhost:5173",
    )])
    .await;
    let anyone = server.anyone();
    let from = |method: Method, origin: &'static str| {
        let request = anyone
            .request(method, "/v1/rooms")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type",
            );
        Answer::of(request)
    };
    let preflight = from(Method::OPTIONS, "http://localhost:5173").await;
    assert_eq!(preflight.status(), 200);
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        Some("http://localhost:5173")
    );
    assert_eq!(
        preflight.header("access-control-allow-credentials"),
        Some("true")
    );
    assert!(
        preflight
            .header("access-control-allow-methods")
            .expect("methods")
            .contains("PATCH")
    );
    assert!(
        preflight
            .header("access-control-allow-headers")
            .expect("headers")
            .contains("authorization")
    );

    let refused = from(Method::GET, "https://a.example").await;
    assert_eq!(
        refused.header("access-control-allow-origin"),
        Some("https://a.example")
    );
    assert!(
        refused
            .header("vary")
            .expect("vary")
            .to_lowercase()
            .contains("origin")
    );
    refused.problem(401, "unauthenticated").await;

    for foreign in ["https://b.example", "http://a.example", "null"] {
        for method in [Method::OPTIONS, Method::GET] {
            assert_eq!(
                from(method, foreign)
                    .await
                    .header("access-control-allow-origin"),
                None,
                "{foreign}"
            );
        }
    }
}

#[tokio::test]
async fn a_role_that_is_not_run_has_no_routes() {
    let server = TestServer::with(&[("CHAT_ROLES", "auth")]).await;
    let user = server.user("mia").await;
    user.get("/v1/rooms").await.problem(404, "not_found").await;
    user.get("/v1/users/me").await.ok().await;

    let server = TestServer::with(&[("CHAT_ROLES", "rest,realtime")]).await;
    let anyone = server.anyone();
    anyone
        .post("/v1/auth/login", &json!({}))
        .await
        .problem(404, "not_found")
        .await;
    anyone
        .get("/.well-known/jwks.json")
        .await
        .problem(404, "not_found")
        .await;
    anyone
        .get("/v1/rooms")
        .await
        .problem(401, "unauthenticated")
        .await;
}

#[tokio::test]
async fn every_path_that_clients_build_is_mounted() {
    let server = TestServer::start().await;
    let user = server.user("mia").await;
    for template in paths::ALL
        .iter()
        .filter(|path| !path.starts_with(paths::HUB))
    {
        let path = with_ids(template);
        // No call has this method, so only a path that exists has something to say to it.
        let answer = Answer::of(user.request(Method::TRACE, &path)).await;
        answer.problem(405, "method_not_allowed").await;
    }
}
