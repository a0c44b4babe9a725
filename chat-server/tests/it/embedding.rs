//! The router in an app of someone else.

use std::net::SocketAddr;

use async_trait::async_trait;
use axum::Router;
use axum::routing::get;
use chat_core::auth::{AuthError, Authenticator, Identity};
use chat_core::service::Chat;
use chat_core::store::memory::Memory;
use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, client};

/// Knows callers by a header; some requests are more than it can bear.
#[derive(Debug)]
struct ByHeader;

#[async_trait]
impl Authenticator for ByHeader {
    async fn authenticate(&self, request: &http::request::Parts) -> Result<Identity, AuthError> {
        let user = request
            .headers
            .get("x-user")
            .and_then(|v| v.to_str().ok())
            .ok_or(AuthError::Unauthenticated)?;
        assert_ne!(user, "panic", "as asked for");
        if user == "hang" {
            std::future::pending::<()>().await;
        }
        Ok(Identity {
            issuer: "host".into(),
            subject: user.into(),
            name: user.into(),
            session: None,
            expires_at: None,
        })
    }
}

async fn chat() -> Chat {
    Chat::builder()
        .store(Memory::new())
        .authenticator(ByHeader)
        .start()
        .await
        .expect("a chat")
}

/// Serves an app as an embedder does.
async fn serve(app: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bound");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

async fn call(address: SocketAddr, method: Method, path: &str, user: &str) -> Answer {
    let request = client()
        .request(method, format!("http://{address}{path}"))
        .header("x-user", user);
    Answer::of(request.json(&json!({"name": "den"}))).await
}

#[tokio::test]
async fn the_router_is_served_under_any_prefix_beside_the_hosts_routes() {
    let chat = chat().await;
    let app = Router::new()
        .route("/", get(|| async { "host" }))
        .nest("/apps/chat", chat_server::router(&chat))
        .fallback(|| async { (http::StatusCode::NOT_FOUND, "the host's") });
    let address = serve(app).await;

    let room = call(address, Method::POST, "/apps/chat/v1/rooms", "mia")
        .await
        .created()
        .await;
    let path = format!("/apps/chat/v1/rooms/{}", room["id"]);
    call(address, Method::GET, &path, "mia").await.ok().await;
    call(address, Method::GET, &path, "kim")
        .await
        .problem(404, "not_found")
        .await;
    call(address, Method::PUT, &path, "mia")
        .await
        .problem(405, "method_not_allowed")
        .await;
    call(address, Method::GET, "/apps/chat/nothing", "mia")
        .await
        .problem(404, "not_found")
        .await;
    // The host signs people in itself.
    call(address, Method::POST, "/apps/chat/v1/auth/login", "mia")
        .await
        .problem(404, "not_found")
        .await;

    let document = call(address, Method::GET, "/apps/chat/openapi.json", "")
        .await
        .ok()
        .await;
    assert_eq!(document["servers"][0]["url"], "/apps/chat");
    assert_eq!(document["paths"].get("/v1/auth/login"), None);
    let docs = call(address, Method::GET, "/apps/chat/docs", "").await;
    assert_eq!(
        (docs.status().as_u16(), docs.0.url().path()),
        (200, "/apps/chat/docs/")
    );

    for (path, body) in [("/", "host"), ("/nothing", "the host's")] {
        let answer = call(address, Method::GET, path, "").await;
        assert_eq!(answer.0.text().await.expect("a body"), body);
    }
}

#[tokio::test]
async fn ids_are_read_below_a_prefix_with_parameters() {
    let chat = chat().await;
    let app = Router::new().nest("/tenants/{tenant}", chat_server::router(&chat));
    let address = serve(app).await;
    let room = call(address, Method::POST, "/tenants/7/v1/rooms", "mia")
        .await
        .created()
        .await;
    let path = format!("/tenants/7/v1/rooms/{}", room["id"]);
    assert_eq!(
        call(address, Method::GET, &path, "mia").await.ok().await,
        room
    );
    call(
        address,
        Method::DELETE,
        &format!("{path}/members/me"),
        "mia",
    )
    .await
    .done()
    .await;
}

#[tokio::test]
async fn a_panic_is_a_500_without_its_text_and_the_server_goes_on() {
    let address = serve(chat_server::router(&chat().await)).await;
    let problem = call(address, Method::GET, "/v1/rooms", "panic")
        .await
        .problem(500, "internal")
        .await;
    assert!(!problem.to_string().contains("asked"), "{problem}");
    call(address, Method::GET, "/v1/rooms", "mia")
        .await
        .ok()
        .await;
}

#[tokio::test]
async fn a_request_without_an_answer_ends_in_time() {
    let options = chat_server::HttpOptions {
        request_timeout: std::time::Duration::from_millis(50),
        ..Default::default()
    };
    let address = serve(chat_server::router_with(&chat().await, &options)).await;
    call(address, Method::GET, "/v1/rooms", "hang")
        .await
        .problem(503, "unavailable")
        .await;
}
