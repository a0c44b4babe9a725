//! Users of a server.

use serde_json::{Value, json};

use crate::Api;

/// Everyone's.
pub const PASSWORD: &str = "correct horse";

/// Someone registered and logged in.
#[derive(Clone, Debug)]
pub struct Person {
    /// Their id.
    pub id: i64,
    /// Their username.
    pub username: String,
    /// Calls with their token.
    pub api: Api,
    /// What the login answered.
    pub tokens: Value,
}

impl Person {
    /// Registers someone at this address and logs them in.
    ///
    /// # Panics
    /// It is refused.
    pub async fn register(url: &str, username: &str) -> Self {
        let account = json!({
            "email": format!("{username}@example.com"),
            "username": username,
            "password": PASSWORD,
        });
        let user = Api::new(url).post("/v1/auth/register", &account).await;
        let user = user.with(201);
        Self::log_in(url, username, int(&user["id"])).await
    }

    async fn log_in(url: &str, username: &str, id: i64) -> Self {
        let api = Api::new(url);
        let login = json!({"email": format!("{username}@example.com"), "password": PASSWORD});
        let tokens = api.post("/v1/auth/login", &login).await.with(200);
        let token = tokens["accessToken"].as_str().expect("a token");
        Self {
            id,
            username: username.to_owned(),
            api: api.with_token(token),
            tokens,
        }
    }

    /// The same user in a new session.
    pub async fn again(&self) -> Self {
        Self::log_in(self.api.url(), &self.username, self.id).await
    }

    /// The same session at a server that has another address now.
    #[must_use]
    pub fn at(&self, url: &str) -> Self {
        Self {
            api: self.api.at(url),
            ..self.clone()
        }
    }

    /// A new room with these others as members, in this order.
    pub async fn room_with(&self, name: &str, others: &[&Self]) -> i64 {
        let room = self.api.post("/v1/rooms", &json!({"name": name})).await;
        let room = int(&room.with(201)["id"]);
        if !others.is_empty() {
            let token = self.invite(room).await;
            for other in others {
                other.join(&token).await;
            }
        }
        room
    }

    /// An invite's token.
    pub async fn invite(&self, room: i64) -> String {
        let path = format!("/v1/rooms/{room}/invites");
        let invite = self.api.post(&path, &json!({})).await.with(201);
        invite["token"].as_str().expect("a token").to_owned()
    }

    /// Accepts an invite.
    pub async fn join(&self, token: &str) -> Value {
        let accept = json!({"token": token});
        self.api.post("/v1/invites/accept", &accept).await.with(200)
    }

    /// Sends over REST.
    pub async fn say(&self, room: i64, content: &str) -> Value {
        let path = format!("/v1/rooms/{room}/messages");
        let send = json!({"content": content});
        self.api.post(&path, &send).await.with(201)
    }

    /// Whether the room's changes after `since`, read in one page, with the head.
    pub async fn changes(&self, room: i64, since: i64) -> Value {
        let path = format!("/v1/rooms/{room}/changes?since={since}&limit=100");
        self.api.get(&path).await.with(200)
    }
}

fn int(value: &Value) -> i64 {
    value
        .as_i64()
        .unwrap_or_else(|| panic!("no integer: {value}"))
}
