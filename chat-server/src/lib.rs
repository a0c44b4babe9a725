//! The stock chat server: chat-core behind HTTP and SignalR.
//!
//! [`Server`] is the whole of it: a port, health, metrics, an end in order. [`router`] is the part that serves the chat, for
//! an axum app of one's own, under any prefix:
//!
//! ```no_run
//! # async fn example(chat: chat_core::service::Chat, my_app: axum::Router) -> std::io::Result<()> {
//! let app = my_app.nest("/chat", chat_server::router(&chat));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! axum::serve(listener, app).await
//! # }
//! ```

pub mod asyncapi;
pub mod cli;
pub mod config;
mod http;
pub mod hub;
mod keys;
mod open;
pub mod openapi;
mod serve;
mod server;
pub mod telemetry;
pub mod typescript;
mod verify_keys;
pub mod webhooks;

use axum::Router;
use chat_core::service::Chat;

pub use self::config::Config;
pub use self::http::{HttpOptions, Origin, Origins, PROBLEM_JSON, REQUEST_ID};
pub use self::serve::StartError;
pub use self::server::Server;

/// The chat's REST calls, hub and documentation, to be mounted under any prefix.
pub fn router(chat: &Chat) -> Router {
    router_with(chat, &HttpOptions::default())
}

/// As [`router`], with options.
pub fn router_with(chat: &Chat, options: &HttpOptions) -> Router {
    http::public(chat, options, false)
}
