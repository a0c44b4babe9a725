//! The Rust SDK of the chat backend: one [`Client`] for REST and real time.
//!
//! ```no_run
//! # async fn run() -> chat_client::Result<()> {
//! use chat_client::{Client, FileTokenStore};
//!
//! let client = Client::builder("https://chat.example")
//!     .token_store(FileTokenStore::new("login.json"))
//!     .build()?;
//! client.login("ann@example.org", "correct horse", Some("laptop")).await?;
//! let room = client.create_room("Lobby").await?;
//! let message = client.room(room.id).send("Hello!").await?;
//! println!("stored as message {} at {}", message.id, message.sent_at);
//! # Ok(())
//! # }
//! ```

mod changes;
mod client;
mod error;
mod files;
mod http;
mod login;
mod options;
mod outbox;
mod pages;
mod realtime;
mod room;
mod tokens;

pub use async_trait::async_trait;
pub use chat_core::{model, protocol};

pub use self::client::Client;
pub use self::error::{Disconnect, Error, Refusal, Result, Source};
pub use self::options::ClientBuilder;
pub use self::outbox::{FileOutbox, Outbox, OutboxEntry};
pub use self::realtime::{
    ClientEvent, Connect, Connection, ConnectionState, Connector, Positions, Transport, WebSocket,
};
pub use self::room::Room;
pub use self::tokens::{
    AccessToken, Credentials, FileTokenStore, MemoryTokenStore, TokenSource, TokenStore,
};
