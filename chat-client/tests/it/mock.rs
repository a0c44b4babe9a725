//! A server whose REST answers a test decides, in the API's own words.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat_client::model::{Clock, RoomId, Timestamp};
use chat_client::{Client, ClientBuilder, Credentials, MemoryTokenStore};
use serde_json::{Value, json};
use wiremock::matchers::{body_partial_json, header, method, path};
use wiremock::{Mock, MockBuilder, MockServer, Request, ResponseTemplate};

/// The room that calls are about.
pub(crate) const ROOM: RoomId = RoomId(7);

/// A clock that a test sets.
#[derive(Debug)]
pub(crate) struct SetClock(Mutex<Timestamp>);

impl SetClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Timestamp::from_millis(1_769_860_800_000))))
    }

    pub(crate) fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = now.plus(by);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

pub(crate) struct Server {
    pub(crate) http: MockServer,
    pub(crate) clock: Arc<SetClock>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self {
            http: MockServer::start().await,
            clock: SetClock::new(),
        }
    }

    /// Sets up a client of this server.
    pub(crate) fn builder(&self) -> ClientBuilder {
        Client::builder(&self.http.uri())
            .clock(Arc::clone(&self.clock) as Arc<dyn Clock>)
            .request_timeout(Duration::from_secs(5))
    }

    /// A client with the login `access-1`, `refresh-1`, whose access token has 15 minutes to go.
    pub(crate) fn client(&self) -> Client {
        self.builder()
            .token_store(MemoryTokenStore::with(self.credentials(1)))
            .build()
            .unwrap()
    }

    /// The login `access-<n>`, `refresh-<n>`, made now.
    pub(crate) fn credentials(&self, n: u32) -> Credentials {
        let now = self.clock.now();
        Credentials {
            user: serde_json::from_value(user()).unwrap(),
            access_token: format!("access-{n}"),
            access_expires_at: now.plus(Duration::from_secs(900)),
            refresh_token: format!("refresh-{n}"),
            refresh_expires_at: now.plus(Duration::from_secs(30 * 86_400)),
        }
    }

    /// Lets the access tokens made so far expire.
    pub(crate) fn expire_tokens(&self) {
        self.clock.advance(Duration::from_secs(901));
    }

    pub(crate) async fn mount_login(&self) {
        let mock = post("/v1/auth/login").respond_with(ok(&tokens(1)));
        mock.mount(&self.http).await;
    }

    /// `refresh-<n>` gives `access-<n+1>` and `refresh-<n+1>`, this many times.
    pub(crate) async fn mount_refresh(&self, n: u32, times: u64) {
        post("/v1/auth/refresh")
            .and(body_partial_json(
                json!({"refreshToken": format!("refresh-{n}")}),
            ))
            .respond_with(ok(&tokens(n + 1)).set_delay(Duration::from_millis(50)))
            .expect(times)
            .named(format!("refresh of {n}"))
            .mount(&self.http)
            .await;
    }

    /// Any refresh is refused.
    pub(crate) async fn mount_refresh_refused(&self) {
        let refusal = problem(401, "invalid_refresh_token");
        let mock = post("/v1/auth/refresh").respond_with(refusal);
        mock.with_priority(9).mount(&self.http).await;
    }

    /// The caller, for those who come with `access-<n>`; others are told that their token has expired.
    pub(crate) async fn mount_me(&self, n: u32) {
        get("/v1/users/me")
            .and(header("authorization", format!("Bearer access-{n}")))
            .respond_with(ok(&user()))
            .mount(&self.http)
            .await;
        get("/v1/users/me")
            .respond_with(problem(401, "token_expired"))
            .with_priority(9)
            .mount(&self.http)
            .await;
    }

    /// The requests to this path so far.
    pub(crate) async fn requests(&self, to: &str) -> Vec<Request> {
        let all = self.http.received_requests().await.unwrap();
        all.into_iter().filter(|r| r.url.path() == to).collect()
    }
}

pub(crate) fn get(at: &str) -> MockBuilder {
    Mock::given(method("GET")).and(path(at))
}

pub(crate) fn post(at: &str) -> MockBuilder {
    Mock::given(method("POST")).and(path(at))
}

pub(crate) fn delete(at: &str) -> MockBuilder {
    Mock::given(method("DELETE")).and(path(at))
}

pub(crate) fn ok(body: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

pub(crate) fn problem(status: u16, code: &str) -> ResponseTemplate {
    let body = json!({"type": "about:blank", "title": "No", "status": status,
        "detail": "what to do", "code": code});
    ResponseTemplate::new(status).set_body_raw(body.to_string(), "application/problem+json")
}

pub(crate) fn user() -> Value {
    json!({"id": 1, "username": "ann", "email": "ann@example.org",
        "createdAt": "2026-01-31T12:00:00.000Z"})
}

pub(crate) fn room(id: i64) -> Value {
    json!({"id": id, "name": "tea", "createdAt": "2026-01-31T12:00:00.000Z",
        "memberCount": 1, "seq": 1, "role": "admin"})
}

pub(crate) fn tokens(n: u32) -> Value {
    json!({"tokenType": "Bearer", "accessToken": format!("access-{n}"), "expiresIn": 900,
        "refreshToken": format!("refresh-{n}"), "refreshExpiresIn": 2_592_000, "user": user()})
}
