//! What an embedder and a bot's author start from. Each example is a file of its own, which the tests include and run:
//!
//! | task | example |
//! | --- | --- |
//! | put the chat into an axum app with its own users | `embed_axum.rs` |
//! | keep it in a storage backend of one's own | `own_store.rs` |
//! | answer messages | `bot.rs` |
