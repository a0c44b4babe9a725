//! The Rust SDK of the chat backend: one [`Client`] for REST and real time.
//!
//! ```no_run
//! # async fn run() -> chat_client::Result<()> {
//! use chat_client::{Client, FileTokenStore};
//! use futures_util::StreamExt as _;
//!
//! let client = Client::builder("https://chat.example").token_store(FileTokenStore::new("login.json")).build()?;
//! client.login("ann@example.org", "correct horse", Some("laptop")).await?;
//! let room = client.create_room("Lobby").await?;
//! let mut connection = client.connect().await?;
//! client.room(room.id).send("Hello!").await?; // stored, once it returns
//! while let Some(event) = connection.next().await {
//!     println!("{event:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What it takes care of
//!
//! - **Login.** [`Client::login`] keeps its tokens in a [`TokenStore`]: in memory, in a [file](FileTokenStore) that several
//!   processes may share, or where an application wants them. They are renewed before they end and when they are refused, once
//!   however many calls wait. An application with users of its own gives a [`TokenSource`] instead.
//! - **Calls.** Every REST call is a method of [`Client`] or of a [`Room`]. Those that do no harm twice are tried again for a
//!   while when the server is busy or out of reach. Lists come page by page, or as a `Stream` of all.
//! - **The connection.** [`Client::connect`] opens the stream of what happens in the user's rooms: the events of each room in
//!   the order of their `seq`, each once. A lost connection is made again, and what was missed is fetched; where the server
//!   can't tell all of it any more, [`ClientEvent::Discontinuity`] says so. [`Connection::state`] can be watched beside it, and
//!   [`Connection::positions`] kept, to go on in another run. Where a proxy lets no WebSocket through, the connection runs
//!   over Server-Sent Events or long polling: see [`ClientBuilder::transports`].
//! - **Sends.** A message goes out under an id of its own, which the server stores once, so it is repeated until it is
//!   answered. With an [`Outbox`] that is true beyond the end of the program.
//! - **Errors.** Each [`Error`] says what to do; [`Error::code`] gives the server's stable code.
//!
//! Everything is bounded: time, the size of answers, and every queue. The SDK needs a tokio runtime. It reads no environment
//! variables and installs no logger; it speaks to `tracing`, and never of a secret or of what people write.
//!
//! # Features
//!
//! None so far: REST and the realtime connection, with TLS by rustls and the system's root certificates.

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
pub use chat_core::protocol::signalr::Encoding;
pub use chat_core::protocol::signalr::negotiate::Transport as TransportKind;
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
