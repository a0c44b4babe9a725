//! An axum app with users and tokens of its own takes the chat in.
//!
//! `cargo run -p examples --example embed_axum`, then with one of the app's tokens:
//! `curl -H 'Authorization: Bearer ann-secret' -H 'Content-Type: application/json' -d '{"name":"tea"}' \
//! http://127.0.0.1:3000/chat/v1/rooms`

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use axum::Router;
use axum::routing::get;
use chat_core::auth::{AuthError, Authenticator, Identity};
use chat_core::service::Chat;
use chat_core::store::sqlite::Sqlite;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use tokio::net::TcpListener;

/// The app's users: text ids by the token that its own login gave out.
#[derive(Clone, Debug)]
pub(crate) struct Users(BTreeMap<&'static str, &'static str>);

impl Users {
    /// Those that the app knows.
    pub(crate) fn known() -> Self {
        Self(BTreeMap::from([
            ("ann-secret", "ann@example.com"),
            ("bob-secret", "bob@example.com"),
        ]))
    }

    /// Who sends a request, by the app's own rules.
    fn signed_in(&self, headers: &HeaderMap) -> Option<&'static str> {
        let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
        self.0.get(header.strip_prefix("Bearer ")?).copied()
    }
}

/// The app as it was before it had a chat.
fn my_app() -> Router {
    Router::new().route("/", get(|| async { "my app" }))
}

// -- the chat's part begins --
#[async_trait]
impl Authenticator for Users {
    async fn authenticate(&self, request: &Parts) -> Result<Identity, AuthError> {
        let user = self.signed_in(&request.headers);
        let user = user.ok_or(AuthError::Unauthenticated)?;
        Ok(Identity::new("my-app", user, user))
    }
}
// -- the chat's part ends --

/// Serves the app with the chat below `/chat`, until `stop`.
///
/// # Errors
/// The database can't be opened, or the listener fails.
pub(crate) async fn serve(
    listener: TcpListener,
    database: &Path,
    users: Users,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    // -- the chat's part begins --
    let store = Sqlite::open(database).await?;
    let chat = Chat::builder().store(store).authenticator(users);
    let chat = chat.start().await?;
    let app = my_app().nest("/chat", chat_server::router(&chat));
    let server = axum::serve(listener, app);
    let stopped = async move { chat.drain_on(stop).await };
    server.with_graceful_shutdown(stopped).await?;
    // -- the chat's part ends --
    Ok(())
}

#[allow(dead_code)] // a test of this example brings its own
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    let stop = async {
        // Without signals the app runs until it is killed.
        let _ = tokio::signal::ctrl_c().await;
    };
    serve(listener, Path::new("app.db"), Users::known(), stop).await
}
