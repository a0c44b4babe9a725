//! A chat backend as a library: rooms, messages and live connections over a database, for an app with users of its own.
//!
//! ```no_run
//! # async fn example(my_auth: impl chat_core::Authenticator + 'static) -> Result<(), Box<dyn std::error::Error>> {
//! use chat_core::Chat;
//! use chat_core::store::sqlite::Sqlite;
//!
//! let store = Sqlite::open("chat.db").await?;
//! let chat = Chat::builder().store(store).authenticator(my_auth).start().await?;
//!
//! let ann = chat.identify("my-app".into(), "ann@example.com".into(), "Ann").await?;
//! # let tea = chat_core::model::RoomId(1);
//! let message = chat.send(ann, tea, "Hello").await?;
//! println!("saved as {} at place {}", message.id, message.seq);
//! # Ok(()) }
//! ```
//!
//! Over HTTP it is served by `chat_server::router(&chat)`, below any prefix of an axum app.
//!
//! # Layers
//!
//! Imports point downwards only.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`service`] | the use cases: authorise, write, deliver ([`Chat`]) |
//! | [`fanout`] | rooms → connections: encoded once, in order, with back-pressure |
//! | [`bus`] | the way to other nodes |
//! | [`store`] | the storage traits and their contract suite |
//! | [`auth`] | passwords, tokens, sessions, and who is asking |
//! | [`protocol`] | wire types: REST bodies, hub messages, SignalR records, error codes |
//! | [`model`] | ids and domain types, clock, limits |
//! | [`random`] | the one source of randomness, injected |
//!
//! # Features
//!
//! | name | what it turns on | default |
//! | --- | --- | --- |
//! | `sqlite` | the embedded database, and `service` | yes |
//! | `postgres` | the production database, and `service` | no |
//! | `kafka` | the event bus of production, and `service` | no |
//! | `kafka-tls` | Kafka over TLS and with SCRAM, by the system's OpenSSL | no |
//! | `service` | everything above `protocol`, and tokio | by `sqlite` |
//! | `openapi` | schema derives on the wire types | no |
//! | `testing` | the memory store, the contract suites, the faulty bus: for tests, never for production | no |
//!
//! Without features this is [`model`], [`protocol`] and [`random`] alone, which a client takes.

// The links above to what a feature brings are dead without it.
#![cfg_attr(not(feature = "service"), allow(rustdoc::broken_intra_doc_links))]

pub mod model;
pub mod protocol;
pub mod random;

#[cfg(feature = "service")]
pub mod auth;
#[cfg(feature = "service")]
pub mod bus;
#[cfg(feature = "service")]
pub mod fanout;
#[cfg(feature = "service")]
pub mod service;
#[cfg(feature = "service")]
pub mod store;

#[cfg(feature = "service")]
pub use self::{
    auth::{Authenticator, Caller, Identity},
    service::{Chat, ChatBuilder, Error},
    store::Store,
};
