//! A folder of its own, a server that says what it is told to, and the command between them.

use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// A home folder and a server.
pub(crate) struct World {
    pub(crate) home: TempDir,
    pub(crate) server: MockServer,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self {
            home: tempfile::tempdir().expect("a folder"),
            server: MockServer::start().await,
        }
    }

    /// The server answers this call so.
    pub(crate) async fn answers(&self, verb: &str, at: &str, status: u16, body: Value) {
        let response = match status {
            204 => ResponseTemplate::new(204),
            200..=299 => ResponseTemplate::new(status).set_body_json(body),
            _ => ResponseTemplate::new(status)
                .set_body_raw(body.to_string(), "application/problem+json"),
        };
        Mock::given(method(verb))
            .and(path(at))
            .respond_with(response)
            .mount(&self.server)
            .await;
    }

    /// The server refuses this call so.
    pub(crate) async fn refuses(&self, verb: &str, at: &str, status: u16, code: &str) {
        let body = json!({
            "type": "about:blank", "title": "Refused", "status": status, "code": code, "detail": "the server says no",
        });
        self.answers(verb, at, status, body).await;
    }

    /// The command in this home, without a login.
    pub(crate) fn chat(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("chat"));
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("TZ", "UTC")
            .env("CHAT_SERVER", self.server.uri())
            .args(arguments);
        command
    }

    /// The command under an access token.
    pub(crate) fn chat_as_ann(&self, arguments: &[&str]) -> Command {
        let mut command = self.chat(arguments);
        command.env("CHAT_TOKEN", "anns-token");
        command
    }
}

/// Runs the command where it doesn't hold up the server, and writes down all that can be seen of it.
pub(crate) async fn seen(mut command: Command) -> String {
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("joined")
        .expect("run");
    format!(
        "exit {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().expect("ended by itself"),
        String::from_utf8(output.stdout).expect("text"),
        String::from_utf8(output.stderr).expect("text")
    )
}

pub(crate) fn ann() -> Value {
    json!({"id": 3, "username": "ann", "email": "ann@example.org", "createdAt": "2026-01-31T12:00:00.000Z"})
}

pub(crate) fn tokens() -> Value {
    json!({
        "tokenType": "Bearer", "accessToken": "an-access-token", "expiresIn": 900, "refreshToken": "a-refresh-token",
        "refreshExpiresIn": 2_592_000, "user": ann(),
    })
}

pub(crate) fn room(id: i64, name: &str) -> Value {
    json!({
        "id": id, "name": name, "createdAt": "2026-01-31T12:00:00.000Z", "memberCount": 2, "seq": 5, "role": "admin",
    })
}

pub(crate) fn message(id: i64, sender: i64, content: &str) -> Value {
    json!({
        "id": id, "roomId": 7, "seq": id, "changedSeq": id, "senderId": sender, "content": content,
        "sentAt": "2026-01-31T12:00:00.000Z",
    })
}

pub(crate) fn member(id: i64, name: &str, role: &str) -> Value {
    json!({"userId": id, "username": name, "role": role, "joinedAt": "2026-01-31T12:00:00.000Z"})
}

/// A page that holds all there is.
pub(crate) fn page(items: &[Value]) -> Value {
    json!({"items": items, "hasMore": false})
}
