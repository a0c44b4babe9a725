//! A real server on a port of its own, and someone who calls it.

use std::net::SocketAddr;
use std::sync::Arc;

use chat_core::auth::{Keys, PasswordCost, SigningKey, TokenNames};
use chat_core::model::SystemClock;
use chat_core::random::SystemRandom;
use chat_core::service::{Chat, ChatBuilder};
use chat_core::store::memory::Memory;
use chat_server::config::{Environment, Flags};
use chat_server::{Config, Server};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// An environment of these variables.
pub(crate) fn environment(variables: &[(&str, &str)]) -> Environment {
    variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.into()))
        .collect()
}

/// The configuration that these variables make, on a port of its own.
pub(crate) fn config(variables: &[(&str, &str)]) -> Config {
    let mut environment = environment(variables);
    environment
        .entry("CHAT_LISTEN".to_owned())
        .or_insert("127.0.0.1:0".into());
    Config::load(&Flags::default(), &environment).expect("a configuration")
}

/// A chat with accounts, whose store forgets with it.
pub(crate) fn builder(config: &Config) -> ChatBuilder {
    let memory = Memory::new();
    let random = Arc::new(SystemRandom);
    let keys = Keys::new(
        TokenNames::default(),
        Some(SigningKey::generate(&*random).expect("a key")),
        Arc::new(SystemClock),
        random,
    );
    Chat::builder()
        .store(memory.clone())
        .webhooks(memory.clone(), config.webhook_targets)
        .accounts(memory, Arc::new(keys))
        .password_cost(PasswordCost::MINIMAL)
        .limits(config.limits.clone())
        .rates(config.rates.clone())
        .lifetimes(config.auth.lifetimes)
}

/// A server that runs.
pub(crate) struct TestServer {
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) chat: Chat,
    stop: oneshot::Sender<()>,
    run: JoinHandle<()>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    pub(crate) async fn with(variables: &[(&str, &str)]) -> Self {
        let config = config(variables);
        let chat = builder(&config).start().await.expect("a chat");
        let server = Server::bind_chat(config, chat).await.expect("bound");
        Self::run(server)
    }

    fn run(server: Server) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        Self {
            url: server.url(),
            address: server.local_addr(),
            admin: server.admin_addr(),
            chat: server.chat().clone(),
            stop,
            run: tokio::spawn(server.run(async {
                let _ = stopped.await;
            })),
        }
    }

    /// Asks the server to stop; ready when it has.
    pub(crate) async fn stop(self) {
        self.stop.send(()).expect("it runs");
        self.run.await.expect("it ended in order");
    }

    /// Asks the server to stop, and returns what is ready when it has.
    pub(crate) fn begin_stop(self) -> JoinHandle<()> {
        self.stop.send(()).expect("it runs");
        self.run
    }

    pub(crate) fn anyone(&self) -> Caller {
        Caller {
            client: client(),
            url: self.url.clone(),
            token: None,
            user: Value::Null,
            refresh_token: String::new(),
        }
    }

    /// Registers and logs in.
    pub(crate) async fn user(&self, name: &str) -> Caller {
        let mut caller = self.anyone();
        let email = format!("{name}@example.com");
        let body = json!({"email": email, "username": name, "password": PASSWORD});
        let user = caller.post("/v1/auth/register", &body).await;
        assert_eq!(user.status(), StatusCode::CREATED);
        caller.log_in(&email).await;
        caller
    }
}

/// Everyone's password.
pub(crate) const PASSWORD: &str = "correct horse";

/// A client without the environment's proxies.
pub(crate) fn client() -> Client {
    Client::builder().no_proxy().build().expect("a client")
}

/// Someone who calls.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) client: Client,
    pub(crate) url: String,
    pub(crate) token: Option<String>,
    pub(crate) user: Value,
    pub(crate) refresh_token: String,
}

impl Caller {
    pub(crate) async fn log_in(&mut self, email: &str) {
        let body = json!({"email": email, "password": PASSWORD});
        let tokens = self.post("/v1/auth/login", &body).await.ok().await;
        self.token = Some(text(&tokens["accessToken"]));
        self.refresh_token = text(&tokens["refreshToken"]);
        self.user = tokens["user"].clone();
    }

    pub(crate) fn id(&self) -> i64 {
        self.user["id"].as_i64().expect("an id")
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::PATCH, path).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path)).await
    }

    /// Makes a room and returns its path.
    pub(crate) async fn room(&self, name: &str) -> String {
        let room = self
            .post("/v1/rooms", &json!({"name": name}))
            .await
            .created()
            .await;
        format!("/v1/rooms/{}", room["id"])
    }

    /// Brings `other` into a room.
    pub(crate) async fn invite(&self, room: &str, other: &Self) {
        let invites = format!("{room}/invites");
        let invite = self.post(&invites, &json!({})).await.created().await;
        let body = json!({"token": invite["token"]});
        other.post("/v1/invites/accept", &body).await.ok().await;
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// An answer.
pub(crate) struct Answer(pub(crate) Response);

impl Answer {
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        Self(request.send().await.expect("an answer"))
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.0.status()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        Some(self.0.headers().get(name)?.to_str().expect("text"))
    }

    async fn json(self, status: u16) -> Value {
        let answered = self.status();
        let body = self.0.text().await.expect("a body");
        assert_eq!(answered, status, "{body}");
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"))
    }

    /// The body of a 200.
    pub(crate) async fn ok(self) -> Value {
        self.json(200).await
    }

    /// The body of a 201.
    pub(crate) async fn created(self) -> Value {
        self.json(201).await
    }

    /// Asserts a 204.
    pub(crate) async fn done(self) {
        let status = self.status();
        let body = self.0.text().await.expect("a body");
        assert_eq!((status.as_u16(), body.as_str()), (204, ""));
    }

    /// Asserts a problem document of this status and code, and returns it.
    pub(crate) async fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert!(self.header("x-request-id").is_some());
        let authenticate = self.header("www-authenticate").map(ToOwned::to_owned);
        assert_eq!(authenticate.as_deref(), (status == 401).then_some("Bearer"));
        let retry_after = self
            .header("retry-after")
            .map(|v| v.parse::<u64>().expect("seconds"));
        assert_eq!(retry_after.is_some(), matches!(status, 429 | 503));
        let problem = self.json(status).await;
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], "about:blank");
        for member in ["title", "detail"] {
            assert_ne!(problem[member].as_str().expect(member), "", "{problem}");
        }
        assert_eq!(problem.get("errors").is_some(), status == 422, "{problem}");
        problem
    }

    /// Asserts a 422 for this field and reason.
    pub(crate) async fn invalid(self, field: &str, code: &str) {
        let problem = self.problem(422, "validation_failed").await;
        let errors = problem["errors"].as_array().expect("errors");
        assert!(
            errors
                .iter()
                .any(|e| e["field"] == field && e["code"] == code),
            "no {code} of {field} in {problem}"
        );
    }
}
